/** Everything but the components, for Vue, Svelte, plain pages and servers. */

export { TelemetryClient, TestError, type Channel, type ClientOptions, type Given } from "./client.js";
export { reportsAreAllowed } from "./page.js";
export { SettingsApi, type Balance, type Call, type Flags, type Kind, type Preview, type State, type System } from "./settings.js";
export { askStatus, type Status } from "./status.js";
export { CONSENT_TEXTS, type ConsentTexts, type Language } from "./texts.js";
