import { ErrorBoundary, SettingsApi, TelemetryClient, TelemetryProvider, Wizard } from "otel-posthog-react";

const client: TelemetryClient = new TelemetryClient({ path: "/telemetry" });
const api = new SettingsApi(() => Promise.resolve({}));

export const app = (
  <TelemetryProvider client={client}>
    <ErrorBoundary fallback={(retry) => <button onClick={retry}>again</button>}>
      <Wizard api={api} language="en" product="Acme" host="" isDirect onDecided={() => undefined} onLater={() => undefined} />
    </ErrorBoundary>
  </TelemetryProvider>
);
