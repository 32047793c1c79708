/** Take out of a text what does not belong in a direct report, by the rules of the server. */

import { INNOCENT, PARTS, RULES, WORDS } from "./rules.js";

export const HOST = "host.invalid";
export const MAX_TEXT_CHARS = 1000;

const RANDOM_CHARS = 22;
const COMPILED = RULES.map(([name, pattern, flags, replacement]) => ({
  mark: `[scrubbed:${name}]`,
  // The server judges by more than letters; a path is no random text.
  judge: name === "random" ? isRandom : isNamed(name, pattern) ? isSensitive : null,
  pattern: new RegExp(pattern, flags),
  replacement,
}));
const INNOCENT_NAMES = new Set(INNOCENT);
const WHOLE_WORDS = new Set(WORDS);

/** Return the text without secrets, addresses, queries and the name of this installation's host. */
export function scrub(text: string, host: string): string {
  let scrubbed = text.slice(0, MAX_TEXT_CHARS);
  for (const name of new Set([host, host.replace(/:\d+$/, "")])) {
    if (name) scrubbed = scrubbed.replaceAll(name, HOST);
  }
  for (const { mark, judge, pattern, replacement } of COMPILED) {
    scrubbed =
      replacement === undefined
        ? scrubbed.replace(pattern, (...found) => replaced(found, mark, judge))
        : scrubbed.replace(pattern, replacement);
  }
  return scrubbed.slice(0, MAX_TEXT_CHARS);
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

/** Return the match with its value, or all of it, replaced; a value that was replaced before stays. */
function replaced(found: unknown[], mark: string, judge: ((text: string) => boolean) | null): string {
  const [whole] = found as [string];
  const last = found.at(-1);
  const { name, value } = (typeof last === "object" && last !== null ? last : {}) as { name?: string; value?: string };
  if ((judge && !judge(name ?? whole)) || (value ?? whole).startsWith("[scrubbed:")) return whole;
  if (value === undefined) return mark;
  const place = whole.lastIndexOf(value);
  return whole.slice(0, place) + mark + whole.slice(place + value.length);
}

function isNamed(name: string, pattern: string): boolean {
  return name === "value" && pattern.includes("(?<name>");
}

/** Tell whether a value under this name must not leave, as the server does. */
export function isSensitive(name: string): boolean {
  const words = name
    .replace(/([a-z0-9])(?=[A-Z])|([A-Z])(?=[A-Z][a-z])/g, "$1$2 ")
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u);
  const joined = words.join("");
  if (INNOCENT_NAMES.has(joined)) return false;
  return PARTS.some((part) => joined.includes(part)) || words.some((word) => WHOLE_WORDS.has(word.replace(/[1-9]+$/, "")));
}

function isRandom(word: string): boolean {
  return word.split("/").some((part) => part.length >= RANDOM_CHARS && /\d/.test(part) && /[a-z]/i.test(part));
}
