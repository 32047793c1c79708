/** What posthog-js has gathered, reduced to what may leave. A list of what stays, not of what goes. */

import { scrub, scrubUrl } from "./scrub";

export interface Report {
  api_key: string;
  event: "$exception";
  uuid: string;
  distinct_id: string;
  timestamp: string;
  properties: Record<string, unknown>;
}

/** The part of posthog-js's event that is looked at. */
export interface Captured {
  event: string;
  uuid: string;
  timestamp?: Date | undefined;
  properties: Record<string, unknown>;
}

export interface Surroundings {
  apiKey: string;
  /** Random, made for this load of the page and kept nowhere. */
  distinctId: string;
  url: string;
  host: string;
  /** Told with each report, such as the product's version. */
  base: Readonly<Record<string, string | undefined>>;
}

/** Key under which the client hands its own properties through posthog-js. */
export const GIVEN = "otel_posthog_given";
const LEVELS = ["fatal", "error", "warning", "log", "info", "debug"];
const FRAME_TEXTS = ["platform", "function", "lang", "chunk_id"] as const;
const FRAME_VALUES = ["lineno", "colno", "in_app", "resolved"] as const;
const MAX_FRAMES = 50;
const MAX_EXCEPTIONS = 10;

/** Return the report, or null for anything but an exception. */
export function clean(captured: Captured, around: Surroundings): Report | null {
  const { $exception_list, $exception_level, $lib_version } = captured.properties;
  if (captured.event !== "$exception" || !Array.isArray($exception_list)) return null;
  const level = LEVELS.find((known) => known === $exception_level) ?? "error";
  return {
    api_key: around.apiKey,
    event: "$exception",
    uuid: captured.uuid,
    distinct_id: around.distinctId,
    timestamp: (captured.timestamp ?? new Date()).toISOString(),
    properties: {
      ...cleanGiven(captured.properties[GIVEN], around.host),
      ...around.base,
      source: "frontend",
      $exception_list: $exception_list.slice(0, MAX_EXCEPTIONS).map((one) => cleanException(one, around.host)),
      $exception_level: level,
      $current_url: scrubUrl(around.url, around.host),
      $process_person_profile: false,
      $geoip_disable: true,
      $ip: "0.0.0.0",
      $lib: "web",
      ...(typeof $lib_version === "string" ? { $lib_version } : {}),
    },
  };
}

function cleanException(exception: unknown, host: string): Record<string, unknown> {
  const { type, value, mechanism, stacktrace } = asRecord(exception);
  const { handled, synthetic, type: kind } = asRecord(mechanism);
  const frames = asRecord(stacktrace).frames;
  return {
    type: scrub(String(type ?? "Error"), host),
    value: scrub(String(value ?? ""), host),
    mechanism: { handled: handled === true, synthetic: synthetic === true, type: String(kind ?? "generic") },
    ...(Array.isArray(frames)
      ? { stacktrace: { type: "raw", frames: frames.slice(-MAX_FRAMES).map((one) => cleanFrame(one, host)) } }
      : {}),
  };
}

function cleanFrame(frame: unknown, host: string): Record<string, unknown> {
  const given = asRecord(frame);
  const cleaned: Record<string, unknown> = { filename: scrubUrl(String(given.filename ?? ""), host) };
  for (const name of FRAME_TEXTS) {
    if (typeof given[name] === "string") cleaned[name] = name === "chunk_id" ? given[name] : scrub(given[name], host);
  }
  for (const name of FRAME_VALUES) {
    if (typeof given[name] === "number" || typeof given[name] === "boolean") cleaned[name] = given[name];
  }
  return cleaned;
}

/** Numbers, booleans and short texts that the product itself told. */
function cleanGiven(given: unknown, host: string): Record<string, unknown> {
  const kept = Object.entries(asRecord(given)).flatMap(([name, value]) => {
    if (typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value))) return [[name, value]];
    return typeof value === "string" ? [[name, scrub(value, host)]] : [];
  });
  return Object.fromEntries(kept);
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
