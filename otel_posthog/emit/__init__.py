"""Turn what the product reports into OpenTelemetry log records; imports opentelemetry-api only."""
