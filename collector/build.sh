#!/usr/bin/env bash
# Build the Collector of builder.yaml, once for each content of that file, and print where it lies.
# Needs Go, and takes its modules from the Go module proxy. With --path it builds nothing.
set -euo pipefail
manifest="$(cd "$(dirname "$0")" && pwd)/builder.yaml"
builder=go.opentelemetry.io/collector/cmd/builder@v0.155.0
folder="${XDG_CACHE_HOME:-$HOME/.cache}/otel-posthog/collector-$(sha256sum "$manifest" | cut -c1-16)"
program="$folder/otelcol-posthog"
if [ "${1:-}" = --path ]; then
  echo "$program"
  exit
fi
if [ ! -x "$program" ]; then
  mkdir -p "$folder"
  exec 9>"$folder/lock"
  flock 9
fi
if [ ! -x "$program" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  sed "s#output_path: .*#output_path: $work/build#" "$manifest" >"$work/builder.yaml"
  (cd "$work" && CGO_ENABLED=0 go run "$builder" --config builder.yaml) >"$folder/build.log" 2>&1 || {
    tail -n 20 "$folder/build.log" >&2
    exit 1
  }
  mv "$work/build/otelcol-posthog" "$program"
fi
echo "$program"
