/** What the page and its browser say, and what they lack. */

/** Tell whether the visitor's browser asks not to be tracked. */
export function isObjectedTo(): boolean {
  const { doNotTrack, globalPrivacyControl } = navigator as Navigator & { globalPrivacyControl?: boolean };
  return globalPrivacyControl === true || doNotTrack === "1";
}

/** Tell what the server wrote into the page about its own security policy. */
export function reportsAreAllowed(): boolean {
  return document.querySelector('meta[name="error-reporting"]')?.getAttribute("content") === "on";
}

/** Return a random uuid; over plain http browsers have no `crypto.randomUUID`. */
export function newUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
