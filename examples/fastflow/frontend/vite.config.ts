import react from "@vitejs/plugin-react";
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";

import { sourceMaps } from "./sourceMaps";

export default defineConfig({
  plugins: [react(), sourceMaps("node_modules/.cache/source-maps")],
  // "otel-posthog-source" takes otel-posthog-react as it is written, so that nothing has to be built first.
  resolve: { conditions: ["otel-posthog-source", ...defaultClientConditions] },
  // No inlined files: the security policy allows scripts and styles of this origin only.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
  test: {
    environment: "happy-dom",
    testTimeout: 60_000, // machines of CI are slow
    include: ["**/test/**/*.test.{ts,tsx}"], exclude: ["**/node_modules/**"] },
});
