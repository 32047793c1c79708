"""Accept the content of OTLP requests and send its events: the gateway without HTTP."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import cast

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.config.declared_events import object_at
from otel_posthog.config.settings import Config
from otel_posthog.delivery.prepare import Preparation
from otel_posthog.delivery.spool import IN_MEMORY
from otel_posthog.delivery.transport import Transport, posthog_transport
from otel_posthog.errors import ConfigError
from otel_posthog.events import Event
from otel_posthog.mapping import BaseProperties
from otel_posthog.registry import Kind, Registry
from otel_posthog.registry.documents import read_manifest_file
from otel_posthog.scrubbing import BeforeSend, Scrubber, ScrubRules
from otel_posthog.span_rules import SpanRule, SpanRules

from .decoding import JSON_SHARE, LOGS, PROTOBUF, TRACES, Signal, message, plain
from .delivery import InstallationDelivery
from .records import Mapped, RecordMapper

_HINT = " Write it with: otel-posthog docs --app module:name"
_FOLDER_NAME_CHARS = 16


def registry_from(paths: str) -> Registry:
    """Return the registry of the first manifest file; the others are earlier ones that may be agreed to."""
    present, *earlier = [read_manifest_file(_text(path, _HINT)) for path in paths.split(os.pathsep)]
    registry = Registry.from_manifests(present)
    for manifests in earlier:
        for kind in Kind:
            texts = {manifests[kind].hash: manifests[kind].text}
            registry.remember(manifests[kind].hash, texts.__getitem__)
    return registry


def rules_from(path: str | None, registry: Registry) -> SpanRules:
    """Return the span rules of a JSON file: a list of objects with the fields of `SpanRule`."""
    if path is None:
        return SpanRules()
    try:
        rules = [SpanRule(**entry) for entry in json.loads(_text(path, ""))]
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):  # a rule that is no rule names its own fault
            raise
        raise ConfigError(f"{path} is no list of span rules in JSON ({error}).") from None
    return SpanRules(rules, registry)


def scrub_rules_from(path: str | None) -> ScrubRules | None:
    """Return the scrub rules of a JSON file: an object with the keys of `scrub:` in a configuration file."""
    if path is None:
        return None
    try:
        return ScrubRules.from_mapping(json.loads(_text(path, "")))
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} holds no scrub rules in JSON ({error}).") from None


def before_send_from(location: str | None) -> BeforeSend | None:
    """Return the hook at `module:name`."""
    found = None if location is None else object_at(location)
    if found is not None and not callable(found):
        raise ConfigError(f"gateway_before_send: {location} is no function.")
    return cast("BeforeSend | None", found)


def _text(path: str, hint: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({type(error).__name__}).{hint}") from None


class Gateway:
    """Send the events in OTLP requests to PostHog; stateless unless a folder for the spool is given."""

    def __init__(self, config: Config, transport: Transport | None = None) -> None:
        """Read manifest and rules; raise `ConfigError` or `RegistryError` if they cannot be used."""
        self.config = config
        self.counts = Counts()
        log_limiter = LogLimiter()
        registry = registry_from(config.gateway_manifests)
        scrubber = Scrubber(scrub_rules_from(config.gateway_scrub_rules), registry=registry)
        self._mapper = RecordMapper(
            registry=registry,
            rules=rules_from(config.gateway_span_rules, registry),
            base=BaseProperties(
                environment=config.environment,
                service_version=config.service_version,
                send_host=config.send_host,
                roots=config.roots,
                steps_max_bytes=config.error_steps_max_bytes,
                reads_source=False,  # the sender names the files, so it could name any of this machine
                scrubber=scrubber,
            ),
            counts=self.counts,
            log_limiter=log_limiter,
            config=config,
        )
        transport = transport or posthog_transport(config)
        if transport is None:
            raise ConfigError("The gateway needs the project API key: set POSTHOG_API_KEY.")
        self._transport = transport
        preparation = Preparation(
            config,
            registry=registry,
            scrubber=scrubber,
            counts=self.counts,
            log_limiter=log_limiter,
            before_send=before_send_from(config.gateway_before_send),
        )
        databases: Sequence[str | None] = (config.gateway_databases or "").split() or [None]
        self._installations = [
            InstallationDelivery(
                preparation, self._transport, folder=_folder(config.spool_dir, database), database=database
            )
            for database in databases
        ]
        self._decoding = threading.Lock()
        follow_forks(self)

    def start(self) -> None:
        """Read consent, and send what waits."""
        for installation in self._installations:
            installation.start()

    def stop(self) -> None:
        """Stop every thread; close files and connections."""
        for installation in self._installations:
            installation.stop()
        self._transport.close()

    def is_ready(self) -> bool:
        """Return whether a request would be accepted now."""
        return all(installation.is_ready() for installation in self._installations)

    def after_fork(self) -> None:
        """Start afresh in a child: the body being unpacked is the parent's."""
        self._decoding = threading.Lock()

    def accept(self, signal: Signal, body: bytes, *, media_type: str, encoding: str) -> int:
        """Send the events of a request and return how many of its records can never be sent.

        Raises `RefusedError` for a body that is not OTLP, `BusyError` if the sender has to keep it.
        """
        # One body is unpacked at a time, so that memory is bounded by one. Sending is concurrent.
        with self._decoding:
            max_bytes = self.config.gateway_plain_max_bytes
            content = plain(body, encoding, max_bytes if media_type == PROTOBUF else max_bytes // JSON_SHARE)
            mapped = self._mapped(signal, content, media_type)
            # Freed before the events are sent, which takes as long as PostHog does.
            del content
        self.counts.add("requests")
        refused = [target.send(events) for target, events in self._by_installation(mapped.events).items()]
        return mapped.rejected + sum(refused)

    def _mapped(self, signal: Signal, content: bytes, media_type: str) -> Mapped:
        request = message(content, media_type, signal.request)
        if signal is LOGS:
            return self._mapper.logs(cast("ExportLogsServiceRequest", request))
        if signal is TRACES:
            protobuf = content if media_type == PROTOBUF else None
            return self._mapper.spans(cast("ExportTraceServiceRequest", request), protobuf)
        # Metrics become nothing: consent would have to be an attribute of each point. The heartbeat arrives
        # as a log record.
        return Mapped()

    def _by_installation(self, events: Sequence[Event]) -> Mapping[InstallationDelivery, list[Event]]:
        grouped: defaultdict[InstallationDelivery, list[Event]] = defaultdict(list)
        for event in events:
            instance_id = event.distinct_id or ""
            target = next((each for each in self._installations if each.serves(instance_id)), None)
            if target is None:
                self.counts.add("unknown_installation")
            else:
                grouped[target].append(event)
        return grouped


def _folder(spool_dir: str | None, database: str | None) -> Path | None:
    """Return the folder for a database's spool; a purge in one folder does not affect the others."""
    if spool_dir in (None, IN_MEMORY):
        return None
    name = "stamped" if database is None else sha256(database.encode()).hexdigest()[:_FOLDER_NAME_CHARS]
    return Path(str(spool_dir)).absolute() / f"gateway-{name}"
