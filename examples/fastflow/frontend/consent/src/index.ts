export * from "./core.js";
export { DeliveryDisclosure } from "./Delivery.js";
export { ErrorBoundary, TelemetryProvider } from "./ErrorBoundary.js";
export { PreviewDisclosure } from "./Preview.js";
export { Switches } from "./Switches.js";
export { Wizard } from "./Wizard.js";
