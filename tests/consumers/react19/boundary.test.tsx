import { ErrorBoundary, TelemetryProvider, type TelemetryClient } from "otel-posthog-react";
import { act } from "react";
import { createRoot } from "react-dom/client";
import { expect, it, vi } from "vitest";

(globalThis as Record<string, unknown>).IS_REACT_ACT_ENVIRONMENT = true;

function Failing(): never {
  throw new Error("failed");
}

it("reports what a component throws, in a consumer's own tests", () => {
  const client = { captureException: vi.fn() };
  const place = document.createElement("div");

  act(() =>
    createRoot(place, { onCaughtError: () => undefined }).render(
      <TelemetryProvider client={client as unknown as TelemetryClient}>
        <ErrorBoundary fallback={() => "fallback"}>
          <Failing />
        </ErrorBoundary>
      </TelemetryProvider>,
    ),
  );

  expect(client.captureException).toHaveBeenCalledOnce();
  expect(place.textContent).toBe("fallback");
});
