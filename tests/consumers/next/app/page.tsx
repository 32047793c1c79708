import { CONSENT_TEXTS } from "otel-posthog-react/core";

import { Telemetry } from "./telemetry";

export default function Page() {
  return (
    <Telemetry>
      <p>{CONSENT_TEXTS.en.recording}</p>
    </Telemetry>
  );
}
