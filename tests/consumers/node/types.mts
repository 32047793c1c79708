import { TelemetryClient, type Balance, type System } from "otel-posthog-react/core";

export const client: TelemetryClient = new TelemetryClient();
export const balance: Balance = { accepted: 1, sent: 1, handed_over: 0, waiting: 0, dropped: {} };
export const system: System = { is_setup_completed: false, enable_error_reporting: false, enable_telemetry: false };
