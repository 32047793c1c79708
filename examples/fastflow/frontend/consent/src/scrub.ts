/** Take out of a text what does not belong in a report. The server's own reports have many more rules. */

export const HOST = "host.invalid";
export const MAX_TEXT_CHARS = 1000;

const SENSITIVE = "pass(?:word|wd|phrase)?|secret|token|api[-_]?key|authorization|cookie|session|credential";
const RULES: readonly (readonly [RegExp, string])[] = [
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@'"<>]*@/gi, "$1"], // user and password of a URL
  [/\?[^\s'"<>()]*/g, ""], // a query
  [/(\w\/?)#[\w=&%.~/-]+/g, "$1"], // a fragment
  [/\beyJ[\w-]{8,}(?:\.[\w-]*){1,2}/g, "[scrubbed:jwt]"],
  [/[^\s@'"<>()[\],;:]+@[^\s@'"<>()[\],;:]+\.[a-z]{2,}/gi, "[scrubbed:email]"],
  [/\b(?:bearer|basic)\s+[\w.~+/=-]{4,}/gi, "[scrubbed:authorization]"],
  [new RegExp(`(["']?\\b[\\w-]*(?:${SENSITIVE})[\\w-]*["']?\\s*[:=]\\s*)("[^"]*"|'[^']*'|[^\\s,;)}]+)`, "gi"), "$1[scrubbed:value]"],
  [/\b(?!127\.0\.0\.1\b|0\.0\.0\.0\b)(?:\d{1,3}\.){3}\d{1,3}\b/g, "[scrubbed:ip]"],
  [/\b(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{22,}\b/gi, "[scrubbed:random]"],
];

/** Return the text without secrets, addresses, queries and the name of this installation's host. */
export function scrub(text: string, host: string): string {
  let scrubbed = text.slice(0, MAX_TEXT_CHARS);
  for (const name of new Set([host, host.replace(/:\d+$/, "")])) {
    if (name) scrubbed = scrubbed.replaceAll(name, HOST);
  }
  for (const [pattern, mark] of RULES) scrubbed = scrubbed.replace(pattern, mark);
  return scrubbed;
}

/** Return the address with a constant host, and without query and fragment. */
export function scrubUrl(url: string, host: string): string {
  try {
    const { pathname } = new URL(url, `http://${HOST}`);
    return `http://${HOST}${scrub(pathname, host)}`;
  } catch {
    return `http://${HOST}/`;
  }
}
