import { describe, expect, it } from "vitest";

import { OFF, askStatus, ingestionHost, readStatus } from "../src/status";

const YES = { enable_error_reporting: true, posthog_api_key: "phc_x", posthog_host: "https://eu.posthog.com", browser_reports: "direct" };

describe("readStatus", () => {
  it("takes a plain yes", () => {
    expect(readStatus(YES)).toEqual({
      isOn: true,
      receiver: "eu.posthog.com",
      way: "direct",
      apiKey: "phc_x",
      host: "https://eu.i.posthog.com",
    });
  });

  it.each([
    [null],
    ["yes"],
    [{}],
    [{ ...YES, posthog_host: undefined }],
    [{ ...YES, posthog_host: "no address" }],
  ])("takes %j for a no", (body) => {
    expect(readStatus(body)).toEqual(OFF);
  });

  it.each([["true"], [1], [false], [undefined]])("takes enable_error_reporting: %j for a no", (flag) => {
    expect(readStatus({ ...YES, enable_error_reporting: flag }).isOn).toBe(false);
  });

  it("takes a missing key for a no, and still names the receiver", () => {
    expect(readStatus({ ...YES, posthog_api_key: null })).toEqual({ ...OFF, way: "direct", receiver: "eu.posthog.com" });
  });

  it.each([["server"], [undefined], ["elsewhere"]])("reports to the server unless told to report directly: %j", (browser_reports) => {
    expect(readStatus({ ...YES, browser_reports })).toMatchObject({ isOn: true, way: "server" });
  });
});

describe("askStatus", () => {
  it.each([
    ["an error of the server", () => Promise.resolve(new Response("", { status: 500 }))],
    ["no network", () => Promise.reject(new TypeError("Failed to fetch"))],
    ["an answer that is no JSON", () => Promise.resolve(new Response("<html>"))],
  ])("does not know after %s", async (_, answer) => {
    expect(await askStatus(answer, "/status")).toBeNull();
  });
});

describe("ingestionHost", () => {
  it.each([
    ["https://eu.posthog.com", "https://eu.i.posthog.com"],
    ["https://us.posthog.com/", "https://us.i.posthog.com"],
    ["https://app.posthog.com", "https://us.i.posthog.com"],
    ["https://eu.i.posthog.com", "https://eu.i.posthog.com"],
    ["https://posthog.example/", "https://posthog.example"],
    ["http://127.0.0.1:8010", "http://127.0.0.1:8010"],
  ])("leads from %s to %s", (host, ingestion) => {
    expect(ingestionHost(host)).toBe(ingestion);
  });
});
