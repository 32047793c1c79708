/**
 * Reports to PostHog itself, for products whose server must not be involved.
 *
 * PostHog then sees the visitor's address and browser. posthog-js finds and describes the errors and sends nothing
 * itself; each report asks the server again, right before it leaves, so that a withdrawal anywhere stops every open
 * page without a reload.
 */

import type { PostHog } from "posthog-js";

import { clean, GIVEN, type Captured } from "./clean.js";
import type { Channel, Outgoing, PageFacts, Source } from "./client.js";
import { reportsAreAllowed } from "./page.js";
import { SAFE_OPTIONS } from "./safeOptions.js";
import type { Status } from "./status.js";

export { SAFE_OPTIONS } from "./safeOptions.js";

type Scrubbing = typeof import("./scrub.js");

export interface DirectOptions {
  /** Whether this page's security policy names PostHog's hosts; by default the page's mark tells. */
  mayReport?: () => boolean;
  /** Seam for tests. */
  load?: () => Promise<PostHog>;
}

/** Return the channel for `new TelemetryClient({ direct: direct() })`. */
export function direct({ mayReport = reportsAreAllowed, load = loadPostHog }: DirectOptions = {}): Channel {
  let scrubbing: Scrubbing | null = null; // with the first yes, as posthog-js
  return {
    asksFirst: true,
    mayReport,
    async listen(status: Status, accept: (captured: Captured) => void): Promise<Source> {
      scrubbing = await import("./scrub.js");
      const posthog = await load();
      posthog.init(status.apiKey, {
        ...SAFE_OPTIONS,
        api_host: status.host,
        before_send: (event) => {
          if (event) accept(event);
          return null;
        },
      });
      return { captureException: (error, properties) => void posthog.captureException(error, { [GIVEN]: properties }) };
    },
    request(captured: Captured, status: Status, page: PageFacts): Outgoing | null {
      const report = scrubbing && reportOf(captured, status, page, scrubbing);
      return report && { url: `${status.host}/i/v0/e/`, body: JSON.stringify(report), credentials: "omit" };
    },
  };
}

function reportOf(
  captured: Captured,
  { apiKey }: Status,
  { distinctId, serviceVersion }: PageFacts,
  { scrub, scrubUrl }: Scrubbing,
) {
  const { host, href } = location;
  const described = clean(captured, { text: (text) => scrub(text, host), url: (url) => scrubUrl(url, host) });
  if (!described) return null;
  const { given, ...error } = described;
  const { $lib_version } = captured.properties;
  captured.timestamp ??= new Date();
  return {
    api_key: apiKey,
    event: "$exception",
    uuid: captured.uuid,
    distinct_id: distinctId,
    timestamp: captured.timestamp.toISOString(),
    properties: {
      ...given,
      ...(serviceVersion ? { service_version: serviceVersion } : {}),
      source: "frontend",
      ...error,
      $current_url: scrubUrl(href, host),
      $process_person_profile: false,
      $geoip_disable: true,
      $ip: "0.0.0.0",
      $lib: "web",
      ...(typeof $lib_version === "string" ? { $lib_version } : {}),
    },
  };
}

async function loadPostHog(): Promise<PostHog> {
  await import("posthog-js/dist/exception-autocapture.js");
  const { default: posthog } = await import("posthog-js/dist/module.no-external.js");
  return posthog as unknown as PostHog;
}
