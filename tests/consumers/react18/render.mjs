import assert from "node:assert/strict";

import { CONSENT_TEXTS, SettingsApi, Switches, TelemetryClient, TelemetryProvider, Wizard } from "otel-posthog-react";
import { createElement, version } from "react";
import { renderToString } from "react-dom/server";

const api = new SettingsApi(async () => ({}));
const props = { api, language: "de", product: "Acme", host: "eu.posthog.com", onDecided() {}, onLater() {} };
const wizard = renderToString(createElement(Wizard, props));
const switches = renderToString(
  createElement(TelemetryProvider, { client: new TelemetryClient() }, createElement(Switches, { ...props, onChanged() {} })),
);

assert.match(version, /^18\./);
assert.ok(wizard.includes("Acme verbessern helfen?"), wizard);
assert.ok(wizard.includes("otel-posthog-dialog"), wizard);
assert.ok(switches.includes(CONSENT_TEXTS.de.loading), switches);
