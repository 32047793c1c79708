/** What the server says about error reports, and what a page may make of it. */

export interface Status {
  isOn: boolean;
  /** Name of whoever would receive reports, such as `eu.posthog.com`. */
  receiver: string;
  /** Whether pages report to the product's server or to PostHog itself. */
  way: "server" | "direct";
  apiKey: string;
  /** Where direct reports go: the ingestion host, with scheme and without a slash at its end. */
  host: string;
}

export const OFF: Status = { isOn: false, receiver: "", way: "server", apiKey: "", host: "" };

/** Return what the server says, or null where it cannot be asked: then nobody knows. */
export async function askStatus(ask: typeof fetch, path: string): Promise<Status | null> {
  try {
    const answer = await ask(path, { cache: "no-store" });
    if (!answer.ok) return null;
    return readStatus(await answer.json());
  } catch {
    return null;
  }
}

/** Return the status; everything but a plain yes with a key and a host is a no. */
export function readStatus(body: unknown): Status {
  if (typeof body !== "object" || body === null) return OFF;
  const { enable_error_reporting, posthog_api_key, posthog_host, browser_reports } = body as Record<string, unknown>;
  if (typeof posthog_host !== "string" || !URL.canParse(posthog_host)) return OFF;
  const way = browser_reports === "direct" ? "direct" : "server";
  const known = { ...OFF, receiver: new URL(posthog_host).host, way } as const;
  const apiKey = typeof posthog_api_key === "string" ? posthog_api_key : "";
  if (enable_error_reporting !== true || (way === "direct" && !apiKey)) return known;
  return { ...known, isOn: true, apiKey, host: ingestionHost(posthog_host) };
}

/** PostHog's cloud shows its pages on one host and takes events on another; other servers have one. */
export function ingestionHost(host: string): string {
  const cloud = /^https:\/\/(eu|us|app)\.posthog\.com\/?$/.exec(host);
  if (cloud) return `https://${cloud[1] === "eu" ? "eu" : "us"}.i.posthog.com`;
  return host.replace(/\/+$/, "");
}
