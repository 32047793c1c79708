"use client";
/** An error boundary that reports through our client, so that consent holds there too. */

import { Component, createContext, type ContextType, type ReactNode } from "react";

import type { TelemetryClient } from "./client.js";

const ClientContext = createContext<TelemetryClient | null>(null);

export interface TelemetryProviderProps {
  client: TelemetryClient;
  children: ReactNode;
}

/** Hand the client to every `ErrorBoundary` below. */
export function TelemetryProvider({ client, children }: TelemetryProviderProps) {
  return <ClientContext.Provider value={client}>{children}</ClientContext.Provider>;
}

export interface ErrorBoundaryProps {
  /** Shown in place of what failed; `retry` renders it again. */
  fallback: (retry: () => void) => ReactNode;
  children: ReactNode;
}

export class ErrorBoundary extends Component<ErrorBoundaryProps, { hasFailed: boolean }> {
  static override contextType = ClientContext;
  declare context: ContextType<typeof ClientContext>;
  override state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override componentDidCatch(error: unknown) {
    this.context?.captureException(error);
  }

  override render() {
    return this.state.hasFailed ? this.props.fallback(() => this.setState({ hasFailed: false })) : this.props.children;
  }
}
