/** Reports to the product's own server, which scrubs them and sends them as its own. */

import { clean, MAX_FRAMES, type Captured } from "./clean.js";
import type { Channel, Outgoing, Source } from "./client.js";

const MAX_BODY_BYTES = 60_000; // the server takes 64 KiB
const MAX_TEXT_CHARS = 2_000;
/** Of texts and frames, until a report fits. */
const SHARES = [1, 1 / 4, 1 / 16, 1 / 64] as const;

export class ServerChannel implements Channel {
  readonly asksFirst = false; // the server keeps nothing while it may not
  readonly #path: string;
  readonly #headers: (() => Record<string, string>) | undefined;

  constructor(path: string, headers?: () => Record<string, string>) {
    this.#path = path;
    this.#headers = headers;
  }

  mayReport(): boolean {
    return true;
  }

  async listen(_status: unknown, accept: (captured: Captured) => void): Promise<Source> {
    const { listen } = await import("./describe.js");
    return listen(accept);
  }

  request(captured: Captured): Outgoing | null {
    for (const share of SHARES) {
      const text = (long: string) => long.slice(0, MAX_TEXT_CHARS * share);
      const described = clean(captured, { text, url: withoutQuery }, Math.ceil(MAX_FRAMES * share));
      if (!described) return null;
      const { given: properties, ...error } = described;
      const body = JSON.stringify({ uuid: captured.uuid, url: location.pathname, properties, ...error });
      if (new Blob([body]).size <= MAX_BODY_BYTES) {
        return { url: `${this.#path}/browser-report`, body, credentials: "same-origin", headers: this.#headers?.() };
      }
    }
    return null;
  }
}

function withoutQuery(url: string): string {
  return url.replace(/[?#].*$/s, "");
}
