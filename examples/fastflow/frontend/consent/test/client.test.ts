import type { PostHog } from "posthog-js";
import { afterEach, describe, expect, it, vi } from "vitest";

import { TelemetryClient, type ClientOptions } from "../src/client";
import { MARK } from "../src/describe";
import { direct, SAFE_OPTIONS, type DirectOptions } from "../src/direct";

const STATUS = {
  enable_error_reporting: true,
  posthog_api_key: "phc_x",
  posthog_host: "https://posthog.example",
  browser_reports: "direct",
};
const REPORT_PATH = "/api/settings/browser-report";
const INGESTION = "https://posthog.example/i/v0/e/";

/** A server that says what it is told to, and a PostHog that keeps what it gets. */
class Network {
  isOn = true;
  isReachable = true;
  postHogStatus = 200;
  asked = 0;
  way = "direct";
  received: { url: string; body: Record<string, unknown>; init: RequestInit }[] = [];

  fetch = (async (url: string, init?: RequestInit) => {
    if (url === INGESTION || url === REPORT_PATH) {
      this.received.push({ url, body: JSON.parse(String(init?.body)), init: init ?? {} });
      return new Response("{}", { status: this.postHogStatus });
    }
    this.asked += 1;
    if (!this.isReachable) throw new TypeError("Failed to fetch");
    return Response.json({ ...STATUS, enable_error_reporting: this.isOn, browser_reports: this.way });
  }) as typeof fetch;
}

/** The part of posthog-js that the client uses: what it captures goes to before_send. */
class FakePostHog {
  options: Record<string, unknown> = {};

  init(_key: string, options: Record<string, unknown>) {
    this.options = options;
  }

  captureException(error: Error, properties: Record<string, unknown>) {
    const beforeSend = this.options.before_send as (event: unknown) => unknown;
    const $exception_list = [{ type: error.name, value: error.message }];
    return beforeSend({ event: "$exception", uuid: crypto.randomUUID(), properties: { $exception_list, ...properties } });
  }
}

function setUp(options: ClientOptions = {}, { mayReport = () => true }: DirectOptions = {}) {
  const network = new Network();
  const posthog = new FakePostHog();
  const load = vi.fn(() => Promise.resolve(posthog as unknown as PostHog));
  const client = new TelemetryClient({
    fetch: network.fetch,
    direct: direct({ mayReport, load }),
    pause: () => Promise.resolve(),
    ...options,
  });
  return { client, network, posthog, load };
}

afterEach(() => {
  document.head.innerHTML = "";
});

describe("TelemetryClient that reports directly", () => {
  it("does not even load posthog-js without consent", async () => {
    const { client, network, load } = setUp();
    network.isOn = false;

    expect(await client.start()).toBe(false);
    client.captureException(new Error("x"));
    await client.flush();

    expect(load).not.toHaveBeenCalled();
    expect(network.received).toEqual([]);
  });

  it("does not start where the page's own policy dates from before the consent", async () => {
    const { client, load } = setUp({}, { mayReport: () => false });

    expect(await client.start()).toBe(false);
    expect(load).not.toHaveBeenCalled();
  });

  it.each([
    ["on", true],
    ["off", false],
  ])("reads the page's mark: %s", async (mark, isOn) => {
    document.head.innerHTML = `<meta name="error-reporting" content="${mark}">`;
    const { network, load } = setUp();
    const client = new TelemetryClient({ fetch: network.fetch, direct: direct({ load }) });

    expect(await client.start()).toBe(isOn);
  });

  it("does not start while the server cannot be asked", async () => {
    const { client, network } = setUp();
    network.isReachable = false;

    expect(await client.start()).toBe(false);
  });

  it("hands posthog-js the safe options and lets it send nothing itself", async () => {
    const { client, posthog } = setUp();
    await client.start();

    expect(posthog.options).toMatchObject(SAFE_OPTIONS);
    expect(posthog.captureException(new Error("x"), {})).toBeNull();
  });

  it("sends one report without credentials, referrer and redirects", async () => {
    const { client, network } = setUp();
    await client.start();

    client.captureException(new Error("x"), { step: "render" });
    await client.flush();

    expect(network.received).toHaveLength(1);
    const [{ body, init }] = network.received as [(typeof network.received)[0]];
    expect(init).toMatchObject({ credentials: "omit", referrerPolicy: "no-referrer", redirect: "error" });
    expect(body).toMatchObject({ api_key: "phc_x", event: "$exception" });
    expect(body.properties).toMatchObject({ step: "render", $process_person_profile: false });
  });

  it("asks afresh before each report, and stops for good at the first no", async () => {
    const { client, network } = setUp();
    await client.start();
    network.isOn = false;

    client.captureException(new Error("x"));
    await client.flush();
    network.isOn = true;
    client.captureException(new Error("y"));
    await client.flush();

    expect(client.isOn).toBe(false);
    expect(network.received).toEqual([]);
  });

  it("lets go what waits when it is stopped, also if it is started again", async () => {
    let goOn = () => undefined as void;
    const { client, network } = setUp({ pause: () => new Promise((resolve) => (goOn = resolve)) });
    await client.start();
    client.captureException(new Error("withdrawn"));

    client.stop();
    await client.start();
    goOn();
    await client.flush();

    expect(client.isOn).toBe(true);
    expect(network.received).toEqual([]);
  });

  it("tries again while PostHog is out of reach, with consent asked each time", async () => {
    const { client, network } = setUp();
    await client.start();
    network.postHogStatus = 503;

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received).toHaveLength(3);
    expect(network.asked).toBe(1 + 3);
    expect(new Set(network.received.map(({ body }) => body.uuid)).size).toBe(1);
  });

  it("sends no further attempt after a withdrawal", async () => {
    const { client, network } = setUp({
      pause: async () => {
        network.isOn = network.received.length === 0;
      },
    });
    await client.start();
    network.postHogStatus = 503;

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received).toHaveLength(1);
    expect(client.isOn).toBe(false);
  });

  it("does not repeat what PostHog refuses", async () => {
    const { client, network } = setUp();
    await client.start();
    network.postHogStatus = 400;

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received).toHaveLength(1);
  });

  it("waits while the server cannot be asked, and sends nothing meanwhile", async () => {
    const seen: number[] = [];
    const { client, network } = setUp({
      pause: async () => {
        seen.push(network.received.length);
        network.isReachable = seen.length > 2;
      },
    });
    await client.start();

    client.captureException(new Error("x"));
    await client.flush();

    expect(seen).toEqual([0, 0, 0]);
    expect(network.received).toHaveLength(1);
  });

  it("marks the test exception", async () => {
    const { client, network } = setUp({ markerPrefix: "acme" });
    await client.start();

    expect(client.sendTestException()).toBe(true);
    await client.flush();

    expect(network.received[0]?.body.properties).toMatchObject({ $acme_frontend_test: true });
  });

  it("has a new identity with each load of the page, kept nowhere", async () => {
    const ids = [];
    for (const _ of [1, 2]) {
      const { client, network } = setUp();
      await client.start();
      client.captureException(new Error("x"));
      await client.flush();
      ids.push(network.received[0]?.body.distinct_id);
    }

    expect(new Set(ids).size).toBe(2);
    expect([localStorage.length, sessionStorage.length, document.cookie]).toEqual([0, 0, ""]);
  });
});

describe("posthog-js itself", () => {
  it("captures by hand, on window.onerror and at a rejection, stores nothing and asks nobody", async () => {
    const asked = vi.fn(() => Promise.resolve(new Response("{}")));
    vi.stubGlobal("fetch", asked);
    const { network } = setUp();
    const client = new TelemetryClient({ fetch: network.fetch, direct: direct({ mayReport: () => true }) });
    await client.start();

    client.captureException(new Error("by hand"));
    window.onerror?.("Error: uncaught", "x.js", 1, 1, new Error("uncaught"));
    window.onunhandledrejection?.({ reason: new Error("rejected") } as PromiseRejectionEvent);

    await client.flush();
    expect(network.received).toHaveLength(3);
    const texts = network.received.map(({ body }) => JSON.stringify(body));
    for (const value of ["by hand", "uncaught", "rejected"]) {
      expect(texts.filter((text) => text.includes(value))).toHaveLength(1);
    }
    expect(asked).not.toHaveBeenCalled();
    expect([localStorage.length, sessionStorage.length, document.cookie]).toEqual([0, 0, ""]);
    client.stop();
    vi.unstubAllGlobals();
  });
});

describe("TelemetryClient that reports to the product's server", () => {
  function reporting(options: ClientOptions = {}) {
    const network = new Network();
    network.way = "server";
    const client = new TelemetryClient({ fetch: network.fetch, pause: () => Promise.resolve(), ...options });
    return { client, network };
  }

  it("does not even load what describes errors without consent", async () => {
    const { client, network } = reporting();
    network.isOn = false;

    expect(await client.start()).toBe(false);

    expect(performance.getEntriesByName(MARK)).toEqual([]);
  });

  it("describes what is captured, thrown and rejected, each error once, and stores nothing", async () => {
    const { client, network } = reporting();
    await client.start();
    const twice = new Error("twice", { cause: new TypeError("its cause") });

    client.captureException(twice, { step: "render" });
    window.dispatchEvent(new ErrorEvent("error", { error: twice, message: "twice" }));
    window.dispatchEvent(new ErrorEvent("error", { error: new RangeError("thrown"), message: "thrown" }));
    window.dispatchEvent(Object.assign(new Event("unhandledrejection"), { reason: new SyntaxError("rejected") }));
    await client.flush();

    const lists = network.received.map(({ body }) => body.$exception_list as Record<string, unknown>[]);
    expect(network.received.map(({ url }) => url)).toEqual([REPORT_PATH, REPORT_PATH, REPORT_PATH]);
    expect(lists.map(([first]) => [first?.type, first?.value])).toEqual([
      ["Error", "twice"],
      ["RangeError", "thrown"],
      ["SyntaxError", "rejected"],
    ]);
    expect(lists.map(([first]) => (first?.mechanism as Record<string, unknown>).handled)).toEqual([true, false, false]);
    expect(lists[0]?.[1]).toMatchObject({ type: "TypeError", mechanism: { source: "cause", parent_id: 0 } });
    expect(network.received[0]?.body.properties).toEqual({ step: "render" });
    expect(network.asked).toBe(1);
    expect([localStorage.length, sessionStorage.length, document.cookie]).toEqual([0, 0, ""]);
    client.stop();
  });

  it("carries the headers of the product's own requests", async () => {
    const { client, network } = reporting({ headers: () => ({ "X-CSRF-Token": "known" }) });
    await client.start();

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received[0]?.init.headers).toEqual({ "Content-Type": "application/json", "X-CSRF-Token": "known" });
  });

  it("tries the same report again while the server fails", async () => {
    const { client, network } = reporting();
    await client.start();
    network.postHogStatus = 503;

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received).toHaveLength(3);
    expect(new Set(network.received.map(({ body }) => body.uuid)).size).toBe(1);
  });

  it("never floods the server", async () => {
    const { client, network } = reporting();
    await client.start();

    for (let number = 0; number < 100; number += 1) client.captureException(new Error(`x ${number}`));
    await client.flush();

    expect(network.received).toHaveLength(20);
  });

  it("does not fall back on the server where direct reports are asked for and not built in", async () => {
    const { client, network } = reporting();
    network.way = "direct";

    expect(await client.start()).toBe(false);
    expect(client.isDirect).toBe(true);
  });

  it.each([
    ["globalPrivacyControl", true],
    ["doNotTrack", "1"],
  ])("honours the browser's %s", async (name, value) => {
    vi.stubGlobal("navigator", { [name]: value });
    const { client } = reporting();

    expect(await client.start()).toBe(false);
    vi.unstubAllGlobals();
  });

  it("makes a uuid where a page over plain http has no randomUUID", async () => {
    vi.stubGlobal("crypto", { getRandomValues: crypto.getRandomValues.bind(crypto) });
    const { client, network } = reporting();
    await client.start();

    client.captureException(new Error("x"));
    await client.flush();

    expect(network.received[0]?.body.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    vi.unstubAllGlobals();
  });
});
