"""Connect frameworks, task queues and their processes to a `Telemetry`."""
