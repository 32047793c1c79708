export { TelemetryClient, TestError, reportsAreAllowed, type ClientOptions, type Given } from "./client";
export { ErrorBoundary, TelemetryProvider } from "./ErrorBoundary";
export { PreviewDisclosure } from "./Preview";
export { SAFE_OPTIONS } from "./safeOptions";
export { SettingsApi, type Call, type Flags, type Kind, type System } from "./settings";
export { askStatus, type Status } from "./status";
export { Switches } from "./Switches";
export { CONSENT_TEXTS, type Language } from "./texts";
export { Wizard } from "./Wizard";
