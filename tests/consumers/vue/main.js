import { CONSENT_TEXTS, TelemetryClient } from "otel-posthog-react/core";
import { createApp, h } from "vue";

const client = new TelemetryClient();
const app = createApp({ render: () => h("p", CONSENT_TEXTS.de.receiver(client.receiver, client.isDirect)) });

app.config.errorHandler = (error) => client.captureException(error);
void client.start().then(() => app.mount("#app"));
