/** PostHog's own error boundary, reporting through our client, so that consent holds there too. */

import { PostHogErrorBoundary, PostHogProvider } from "@posthog/react/slim";
import type { PostHog } from "posthog-js";
import type { ReactNode } from "react";

import type { TelemetryClient } from "./client";

export interface TelemetryProviderProps {
  client: TelemetryClient;
  children: ReactNode;
}

/** Hand the client to every `ErrorBoundary` below. */
export function TelemetryProvider({ client, children }: TelemetryProviderProps) {
  // The boundary calls captureException and nothing else; the client has that method.
  return <PostHogProvider client={client as unknown as PostHog}>{children}</PostHogProvider>;
}

export interface ErrorBoundaryProps {
  /** Shown in place of what failed; `retry` renders it again. */
  fallback: (retry: () => void) => ReactNode;
  children: ReactNode;
}

export function ErrorBoundary({ fallback, children }: ErrorBoundaryProps) {
  return (
    <PostHogErrorBoundary fallback={({ resetError }) => <>{fallback(() => resetError?.())}</>}>
      {children}
    </PostHogErrorBoundary>
  );
}
