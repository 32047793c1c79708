"""Fuzz what the gateway does with a request, with atheris: ``python tests/fuzz/gateway.py -runs=1000000``.

Whatever comes as body, media type and encoding is refused with a status or becomes records; whatever the
records hold becomes events, or is counted. Nothing else is raised, and none takes longer than a second.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris
from google.protobuf.json_format import MessageToJson

with atheris.instrument_imports(include=["otel_posthog.gateway", "otel_posthog.mapping"]):
    from otel_posthog._runtime.reporting import Counts
    from otel_posthog.gateway.decoding import JSON, LOGS, PROTOBUF, TRACES, RefusedError, message, plain
    from otel_posthog.gateway.records import RecordMapper

from otel_posthog._runtime.reporting import LogLimiter
from otel_posthog.config.settings import Config
from otel_posthog.mapping import BaseProperties
from otel_posthog.registry import Registry
from otel_posthog.span_rules import SpanRule, SpanRules

MAX_BYTES = 100_000
REFUSALS = {400, 413, 415}
COUNTS = Counts()
MAPPER = RecordMapper(
    registry=Registry(),
    rules=SpanRules([SpanRule(name="GET *", event="shown", properties={"a": "a"})]),
    base=BaseProperties(environment="production", reads_source=False),
    counts=COUNTS,
    log_limiter=LogLimiter(),
    config=Config.resolve({}, {}),
)


def check(data: bytes) -> None:
    """Run one input."""
    provider = atheris.FuzzedDataProvider(data)
    encoding = provider.PickValueInList(["", "", "gzip", "zstd", "br"])
    media_type = provider.PickValueInList([PROTOBUF, JSON])
    signal = provider.PickValueInList([TRACES, LOGS])
    body = provider.ConsumeBytes(provider.remaining_bytes())
    try:
        content = plain(body, encoding, MAX_BYTES)
        request = message(content, media_type, signal.request)
    except RefusedError as refused:
        if refused.status not in REFUSALS:
            raise
        return
    if signal is LOGS:
        MAPPER.logs(request)
    else:
        MAPPER.spans(request, content if media_type == PROTOBUF else None)
    assert "unmappable" not in COUNTS.as_dict()


def seeds() -> list[bytes]:
    """Return real requests as inputs; the choices of `check` are read from the end."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from gateways import consent, raised, spans, tracked  # noqa: PLC0415 - after what is instrumented

    stamped = consent()
    logs = [
        tracked("some_event", {"a": 1, "b": "text"} | stamped),
        raised(stamped, trace_id=bytes(range(16))),
    ]
    traces = [
        spans(
            2, {"a": 1, "posthog.event": "named"} | stamped, is_error=True, events=[{"exception.type": "E"}]
        )
    ]
    return [
        *[request.SerializeToString() + b"\1\0\0" for request in logs],
        *[request.SerializeToString() + b"\0\0\0" for request in traces],
        *[MessageToJson(request, indent=None).encode() + b"\1\1\0" for request in logs],
        *[MessageToJson(request, indent=None).encode() + b"\0\1\0" for request in traces],
    ]


def main() -> None:
    """Let libFuzzer run from real requests on; every option is its own."""
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()):
            (Path(corpus) / str(number)).write_bytes(seed)
        options = ["-timeout=5", "-max_len=4000", "-verbosity=0", *sys.argv[1:]]
        atheris.Setup([sys.argv[0], *options, corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
