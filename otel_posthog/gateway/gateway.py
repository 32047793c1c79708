"""One gateway: the outlets, and what comes of one request's content."""

from __future__ import annotations

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import cast

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_posthog.config import Config
from otel_posthog.counts import Counts
from otel_posthog.errors import ConfigError
from otel_posthog.events import Event
from otel_posthog.mapping import LIBRARY, BaseProperties
from otel_posthog.notices import Notices
from otel_posthog.scrubbing import Scrubber
from otel_posthog.spool_place import IN_MEMORY
from otel_posthog.transport import PostHogTransport, Transport

from .decoding import JSON_SHARE, LOGS, PROTOBUF, TRACES, Signal, message, plain
from .intake import Intake, Taken
from .outlet import BusyError, Outlet, Shared
from .reading import registry_from, rules_from

_log = logging.getLogger(__name__)
_NAME_CHARS = 16


class Gateway:
    """Pass on what OTLP requests hold: stateless, unless a folder for the spool is given."""

    def __init__(self, config: Config, transport: Transport | None = None) -> None:
        """Read manifest and rules; raise `ConfigError` or `RegistryError` where these cannot be used."""
        self.config = config
        self.counts = Counts()
        notices = Notices()
        registry = registry_from(config.gateway_manifests)
        scrubber = Scrubber(registry=registry)
        self._intake = Intake(
            registry=registry,
            rules=rules_from(config.gateway_span_rules, registry),
            base=BaseProperties(
                environment=config.environment,
                service_version=config.service_version,
                send_host=config.send_host,
                roots=config.roots,
                steps_max_bytes=config.error_steps_max_bytes,
                reads_source=False,  # whoever sends names the files
                scrubber=scrubber,
            ),
            counts=self.counts,
            notices=notices,
            are_stamps_compared=config.gateway_databases is not None,
        )
        self._transport = transport or _posthog(config)
        shared = Shared(
            config=config,
            registry=registry,
            scrubber=scrubber,
            transport=self._transport,
            counts=self.counts,
            notices=notices,
        )
        databases: Sequence[str | None] = (config.gateway_databases or "").split() or [None]
        self._outlets = [
            Outlet(shared, folder=_folder(config.spool_dir, database), database=database)
            for database in databases
        ]
        self._decoding = threading.Lock()

    def start(self) -> None:
        """Look at consent where it is looked up, and send what waits."""
        for outlet in self._outlets:
            outlet.start()

    def stop(self) -> None:
        """Stop every thread and close what is open."""
        for outlet in self._outlets:
            outlet.stop()
        self._transport.close()

    def is_ready(self) -> bool:
        """Tell whether a request would be taken now."""
        return all(outlet.is_ready() for outlet in self._outlets)

    def take(self, signal: Signal, body: bytes, *, media_type: str, encoding: str) -> int:
        """Send what the request holds and return how many of its records never can be.

        Raise `RefusedError` for a body that is none, `BusyError` where the sender has to keep it. One
        body is unpacked at a time, so that memory is bounded by one; sending is not in turn.
        """
        with self._decoding:
            max_bytes = self.config.gateway_plain_max_bytes
            content = plain(body, encoding, max_bytes if media_type == PROTOBUF else max_bytes // JSON_SHARE)
            taken = self._events(signal, content, media_type)
            del content
        self.counts.add("requests")
        return taken.rejected + sum(
            outlet.send(events) for outlet, events in self._by_outlet(taken.events).items()
        )

    def _events(self, signal: Signal, content: bytes, media_type: str) -> Taken:
        request = message(content, media_type, signal.request)
        if signal is LOGS:
            return self._intake.logs(cast("ExportLogsServiceRequest", request))
        if signal is TRACES:
            as_it_came = content if media_type == PROTOBUF else None
            return self._intake.spans(cast("ExportTraceServiceRequest", request), as_it_came)
        return Taken()  # a metric has no place for consent; the heartbeat comes as a log record

    def _by_outlet(self, events: Sequence[Event]) -> Mapping[Outlet, list[Event]]:
        sorted_out: defaultdict[Outlet, list[Event]] = defaultdict(list)
        for event in events:
            outlet = next((o for o in self._outlets if o.speaks_for(event.distinct_id or "")), None)
            if outlet is None:
                self.counts.add("unknown_installation")
            else:
                sorted_out[outlet].append(event)
        return sorted_out


def retry_after_s(busy: BusyError) -> int:
    """Return the whole seconds for `Retry-After`."""
    return max(1, math.ceil(busy.pause_s))


def _posthog(config: Config) -> Transport:
    if config.api_key is None:
        raise ConfigError("The gateway needs the project API key: set POSTHOG_API_KEY.")
    return PostHogTransport(
        api_key=config.api_key,
        host=config.host,
        timeout_s=config.http_timeout_s,
        user_agent=f"{LIBRARY}/{version(LIBRARY)}",
    )


def _folder(spool_dir: str | None, database: str | None) -> Path | None:
    """Return the folder of one outlet's spool; each database has its own, whose purge then hits no other."""
    if spool_dir in (None, IN_MEMORY):
        return None
    name = "stamped" if database is None else sha256(database.encode()).hexdigest()[:_NAME_CHARS]
    return Path(str(spool_dir)).absolute() / f"gateway-{name}"
