"""Connect OpenTelemetry SDK objects to the gate."""
