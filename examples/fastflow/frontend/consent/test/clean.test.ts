import type { PostHog } from "posthog-js";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";

import { GIVEN, type Captured } from "../src/clean";
import { direct } from "../src/direct";
import { ServerChannel } from "../src/server";
import { OFF, type Status } from "../src/status";

const ON: Status = { ...OFF, isOn: true, way: "direct", apiKey: "phc_x", host: "https://posthog.example" };
const PAGE = { distinctId: "5f0c6f4e-0000-4000-8000-000000000000", serviceVersion: "1.0.0" };
const CHUNK_ID = "0198c7f2-9a43-7c61-8f55-0b7a5d1f2e90";
const EXCEPTION = {
  type: "TypeError",
  value: "x is not a function",
  mechanism: { handled: false, synthetic: false, type: "onerror", secret: "no" },
  stacktrace: {
    type: "raw",
    frames: [
      {
        platform: "web:javascript",
        filename: "https://flow.acme.example/assets/index.js?v=1",
        function: "render",
        lineno: 1,
        colno: 2,
        in_app: true,
        chunk_id: CHUNK_ID,
        vars: { password: "hunter2" },
      },
    ],
  },
};

function captured(properties: Record<string, unknown> = {}, event = "$exception"): Captured {
  return { event, uuid: "0199", timestamp: new Date(0), properties: { $exception_list: [EXCEPTION], ...properties } };
}

const channel = direct({ load: () => Promise.resolve({ init: () => undefined } as unknown as PostHog) });
beforeAll(() => channel.listen(ON, () => undefined));

/** What would be posted to PostHog. */
function posted(one: Captured) {
  const outgoing = channel.request(one, ON, PAGE);
  return outgoing && (JSON.parse(outgoing.body) as { properties: Record<string, unknown> } & Record<string, unknown>);
}

beforeEach(() => (window as unknown as { happyDOM: { setURL(url: string): void } }).happyDOM.setURL("https://flow.acme.example/runs/7?coupon=4711#part"));
afterEach(() => (window as unknown as { happyDOM: { setURL(url: string): void } }).happyDOM.setURL("about:blank"));

describe("a direct report", () => {
  it("keeps what describes the error, and replaces the host", () => {
    const report = posted(captured({ $lib_version: "1.2.3" }));

    expect(report).toEqual({
      api_key: "phc_x",
      event: "$exception",
      uuid: "0199",
      distinct_id: PAGE.distinctId,
      timestamp: "1970-01-01T00:00:00.000Z",
      properties: {
        service_version: "1.0.0",
        source: "frontend",
        $exception_list: [
          {
            type: "TypeError",
            value: "x is not a function",
            mechanism: { handled: false, synthetic: false, type: "onerror" },
            stacktrace: {
              type: "raw",
              frames: [
                {
                  platform: "web:javascript",
                  filename: "http://host.invalid/assets/index.js",
                  function: "render",
                  lineno: 1,
                  colno: 2,
                  in_app: true,
                  chunk_id: CHUNK_ID,
                },
              ],
            },
          },
        ],
        $exception_level: "error",
        $current_url: "http://host.invalid/runs/7",
        $process_person_profile: false,
        $geoip_disable: true,
        $ip: "0.0.0.0",
        $lib: "web",
        $lib_version: "1.2.3",
      },
    });
  });

  it("drops whatever else posthog-js or a plugin adds", () => {
    const added = Object.fromEntries(
      ["$host", "$referrer", "$referring_domain", "$device_id", "$session_id", "$user_id", "$pathname", "token", "title"].map(
        (name) => [name, "flow.acme.example"],
      ),
    );

    expect(posted(captured(added))).toEqual(posted(captured()));
  });

  it.each(["$pageview", "$autocapture", "$snapshot", "$identify", "anything"])("refuses %s", (event) => {
    expect(posted(captured({}, event))).toBeNull();
  });

  it("refuses an exception without a list", () => {
    expect(posted(captured({ $exception_list: "x" }))).toBeNull();
  });

  it("takes scalars that the product told, and scrubs them", () => {
    const given = { $x_frontend_test: true, step: "for ada@example.org", count: 3, nested: { a: 1 }, endless: Infinity };

    const properties = posted(captured({ [GIVEN]: given }))?.properties;

    expect(properties).toMatchObject({ $x_frontend_test: true, step: "for [scrubbed:email]", count: 3 });
    expect(properties).not.toHaveProperty("nested");
    expect(properties).not.toHaveProperty("endless");
  });

  it("lets the product's own properties override none of the promised ones", () => {
    const given = { $process_person_profile: true, $ip: "1.2.3.4", $current_url: "x", source: "backend" };

    expect(posted(captured({ [GIVEN]: given }))).toEqual(posted(captured()));
  });

  it("survives odd shapes", () => {
    const report = posted(captured({ $exception_list: [null, "text", { stacktrace: { frames: [null] } }] }));

    expect(report?.properties.$exception_list).toHaveLength(3);
  });
});

describe("a report to the product's server", () => {
  const server = new ServerChannel("/api/settings");

  it("names the page by its path, and holds just what the server takes", () => {
    const outgoing = server.request(captured({ [GIVEN]: { step: "x" }, $lib_version: "1", token: "no" }));

    expect(outgoing).toMatchObject({ url: "/api/settings/browser-report", credentials: "same-origin" });
    expect(JSON.parse(outgoing?.body ?? "")).toEqual({
      uuid: "0199",
      url: "/runs/7",
      properties: { step: "x" },
      $exception_level: "error",
      $exception_list: [
        {
          type: "TypeError",
          value: "x is not a function",
          mechanism: { handled: false, synthetic: false, type: "onerror" },
          stacktrace: {
            type: "raw",
            frames: [
              {
                platform: "web:javascript",
                filename: "https://flow.acme.example/assets/index.js",
                function: "render",
                lineno: 1,
                colno: 2,
                in_app: true,
                chunk_id: CHUNK_ID,
              },
            ],
          },
        },
      ],
    });
  });

  it("is never larger than the server takes", () => {
    const frame = { filename: "https://flow.acme.example/" + "x".repeat(3_000), function: "f", lineno: 1 };
    const large = { ...EXCEPTION, value: "ö".repeat(9_000), stacktrace: { frames: Array(200).fill(frame) } };

    const outgoing = server.request(captured({ $exception_list: Array(5).fill(large) }));

    expect(new Blob([outgoing?.body ?? ""]).size).toBeLessThan(65_536);
    expect(outgoing?.body).toContain("TypeError");
  });

  it("is none of anything but an exception", () => {
    expect(server.request(captured({}, "$pageview"))).toBeNull();
  });
});
