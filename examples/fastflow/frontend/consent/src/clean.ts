/** What describes an error, reduced to what a report may hold. A list of what stays, not of what goes. */

/** The part of posthog-js's event that is looked at. */
export interface Captured {
  event: string;
  uuid: string;
  timestamp?: Date | undefined;
  properties: Record<string, unknown>;
}

/** How texts and addresses are shown. */
export interface Shown {
  text: (text: string) => string;
  url: (url: string) => string;
}

export interface Description {
  $exception_list: Record<string, unknown>[];
  $exception_level: string;
  /** What the product itself told. */
  given: Record<string, unknown>;
}

/** Key under which the client hands the product's own properties along. */
export const GIVEN = "otel_posthog_given";
export const MAX_FRAMES = 50;
const MAX_EXCEPTIONS = 10;
const MAX_GIVEN = 20;
const MAX_URL_CHARS = 2_000;
const LEVELS = ["fatal", "error", "warning", "log", "info", "debug"];
const SOURCES = ["cause", "member"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Return the description, or null for anything but an exception. */
export function clean(captured: Captured, shown: Shown, maxFrames = MAX_FRAMES): Description | null {
  const { $exception_list, $exception_level } = captured.properties;
  if (captured.event !== "$exception" || !Array.isArray($exception_list) || $exception_list.length === 0) return null;
  return {
    $exception_list: $exception_list.slice(0, MAX_EXCEPTIONS).map((one) => cleanException(one, shown, maxFrames)),
    $exception_level: LEVELS.find((known) => known === $exception_level) ?? "error",
    given: cleanGiven(captured.properties[GIVEN], shown),
  };
}

function cleanException(exception: unknown, shown: Shown, maxFrames: number): Record<string, unknown> {
  const { type, value, mechanism, stacktrace } = asRecord(exception);
  const frames = asRecord(stacktrace).frames;
  return {
    type: shown.text(String(type ?? "Error")).slice(0, 200),
    value: shown.text(String(value ?? "")),
    mechanism: cleanMechanism(asRecord(mechanism)),
    ...(Array.isArray(frames)
      ? { stacktrace: { type: "raw", frames: frames.slice(-maxFrames).map((one) => cleanFrame(one, shown)) } }
      : {}),
  };
}

function cleanMechanism({ handled, synthetic, type, source, exception_id, parent_id }: Record<string, unknown>) {
  const isNamed = typeof type === "string" && /^[a-z_.]{1,40}$/.test(type);
  return {
    handled: handled === true,
    synthetic: synthetic === true,
    type: isNamed ? type : "generic",
    ...(SOURCES.includes(String(source)) ? { source } : {}),
    ...numbers({ exception_id, parent_id }),
  };
}

function cleanFrame(frame: unknown, shown: Shown): Record<string, unknown> {
  const { filename, function: name, lineno, colno, in_app, chunk_id } = asRecord(frame);
  return {
    platform: "web:javascript",
    filename: shown.url(String(filename ?? "").slice(0, MAX_URL_CHARS)),
    function: shown.text(String(name ?? "?")).slice(0, 200),
    ...numbers({ lineno, colno }),
    ...(typeof in_app === "boolean" ? { in_app } : {}),
    ...(typeof chunk_id === "string" && UUID.test(chunk_id) ? { chunk_id } : {}),
  };
}

/** Numbers, booleans and short texts that the product itself told. */
function cleanGiven(given: unknown, shown: Shown): Record<string, unknown> {
  const kept = Object.entries(asRecord(given)).flatMap(([name, value]) => {
    if (typeof value === "boolean" || (typeof value === "number" && Number.isFinite(value))) return [[name, value]];
    return typeof value === "string" ? [[name, shown.text(value).slice(0, 200)]] : [];
  });
  return Object.fromEntries(kept.slice(0, MAX_GIVEN));
}

function numbers(values: Record<string, unknown>): Record<string, number> {
  const kept = Object.entries(values).filter(([, value]) => Number.isInteger(value) && Number(value) >= 0);
  return Object.fromEntries(kept) as Record<string, number>;
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
