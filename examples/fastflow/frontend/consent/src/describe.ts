/** Describes errors by the part of posthog-js that does just that: no client, no request, no storage. */

import {
  createDefaultStackParser,
  DOMExceptionCoercer,
  ErrorCoercer,
  ErrorEventCoercer,
  ErrorPropertiesBuilder,
  EventCoercer,
  ObjectCoercer,
  PrimitiveCoercer,
  PromiseRejectionEventCoercer,
  StringCoercer,
} from "@posthog/core/error-tracking";

import { GIVEN, type Captured } from "./clean.js";
import type { Given, Source } from "./client.js";
import { newUuid } from "./page.js";

/** Left in the page's timeline once errors are listened for. */
export const MARK = "otel-posthog-reporting";

/** Report what nobody catches from now on, and what is captured by hand; each error object once. */
export function listen(accept: (captured: Captured) => void): Source {
  const builder = new ErrorPropertiesBuilder(
    [
      new DOMExceptionCoercer(),
      new PromiseRejectionEventCoercer(),
      new ErrorEventCoercer(),
      new ErrorCoercer(),
      new EventCoercer(),
      new ObjectCoercer(),
      new StringCoercer(),
      new PrimitiveCoercer(),
    ],
    createDefaultStackParser(),
  );
  const seen = new WeakSet<object>();

  function describe(error: unknown, of: unknown, type: string, handled: boolean, properties: Given = {}): void {
    if (typeof error === "object" && error !== null) {
      if (seen.has(error)) return;
      seen.add(error);
    }
    const syntheticException = new Error("captured here"); // its stack is that of what has none
    const built = builder.buildFromUnknown(of, { mechanism: { type, handled }, syntheticException });
    accept({ event: "$exception", uuid: newUuid(), properties: { ...built, [GIVEN]: properties } });
  }

  addEventListener("error", (event) => {
    describe(event.error, event.error ?? event, "onerror", false);
  });
  addEventListener("unhandledrejection", (event) => {
    describe(event.reason, event.reason instanceof Error ? event.reason : event, "onunhandledrejection", false);
  });
  performance.mark(MARK);
  return {
    captureException: (error, properties) => describe(error, error, "generic", true, properties),
  };
}
