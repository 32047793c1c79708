"""Define and read every setting, from one table.

Each field of `Config` is a row: name, help, default, unit and bounds. Validation, documentation and
``otel-posthog config show`` use it. The setting `x` is read from ``OTEL_POSTHOG_X`` and then from the
variables in `also`. Precedence: argument, environment, file, default.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from datetime import UTC, time
from typing import Any, TypeVar, cast

from otel_posthog.errors import ConfigError, did_you_mean
from otel_posthog.otel.attributes import BASE_NAMES, MAX_BASE_CHARS

from .checks import HEARTBEAT_TIME, checked, parsed

_T = TypeVar("_T")

_NEVER_SET = frozenset({"", "0", "false", "no", "off"})
# OpenTelemetry's own switch counts as one (docs/adr/0054): its SDK is how everything here is emitted.
SDK_SWITCH = "OTEL_SDK_DISABLED"
POSTHOG, COLLECTOR = "posthog", "collector"
KILL_SWITCHES = ("DO_NOT_TRACK", "OTEL_POSTHOG_DISABLED")
_PREFIX = "OTEL_POSTHOG_"
# Of OpenTelemetry's own exporter, which the host may use for itself: they never decide where events go.
_OTLP, _OTLP_LOGS = "OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_LOGS_"
_LOGS_PATH = "/v1/logs"
_TYPES = {"str": str, "str | None": str, "bool": bool, "int": int, "float": float}
_COLUMNS = {"low": "minimum", "high": "maximum"}  # short in the table, since half of its rows have them
_UNITS = {"s": "seconds", "bytes": "bytes"}  # by the last part of the name, where the table gives none
_MASK_KEEPS_CHARS = 8
_AFTER_ADDRESS = re.compile(r"[?#;]")
# Set by `opentelemetry-instrument` for the product that it starts: a refused file that it has logged.
REFUSED_FILE = "OTEL_POSTHOG_REFUSED_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table, as documentation and validation see it."""

    name: str
    env: tuple[str, ...]
    default: object
    type: type
    help: str
    unit: str = ""
    secret: bool = False
    minimum: float = 0
    maximum: float = math.inf

    def show(self, value: object) -> str:
        """Return the value as text; a secret is masked."""
        if value is None:
            return "–"
        text = str(value)
        if "://" in text:
            is_open = not self.secret and "@" not in text
            return text if is_open else " ".join(map(_masked_url, text.split()))
        return text if not self.secret else f"{text[: min(_MASK_KEEPS_CHARS, len(text) // 3)]}…"


def _masked_url(text: str) -> str:
    """Return the URL without password and query; only its scheme if these cannot be distinguished."""
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        return "…"
    authority, *more = _AFTER_ADDRESS.split(rest, maxsplit=1)
    mark, query = bool(more), "".join(more)
    if "@" in query:
        return f"{scheme}://…"
    userinfo, at, address = authority.rpartition("@")
    user = userinfo.partition(":")[0] if ":" in userinfo else ""
    return f"{scheme}://{f'{user}:…@' if at else ''}{address}{'?…' if mark else ''}"


def _otlp(name: str) -> tuple[str, str]:
    return f"{_OTLP_LOGS}{name}", f"{_OTLP}{name}"


def _setting(default: _T, **cells: object) -> _T:
    made: _T = field(default=default, metadata=cells, repr="secret" not in cells)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Effective settings of one `Telemetry`; secrets are left out of the repr."""

    # A table: the formatter would give each cell a line of its own.
    # fmt: off
    api_key: str | None = _setting(None, also=("POSTHOG_API_KEY",), secret=True,
        help="Project API key of the PostHog project (`phc_…`). Without one nothing is sent.")
    host: str = _setting("https://eu.posthog.com", also=("POSTHOG_HOST",),
        help="PostHog instance; the app addresses of the EU and US cloud lead to their ingestion hosts.")
    database: str = _setting("sqlite:///data/otel_posthog.db", secret=True,
        help="SQLAlchemy URL of the database that holds the consent flags; sync and async drivers work.")
    environment: str = _setting("production", also=("ENVIRONMENT",),
        help="Name of the environment; `development` switches the test exceptions on.")
    service_version: str | None = _setting(None,
        help="Version of the product, a base property of each event.")
    disabled: bool = _setting(False,
        help="Send nothing, whatever the database says, like `DO_NOT_TRACK=1` and `OTEL_SDK_DISABLED=true`.")
    send_host: bool = _setting(False,
        help="Include the server's own host name in `$current_url`; a host name names the organisation.")
    marker_prefix: str = _setting("fastflow",
        help="Prefix of the markers of test exceptions: `$<prefix>_startup_test`, `$<prefix>_backend_test`.")
    batch_delay_s: float = _setting(1.0, low=0.001, high=3600,
        help="How long a record waits for others before its batch is sent.")
    batch_max_events: int = _setting(512, unit="events", low=1, high=1000,
        help="Most events in one request to PostHog.")
    batch_max_bytes: int = _setting(10_000_000, low=1_000_000, high=20_000_000,
        help="Most bytes of JSON in one request, before compression; PostHog refuses more than 20 MB.")
    event_max_bytes: int = _setting(900_000, low=1000, high=900_000,
        help="Largest event in bytes of JSON; a larger one is shortened, or else dropped and counted.")
    queue_max_records: int = _setting(25_000, unit="records", low=1, high=1_000_000,
        help="Most records of one signal waiting in memory; newer ones are dropped and counted.")
    manifest: str | None = _setting(None,
        help="Manifest file that `otel-posthog docs` wrote: what may leave, if no code declares it.")
    events: str | None = _setting(None,
        help="Module with the product's `@event` classes, or `module:name` of a Registry or a list of them.")
    spool_dir: str | None = _setting(None,
        help="Folder for waiting events while PostHog is unreachable; `:memory:` for none. By default beside "
        "the SQLite database, with PostgreSQL in the user's state folder (see delivery.md).")
    spool_max_bytes: int = _setting(64_000_000, low=100_000,
        help="Most bytes of waiting events on disk, compressed; the oldest are dropped first.")
    spool_max_age_s: float = _setting(604_800.0, low=1,
        help="Longest time that an event waits on disk; afterwards it is dropped and counted.")
    ledger_interval_s: float = _setting(10.0, low=0.01, high=60,
        help="Longest time until what was accepted, sent and dropped is written beside the waiting events.")
    spool_first: bool = _setting(False,
        help="Write each batch to the spool before it is sent, so that a killed process loses only what was "
        "recorded in the last `batch_delay_s`.")
    uuid_memory: int = _setting(10_000, unit="uuids", low=1, high=10_000_000,
        help="How many event uuids are remembered, so that an exception reported twice is sent once.")
    http_timeout_s: float = _setting(5.0, low=0.05, high=120,
        help="Longest wait for PostHog to connect, and again for each response.")
    retry_initial_s: float = _setting(1.0, low=0.01, high=3600,
        help="First pause after a failed delivery; each further failure doubles it.")
    retry_max_s: float = _setting(60.0, low=0.01, high=86_400,
        help="Longest pause between two attempts, unless PostHog asks for a longer one.")
    probe_interval_s: float = _setting(60.0, low=0.01, high=3600,
        help="First pause after an answer that is not PostHog's; afterwards one batch is tried alone.")
    shutdown_timeout_s: float = _setting(3.0, high=60,
        help="Longest time that process exit waits for pending events.")
    database_timeout_s: float = _setting(2.0, low=0.05, high=60,
        help="Longest wait for a locked or slow database; consent is unknown meanwhile.")
    consent_max_age_s: float = _setting(1.0, low=0.01, high=1.0,
        help="Age at which a worker reads the flags again.")
    capture_unhandled: bool = _setting(True,
        help="Report unhandled exceptions: `sys.excepthook`, `threading.excepthook`, `sys.unraisablehook`, "
        "event loops.")
    capture_logged: bool = _setting(False,
        help="Report exceptions that are logged at level error or above, as `logger.exception` does.")
    product_roots: str | None = _setting(None,
        help="Top-level packages of the product, separated by commas, which are its own wherever they are "
        "installed.")
    error_burst: int = _setting(100, unit="reports", low=1, high=1_000_000,
        help="How often the same failure is reported at once; further reports are counted.")
    error_refill_per_minute: int = _setting(10, unit="reports", low=1, high=1_000_000,
        help="How many further reports of the same failure each minute allows.")
    error_steps: int = _setting(20, unit="steps", high=100,
        help="How many of the last steps of a request or task are sent with its exception; 0 for none.")
    error_steps_max_bytes: int = _setting(8000, low=100, high=100_000,
        help="Most bytes of JSON of the steps of one exception; the oldest go first.")
    steps_from_logs: bool = _setting(False, help="Record log records at level warning and above as steps.")
    heartbeat_time: str = _setting("03:00",
        help="Time of day, in UTC, at which the daily heartbeat is due, as `HH:MM`.")
    heartbeat_check_s: float = _setting(3600.0, low=0.01, high=86_400,
        help="Longest time between two checks whether a heartbeat is due.")
    heartbeat_delay_s: float = _setting(30.0, high=3600,
        help="How long a heartbeat that is due waits after a web application began to start.")
    heartbeat_lease_s: int = _setting(600, low=10, high=3600,
        help="How long a day's heartbeat is reserved for one worker; its gauges share half of it.")
    gauge_timeout_s: float = _setting(10.0, low=0.01, high=300,
        help="Longest wait for one gauge of the heartbeat; a slower one is left out and counted.")
    send_to: str = _setting(POSTHOG,
        help="Where events go: `posthog`, or `collector` for an OpenTelemetry Collector (see collector.md).")
    collector_endpoint: str = _setting(f"http://localhost:4318{_LOGS_PATH}", also=_otlp("ENDPOINT"),
        help="Where a Collector, or our gateway, accepts logs by OTLP over HTTP. `/v1/logs` is added to "
        "what `OTEL_EXPORTER_OTLP_ENDPOINT` names.")
    collector_headers: str | None = _setting(None, also=_otlp("HEADERS"), secret=True,
        help="Headers for the Collector, such as `authorization=Bearer%20…`: pairs separated by commas, "
        "values percent-encoded.")
    collector_certificate: str | None = _setting(None, also=_otlp("CERTIFICATE"),
        help="File of the authorities that sign the Collector's certificate, in PEM.")
    collector_client_certificate: str | None = _setting(None, also=_otlp("CLIENT_CERTIFICATE"),
        help="File of the certificate that this process shows the Collector, in PEM.")
    collector_client_key: str | None = _setting(None, also=_otlp("CLIENT_KEY"),
        help="File of the key of that certificate, in PEM; by default the same file.")
    collector_compression: str = _setting("gzip", also=_otlp("COMPRESSION"),
        help="`gzip` or `none`.")
    browser_reports: str = _setting("server",
        help="Where pages report errors: `server` for this product's own, `direct` for PostHog itself.")
    browser_reports_need: str = _setting("none",
        help="Who may report errors of pages: `none` for everybody, `user` for those whom `authorize` knows.")
    browser_report_max_bytes: int = _setting(65_536, low=1000, high=1_000_000,
        help="Largest report of a page, in bytes of JSON.")
    browser_client_per_minute: int = _setting(20, unit="reports", low=1, high=1_000_000,
        help="How many reports of pages one worker takes from a client; further ones are rejected with 429.")
    browser_per_minute: int = _setting(200, unit="reports", low=1, high=1_000_000,
        help="How many reports of pages one worker takes from all clients together.")
    gateway_token: str | None = _setting(None, secret=True,
        help="Bearer token that a Collector sends to the gateway. Without one it listens on loopback only.")
    gateway_manifests: str = _setting("telemetry-manifest.json",
        help="The product's manifest file, as `otel-posthog docs` writes it; after it, separated as in PATH, "
        "those of earlier releases that installations have agreed to.")
    gateway_span_rules: str | None = _setting(None,
        help="JSON file with the span rules that the gateway applies: a list of objects with the fields of "
        "`SpanRule`.")
    gateway_scrub_rules: str | None = _setting(None,
        help="JSON file with scrub rules of the gateway's own: an object with the keys of `scrub:` in a "
        "configuration file.")
    gateway_before_send: str | None = _setting(None,
        help="`module:name` of a function that the gateway asks about each event, like a product's "
        "`before_send`.")
    gateway_certificate: str | None = _setting(None,
        help="File of the gateway's TLS certificate and its chain, in PEM; without one it speaks plain HTTP.")
    gateway_key: str | None = _setting(None,
        help="File of the key of that certificate, in PEM; by default the same file.")
    gateway_client_ca: str | None = _setting(None,
        help="File of the authorities that sign clients' certificates, in PEM; then every client needs one.")
    gateway_databases: str | None = _setting(None, secret=True,
        help="Database URLs, separated by blanks, in which the gateway looks consent up; then only their "
        "installations count. Without any, only the consent on the records counts.")
    gateway_body_max_bytes: int = _setting(4_000_000, low=1000, high=100_000_000,
        help="Largest request that the gateway accepts, before decompression.")
    gateway_plain_max_bytes: int = _setting(8_000_000, low=1000, high=1_000_000_000,
        help="Largest request that the gateway accepts, after decompression; an eighth of it as JSON. A "
        "worker may need 90 times as much memory for a malicious one.")
    gateway_max_requests: int = _setting(8, unit="requests", low=1, high=40,
        help="How many requests one worker of the gateway handles at once; further ones are rejected with "
        "503.")
    gateway_read_timeout_s: float = _setting(10.0, low=0.05, high=300,
        help="How long a client of the gateway may take for its headers, and again for the body.")
    # fmt: on

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Source of each value: `argument`, the environment variable's name, `file`, `resource`, or `default`."""

    @property
    def roots(self) -> frozenset[str]:
        """The names in `product_roots`."""
        return frozenset(filter(None, map(str.strip, (self.product_roots or "").split(","))))

    def over(self, resource: Mapping[str, object]) -> Config:
        """Return the settings with what the host's resource says in place of defaults."""
        found: dict[str, str] = {}
        for name, keys in BASE_NAMES.items():
            texts = [value for key in keys if isinstance(value := resource.get(key), str) and value]
            if texts and self.sources[name] == "default":
                found[name] = texts[0][:MAX_BASE_CHARS]
        values: dict[str, Any] = {**found, "sources": {**self.sources, **dict.fromkeys(found, "resource")}}
        return replace(self, **values)

    @classmethod
    def resolve(
        cls,
        arguments: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        file: Mapping[str, object] | None = None,
    ) -> Config:
        """Build the settings from their sources; raise `ConfigError` on the first bad one.

        An argument, or a value of the file, that is None counts as not given. The variables in
        `KILL_SWITCHES` have no precedence: any of them switches off, none switches on (requirement R2).
        """
        given, in_file = _given(arguments), _given(file)
        variables = os.environ if environ is None else environ
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        for row in SETTINGS:
            # The host's headers and certificates are for the address that it names, and for no other one.
            follows_host = sources.get("collector_endpoint", _OTLP).startswith(_OTLP)
            is_to_collector = values.get("send_to") == COLLECTOR and follows_host
            found = _value_of(row, given, variables, in_file, is_to_collector=is_to_collector)
            values[row.name], sources[row.name] = found
        for switch in (*KILL_SWITCHES, SDK_SWITCH):
            if is_off_by(switch, variables):
                values["disabled"], sources["disabled"] = True, switch
        return cls(**values, sources=sources)  # type: ignore[arg-type]  # checked row by row above


def _row(column: Field[object]) -> Setting:
    cells = {_COLUMNS.get(name, name): cell for name, cell in column.metadata.items()}
    env = (f"{_PREFIX}{column.name.upper()}", *cells.pop("also", ()))
    kind = _TYPES[cast("str", column.type)]
    if kind in (int, float) and "unit" not in cells:
        cells["unit"] = _UNITS[column.name.rpartition("_")[2]]
    return Setting(name=column.name, env=env, default=column.default, type=kind, **cells)


SETTINGS: tuple[Setting, ...] = tuple(_row(column) for column in fields(Config) if column.metadata)


def is_off_by(switch: str, environ: Mapping[str, str]) -> bool:
    """Return whether this variable switches off; OpenTelemetry's own counts only if it is `true`."""
    text = environ.get(switch, "").strip().lower()
    return text == "true" if switch == SDK_SWITCH else text not in _NEVER_SET


def given_by(row: Setting, environ: Mapping[str, str], *, is_to_collector: bool = False) -> str | None:
    """Return the environment variable that has this setting, if any."""
    if row.name == "disabled":  # a kill switch: any value but "0" switches off
        return None
    names = (name for name in row.env if is_to_collector or not name.startswith(_OTLP))
    return next((name for name in names if environ.get(name, "").strip()), None)


def _value_of(
    row: Setting,
    given: Mapping[str, object],
    environ: Mapping[str, str],
    file: Mapping[str, object],
    *,
    is_to_collector: bool,
) -> tuple[object, str]:
    if row.name in given:
        return checked(row, given[row.name], f"argument {row.name}"), "argument"
    variable = given_by(row, environ, is_to_collector=is_to_collector)
    # The file before what OpenTelemetry's own exporter reads: it is about this library.
    if variable is not None and not (row.name in file and variable.startswith(_OTLP)):
        text = environ[variable].strip()
        if variable == f"{_OTLP}ENDPOINT":
            text = f"{text.rstrip('/')}{_LOGS_PATH}"
        return checked(row, parsed(row, text, variable), variable), variable
    if row.name in file:
        return checked(row, file[row.name], row.name), "file"
    return row.default, "default"


def _given(values: Mapping[str, object] | None) -> dict[str, object]:
    known = [row.name for row in SETTINGS]
    for name in values or {}:
        if name not in known:
            raise ConfigError(f"There is no setting {name!r}.{did_you_mean(name, known)}")
    return {name: value for name, value in (values or {}).items() if value is not None}


def time_of_day(text: str) -> time:
    """Return the time in ``HH:MM``; raise ValueError for any other text."""
    if not re.fullmatch(HEARTBEAT_TIME, text):  # `fromisoformat` accepts seconds, too
        raise ValueError(text)
    return time.fromisoformat(text).replace(tzinfo=UTC)
