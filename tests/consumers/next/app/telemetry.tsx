"use client";

import { ErrorBoundary, TelemetryClient, TelemetryProvider } from "otel-posthog-react";
import { useEffect, type ReactNode } from "react";

const client = new TelemetryClient();

export function Telemetry({ children }: { children: ReactNode }) {
  useEffect(() => void client.start(), []);
  return (
    <TelemetryProvider client={client}>
      <ErrorBoundary fallback={(retry) => <button onClick={retry}>Try again</button>}>{children}</ErrorBoundary>
    </TelemetryProvider>
  );
}
