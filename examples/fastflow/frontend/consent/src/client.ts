/**
 * Reports errors of a page while the server says that it may.
 *
 * What describes the errors is not even loaded before the server has said yes. Reports go to the product's own
 * server, or, where that says so and the product has added `direct`, to PostHog.
 */

import type { Captured } from "./clean.js";
import { isObjectedTo, newUuid } from "./page.js";
import { ServerChannel } from "./server.js";
import { askStatus, type Status } from "./status.js";

export type Given = Record<string, string | number | boolean>;

/** Describes errors by hand; those that nobody catches it finds itself. */
export interface Source {
  captureException(error: unknown, properties: Given): void;
}

export interface Outgoing {
  url: string;
  body: string;
  credentials: RequestCredentials;
  headers?: Record<string, string> | undefined;
}

/** How errors are described, and where reports go. */
export interface Channel {
  /** Whether the server is asked again before each attempt. */
  readonly asksFirst: boolean;
  /** Whether this page's security policy lets reports out; it is fixed when the page is loaded. */
  mayReport(): boolean;
  listen(status: Status, accept: (captured: Captured) => void): Promise<Source>;
  /** The request for an error, or null where it is none. */
  request(captured: Captured, status: Status, page: PageFacts): Outgoing | null;
}

export interface PageFacts {
  /** Random, made for this load of the page and kept nowhere. */
  distinctId: string;
  serviceVersion?: string | undefined;
}

export interface ClientOptions {
  /** Where the settings API is mounted. */
  path?: string;
  /** What the product's own requests carry besides, such as a CSRF token; for reports to its server only. */
  headers?: () => Record<string, string>;
  /** `direct()` of `otel-posthog-react/direct`, for products whose browsers report to PostHog themselves. */
  direct?: Channel;
  /** Version of the product, told in direct reports; the server knows its own. */
  serviceVersion?: string;
  /** Of `$<prefix>_frontend_test`. */
  markerPrefix?: string;
  /** Seams for tests. */
  fetch?: typeof fetch;
  server?: Channel;
  pause?: (ms: number) => Promise<void>;
}

export class TestError extends Error {
  override name = "TestError";
}

/** Before each attempt at a delivery. Short, since a no and a yes in between go unnoticed. */
const PAUSES_MS = [0, 1_000, 5_000] as const;
const SENT_AFTER_THE_PAGE_BYTES = 60_000; // fetch's keepalive takes 64 KiB
const WORTH_ANOTHER_ATTEMPT = [408, 429];
const SERVER_ERROR = 500;
const MAX_PER_MINUTE = 20; // a component that fails at each render would flood the server
const MINUTE_MS = 60_000;

export class TelemetryClient {
  readonly #options: ClientOptions;
  readonly #fetch: typeof fetch;
  readonly #path: string;
  #page: PageFacts | null = null;
  #channel: Channel | null = null;
  #source: Source | null = null;
  #underWay = new AbortController();
  readonly #deliveries = new Set<Promise<void>>();
  #recent: number[] = [];
  #isOn = false;
  #status: Status | null = null;

  constructor(options: ClientOptions = {}) {
    this.#options = options;
    this.#fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.#path = options.path ?? "/api/settings";
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  /** Name of whoever receives reports, as far as the server has told. */
  get receiver(): string {
    return this.#status?.receiver ?? "";
  }

  /** Whether PostHog sees the visitor's browser, as far as the server has told. */
  get isDirect(): boolean {
    return this.#status?.way === "direct";
  }

  /** Begin to report, if the server says so and the visitor's browser does not object; return whether it does. */
  async start(): Promise<boolean> {
    const status = await this.#ask();
    if (status) this.#status = status;
    if (!status?.isOn || this.#isOn || isObjectedTo()) return this.#isOn;
    const channel = status.way === "direct" ? this.#options.direct : (this.#options.server ?? new ServerChannel(this.#path, this.#options.headers));
    if (!channel?.mayReport()) return false;
    this.#underWay = new AbortController();
    this.#isOn = true;
    this.#channel ??= channel;
    this.#source ??= await this.#channel.listen(status, (captured) => this.#accept(captured));
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
    if (this.#isOn) this.#source?.captureException(error, properties);
  }

  /** Report a marked test error through the normal path; return whether reports are on. */
  sendTestException(): boolean {
    const marker = `$${this.#options.markerPrefix ?? "fastflow"}_frontend_test`;
    this.captureException(new TestError("Test exception of the front end"), { [marker]: true });
    return this.#isOn;
  }

  #ask(): Promise<Status | null> {
    return askStatus(this.#fetch, `${this.#path}/telemetry-status`);
  }

  #accept(captured: Captured): void {
    const now = Date.now();
    this.#recent = this.#recent.filter((moment) => now - moment < MINUTE_MS);
    if (!this.#isOn || this.#recent.length >= MAX_PER_MINUTE) return;
    this.#recent.push(now);
    const delivery = this.#deliver(captured, this.#underWay.signal).finally(() => this.#deliveries.delete(delivery));
    this.#deliveries.add(delivery);
  }

  async #deliver(captured: Captured, signal: AbortSignal): Promise<void> {
    const channel = this.#channel as Channel;
    this.#page ??= { distinctId: newUuid(), serviceVersion: this.#options.serviceVersion };
    for (const pauseMs of PAUSES_MS) {
      await (this.#options.pause ?? passing)(pauseMs);
      const status = channel.asksFirst ? await this.#ask() : this.#status;
      if (signal.aborted) return;
      if (status && !status.isOn) return this.stop();
      const outgoing = status && channel.request(captured, status, this.#page);
      if (status && (!outgoing || (await this.#post(outgoing, signal)))) return;
    }
  }

  /** Tell whether the matter is settled, one way or the other. */
  async #post({ url, body, credentials, headers }: Outgoing, signal: AbortSignal): Promise<boolean> {
    try {
      const answer = await this.#fetch(url, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...headers },
        body,
        credentials,
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
