import "otel-posthog-react/consent.css";

import { ErrorBoundary, SettingsApi, Switches, TelemetryClient, TelemetryProvider } from "otel-posthog-react";
import { direct } from "otel-posthog-react/direct";
import { createRoot } from "react-dom/client";

const client = new TelemetryClient({ direct: direct(), headers: () => ({ "X-CSRF-Token": "x" }) });
const api = new SettingsApi(async (method, path) => (await fetch(path, { method })).json());

void client.start();
createRoot(document.getElementById("root") as HTMLElement).render(
  <TelemetryProvider client={client}>
    <ErrorBoundary fallback={(retry) => <button onClick={retry}>Try again</button>}>
      <Switches api={api} language="en" host={client.receiver} isDirect={client.isDirect} onChanged={() => undefined} />
    </ErrorBoundary>
  </TelemetryProvider>,
);
