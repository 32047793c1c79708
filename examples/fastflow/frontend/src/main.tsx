import "otel-posthog-react/consent.css";
import "./app.css";

import { TelemetryClient, TelemetryProvider } from "otel-posthog-react";
import { direct } from "otel-posthog-react/direct";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router-dom";

import { csrfHeaders } from "./api";
import { App } from "./App";
import { VERSION } from "./version";

const client = new TelemetryClient({ direct: direct(), headers: csrfHeaders, serviceVersion: VERSION });
const root = document.getElementById("root");

if (root) {
  createRoot(root).render(
    <StrictMode>
      <TelemetryProvider client={client}>
        <BrowserRouter>
          <App client={client} />
        </BrowserRouter>
      </TelemetryProvider>
    </StrictMode>,
  );
}
