import assert from "node:assert/strict";

import { CONSENT_TEXTS, SettingsApi, TelemetryClient } from "otel-posthog-react/core";

const asked = [];
const client = new TelemetryClient({
  path: "/telemetry",
  fetch: async (url) => {
    asked.push(url);
    return Response.json({ enable_error_reporting: false, posthog_api_key: null, posthog_host: "https://eu.posthog.com" });
  },
});

assert.equal(await client.start(), false);
assert.deepEqual(asked, ["/telemetry/telemetry-status"]);
assert.equal(client.receiver, "eu.posthog.com");
assert.equal(await new SettingsApi(async (method, path) => [method, path].join(" ")).system(), "GET /api/settings/system");
assert.match(CONSENT_TEXTS.en.receiver("", true), /IP address/);
await assert.rejects(import("otel-posthog-react"), /react/); // an optional peer, and not here
