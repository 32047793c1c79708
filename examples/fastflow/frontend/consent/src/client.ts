/**
 * Reports errors of a page while the server says that it may.
 *
 * posthog-js finds and describes the errors; it is not even loaded before the server has said yes, and it
 * sends nothing itself. Each report asks the server again, right before it leaves, so that a withdrawal
 * anywhere stops every open page without a reload.
 */

import type { PostHog } from "posthog-js";

import { GIVEN, clean, type Captured, type Report } from "./clean";
import { SAFE_OPTIONS } from "./safeOptions";
import { STATUS_PATH, askStatus, type Status } from "./status";

export type Given = Record<string, string | number | boolean>;

export interface ClientOptions {
  statusPath?: string;
  /** Whether this page's security policy lets reports out; it is fixed when the page is loaded. */
  mayReport?: () => boolean;
  /** Version of the product. */
  serviceVersion?: string;
  /** Of `$<prefix>_frontend_test`. */
  markerPrefix?: string;
  /** Seams for tests. */
  fetch?: typeof fetch;
  load?: () => Promise<PostHog>;
  pause?: (ms: number) => Promise<void>;
}

export class TestError extends Error {
  override name = "TestError";
}

/** Before each attempt at a delivery; the server is asked each time. Short, since a no and a yes in between go unnoticed. */
const PAUSES_MS = [0, 1_000, 5_000] as const;
const SENT_AFTER_THE_PAGE_BYTES = 60_000; // fetch's keepalive takes 64 KiB
const WORTH_ANOTHER_ATTEMPT = [408, 429];
const SERVER_ERROR = 500;

export class TelemetryClient {
  readonly #options: ClientOptions;
  readonly #fetch: typeof fetch;
  readonly #distinctId = crypto.randomUUID();
  #posthog: PostHog | null = null;
  #underWay = new AbortController();
  readonly #deliveries = new Set<Promise<void>>();
  #isOn = false;
  #apiKey = "";
  #receiver = "";

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Name of whoever receives reports, as far as the server has told. */
  get receiver(): string {
    return this.#receiver;
  }

  /** Begin to report, if the server says so; return whether it does. */
  async start(): Promise<boolean> {
    const status = await this.#ask();
    if (status) this.#receiver = status.receiver;
    if (!status?.isOn || this.#isOn || !(this.#options.mayReport ?? reportsAreAllowed)()) return this.#isOn;
    this.#apiKey = status.apiKey;
    this.#underWay = new AbortController();
    this.#isOn = true;
    this.#posthog ??= await this.#startPostHog(status);
    return this.#isOn;
  }

  /** Report nothing more from this moment on, and let go what waits. */
  stop(): void {
    this.#isOn = false;
    this.#underWay.abort();
  }

  /** Wait until each report so far has been delivered, given up or let go. */
  async flush(): Promise<void> {
    await Promise.all(this.#deliveries);
  }

  /** Report a handled error, with properties that name neither people nor their data. */
  captureException(error: unknown, properties: Given = {}): void {
    if (this.#isOn) this.#posthog?.captureException(error, { [GIVEN]: properties });
  }

  /** Report a marked test error through the normal path; return whether reports are on. */
  sendTestException(): boolean {
    const marker = `$${this.#options.markerPrefix ?? "fastflow"}_frontend_test`;
    this.captureException(new TestError("Test exception of the front end"), { [marker]: true });
    return this.#isOn;
  }

  async #startPostHog(status: Status): Promise<PostHog> {
    const posthog = await (this.#options.load ?? loadPostHog)();
    posthog.init(status.apiKey, {
      ...SAFE_OPTIONS,
      api_host: status.host,
      before_send: (event) => {
        if (event) this.#accept(event);
        return null;
      },
    });
    return posthog;
  }

  #ask(): Promise<Status | null> {
    return askStatus(this.#fetch, this.#options.statusPath ?? STATUS_PATH);
  }

  #accept(captured: Captured): void {
    if (!this.#isOn) return;
    const report = clean(captured, {
      apiKey: this.#apiKey,
      distinctId: this.#distinctId,
      url: location.href,
      host: location.host,
      base: this.#options.serviceVersion ? { service_version: this.#options.serviceVersion } : {},
    });
    if (!report) return;
    const delivery = this.#deliver(report, this.#underWay.signal).finally(() => this.#deliveries.delete(delivery));
    this.#deliveries.add(delivery);
  }

  async #deliver(report: Report, signal: AbortSignal): Promise<void> {
    for (const pauseMs of PAUSES_MS) {
      await (this.#options.pause ?? passing)(pauseMs);
      const status = await this.#ask();
      if (signal.aborted) return;
      if (status && !status.isOn) return this.stop();
      if (status && (await this.#post(status.host, report, signal))) return;
    }
  }

  /** Tell whether the matter is settled, one way or the other. */
  async #post(host: string, report: Report, signal: AbortSignal): Promise<boolean> {
    const body = JSON.stringify(report);
    try {
      const answer = await this.#fetch(`${host}/i/v0/e/`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body,
        credentials: "omit",
        referrerPolicy: "no-referrer",
        redirect: "error",
        cache: "no-store",
        keepalive: body.length < SENT_AFTER_THE_PAGE_BYTES,
        signal,
      });
      return !(WORTH_ANOTHER_ATTEMPT.includes(answer.status) || answer.status >= SERVER_ERROR);
    } catch {
      return signal.aborted;
    }
  }
}

const passing = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Tell what the server wrote into the page about its own security policy. */
export function reportsAreAllowed(): boolean {
  return document.querySelector('meta[name="error-reporting"]')?.getAttribute("content") === "on";
}

async function loadPostHog(): Promise<PostHog> {
  await import("posthog-js/dist/exception-autocapture");
  const { default: posthog } = await import("posthog-js/dist/module.no-external");
  return posthog as unknown as PostHog;
}
