import { describe, expect, it } from "vitest";

import { GIVEN, clean, type Captured, type Surroundings } from "../src/clean";

const AROUND: Surroundings = {
  apiKey: "phc_x",
  distinctId: "5f0c6f4e-0000-4000-8000-000000000000",
  url: "https://flow.acme.example/runs/7?coupon=4711#part",
  host: "flow.acme.example",
  base: { service_version: "1.0.0" },
};
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
        vars: { password: "hunter2" },
      },
    ],
  },
};

function captured(properties: Record<string, unknown> = {}, event = "$exception"): Captured {
  return { event, uuid: "0199", timestamp: new Date(0), properties: { $exception_list: [EXCEPTION], ...properties } };
}

describe("clean", () => {
  it("keeps what describes the error, and replaces the host", () => {
    const report = clean(captured({ $lib_version: "1.2.3" }), AROUND);

    expect(report).toEqual({
      api_key: "phc_x",
      event: "$exception",
      uuid: "0199",
      distinct_id: AROUND.distinctId,
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

    expect(clean(captured(added), AROUND)).toEqual(clean(captured(), AROUND));
  });

  it.each(["$pageview", "$autocapture", "$snapshot", "$identify", "anything"])("refuses %s", (event) => {
    expect(clean(captured({}, event), AROUND)).toBeNull();
  });

  it("refuses an exception without a list", () => {
    expect(clean(captured({ $exception_list: "x" }), AROUND)).toBeNull();
  });

  it("takes scalars that the product told, and scrubs them", () => {
    const given = { $x_frontend_test: true, step: "for ada@example.org", count: 3, nested: { a: 1 }, endless: Infinity };

    const properties = clean(captured({ [GIVEN]: given }), AROUND)?.properties;

    expect(properties).toMatchObject({ $x_frontend_test: true, step: "for [scrubbed:email]", count: 3 });
    expect(properties).not.toHaveProperty("nested");
    expect(properties).not.toHaveProperty("endless");
  });

  it("lets the product's own properties override none of the promised ones", () => {
    const given = { $process_person_profile: true, $ip: "1.2.3.4", $current_url: "x", source: "backend" };

    expect(clean(captured({ [GIVEN]: given }), AROUND)).toEqual(clean(captured(), AROUND));
  });

  it("survives odd shapes", () => {
    const report = clean(captured({ $exception_list: [null, "text", { stacktrace: { frames: [null] } }] }), AROUND);

    expect(report?.properties.$exception_list).toHaveLength(3);
  });
});
