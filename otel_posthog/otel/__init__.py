"""Isolate the OpenTelemetry interfaces and names that the rest of the package builds on."""
