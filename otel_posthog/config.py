"""The one table of settings.

Each field of `Config` is a row: name, environment variables, default, unit and help stand
together, and validation, documentation and ``otel-posthog config show`` are made from them.
Precedence: argument, environment, file, default.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TypeVar, cast
from urllib.parse import urlsplit

from ._nearest import did_you_mean
from .errors import ConfigError
from .schedule import time_of_day

_T = TypeVar("_T")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_NEVER_SET = frozenset({"", "0", "false", "no", "off"})
KILL_SWITCHES = ("DO_NOT_TRACK", "OTEL_POSTHOG_DISABLED")
_MASK_KEEPS_CHARS = 8
_BEHIND_PLACE = re.compile(r"[?#;]")
_HARMLESS = re.compile(r"(?!ph[a-z]_)[\w .,:/+\[\]-]{0,30}")
REFUSED_FILE = "OTEL_POSTHOG_REFUSED_FILE"
"""Set by `opentelemetry-instrument` for the product that it becomes: a file that was told of as refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table, as documentation and validation see it."""

    name: str
    env: tuple[str, ...]
    default: object
    type: type
    unit: str
    help: str
    secret: bool
    minimum: float
    maximum: float

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
    """Return the URL without password and query; where these cannot be told apart, its scheme alone."""
    scheme, is_url, rest = text.partition("://")
    if not is_url:
        return "…"
    place, *more = _BEHIND_PLACE.split(rest, maxsplit=1)
    mark, query = bool(more), "".join(more)
    if "@" in query:
        return f"{scheme}://…"
    userinfo, at, address = place.rpartition("@")
    user = userinfo.partition(":")[0] if ":" in userinfo else ""
    return f"{scheme}://{f'{user}:…@' if at else ''}{address}{'?…' if mark else ''}"


def _setting(  # noqa: PLR0913 - the columns of the table
    default: _T,
    help: str,  # noqa: A002 - the table's word
    *,
    env: tuple[str, ...] = (),
    unit: str = "",
    secret: bool = False,
    minimum: float = 0,
    maximum: float = math.inf,
) -> _T:
    column = {
        "env": env,
        "unit": unit,
        "help": help,
        "secret": secret,
        "minimum": minimum,
        "maximum": maximum,
    }
    made: _T = field(default=default, metadata=column, repr=not secret)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Effective settings of one `Telemetry`; secrets are left out of the repr."""

    api_key: str | None = _setting(
        None,
        "Project API key of the PostHog project (`phc_…`). Without one nothing is sent.",
        env=("OTEL_POSTHOG_API_KEY", "POSTHOG_API_KEY"),
        secret=True,
    )
    host: str = _setting(
        "https://eu.posthog.com",
        "PostHog instance; the app addresses of the EU and US cloud lead to their ingestion hosts.",
        env=("OTEL_POSTHOG_HOST", "POSTHOG_HOST"),
    )
    database: str = _setting(
        "sqlite:///data/otel_posthog.db",
        "SQLAlchemy URL of the database that holds the consent flags; sync and async drivers work.",
        env=("OTEL_POSTHOG_DATABASE",),
        secret=True,
    )
    environment: str = _setting(
        "production",
        "Name of the environment; `development` switches the test exceptions on.",
        env=("OTEL_POSTHOG_ENVIRONMENT", "ENVIRONMENT"),
    )
    service_version: str | None = _setting(
        None,
        "Version of the product, a base property of each event.",
        env=("OTEL_POSTHOG_SERVICE_VERSION",),
    )
    disabled: bool = _setting(
        False,
        "Send nothing, whatever the database says. `DO_NOT_TRACK=1` has the same effect.",
        env=("OTEL_POSTHOG_DISABLED",),
    )
    send_host: bool = _setting(
        False,
        "Let the server's own host name stand in `$current_url`; a host name names the organisation.",
        env=("OTEL_POSTHOG_SEND_HOST",),
    )
    marker_prefix: str = _setting(
        "fastflow",
        "Prefix of the markers of test exceptions: `$<prefix>_startup_test`, `$<prefix>_backend_test`.",
        env=("OTEL_POSTHOG_MARKER_PREFIX",),
    )
    batch_delay_s: float = _setting(
        1.0,
        "How long a record waits for others before its batch is sent.",
        env=("OTEL_POSTHOG_BATCH_DELAY_S",),
        unit="seconds",
        minimum=0.001,
        maximum=3600,
    )
    batch_max_events: int = _setting(
        512,
        "Most events in one request to PostHog.",
        env=("OTEL_POSTHOG_BATCH_MAX_EVENTS",),
        unit="events",
        minimum=1,
        maximum=1000,
    )
    batch_max_bytes: int = _setting(
        10_000_000,
        "Most bytes of JSON in one request, before compression; PostHog refuses more than 20 MB.",
        env=("OTEL_POSTHOG_BATCH_MAX_BYTES",),
        unit="bytes",
        minimum=1_000_000,
        maximum=20_000_000,
    )
    event_max_bytes: int = _setting(
        900_000,
        "Largest event in bytes of JSON; a larger one is set aside and counted.",
        env=("OTEL_POSTHOG_EVENT_MAX_BYTES",),
        unit="bytes",
        minimum=1_000,
        maximum=900_000,
    )
    queue_max_records: int = _setting(
        25_000,
        "Most records of one signal waiting in memory; newer ones are dropped and counted.",
        env=("OTEL_POSTHOG_QUEUE_MAX_RECORDS",),
        unit="records",
        minimum=1,
        maximum=1_000_000,
    )
    manifest: str | None = _setting(
        None,
        "Manifest file that `otel-posthog docs` wrote: what may leave, where no code declares it.",
        env=("OTEL_POSTHOG_MANIFEST",),
    )
    events: str | None = _setting(
        None,
        "Module with the product's `@event` classes, or `module:name` of a Registry or a list of them.",
        env=("OTEL_POSTHOG_EVENTS",),
    )
    spool_dir: str | None = _setting(
        None,
        "Folder for what waits while PostHog is out of reach; `:memory:` for none. By default beside the "
        "SQLite database, with PostgreSQL in the user's state folder (see delivery.md).",
        env=("OTEL_POSTHOG_SPOOL_DIR",),
    )
    spool_max_bytes: int = _setting(
        64_000_000,
        "Most bytes on disk of what waits, compressed; the oldest go first.",
        env=("OTEL_POSTHOG_SPOOL_MAX_BYTES",),
        unit="bytes",
        minimum=100_000,
    )
    spool_max_age_s: float = _setting(
        604_800.0,
        "Longest time that something waits on disk; afterwards it is dropped and counted.",
        env=("OTEL_POSTHOG_SPOOL_MAX_AGE_S",),
        unit="seconds",
        minimum=1,
    )
    uuid_memory: int = _setting(
        10_000,
        "How many event uuids are remembered, so that one exception told twice is sent once.",
        env=("OTEL_POSTHOG_UUID_MEMORY",),
        unit="uuids",
        minimum=1,
        maximum=10_000_000,
    )
    http_timeout_s: float = _setting(
        5.0,
        "Longest wait for PostHog to connect, and again for each answer.",
        env=("OTEL_POSTHOG_HTTP_TIMEOUT_S",),
        unit="seconds",
        minimum=0.05,
        maximum=120,
    )
    retry_initial_s: float = _setting(
        1.0,
        "First pause after a failed delivery; each further failure doubles it.",
        env=("OTEL_POSTHOG_RETRY_INITIAL_S",),
        unit="seconds",
        minimum=0.01,
        maximum=3600,
    )
    retry_max_s: float = _setting(
        60.0,
        "Longest pause between two attempts, unless PostHog asks for a longer one.",
        env=("OTEL_POSTHOG_RETRY_MAX_S",),
        unit="seconds",
        minimum=0.01,
        maximum=86_400,
    )
    shutdown_timeout_s: float = _setting(
        3.0,
        "Longest time that process exit waits for pending events.",
        env=("OTEL_POSTHOG_SHUTDOWN_TIMEOUT_S",),
        unit="seconds",
        minimum=0,
        maximum=60,
    )
    database_timeout_s: float = _setting(
        2.0,
        "Longest wait for a locked or slow database; consent is unknown meanwhile.",
        env=("OTEL_POSTHOG_DATABASE_TIMEOUT_S",),
        unit="seconds",
        minimum=0.05,
        maximum=60,
    )
    consent_max_age_s: float = _setting(
        1.0,
        "Age at which a worker looks at the flags again.",
        env=("OTEL_POSTHOG_CONSENT_MAX_AGE_S",),
        unit="seconds",
        minimum=0.01,
        maximum=1.0,
    )
    capture_unhandled: bool = _setting(
        True,
        "Report what nobody catches: `sys.excepthook`, `threading.excepthook`, `sys.unraisablehook`, "
        "event loops.",
        env=("OTEL_POSTHOG_CAPTURE_UNHANDLED",),
    )
    capture_logged: bool = _setting(
        False,
        "Report exceptions that are logged at level error or above, as `logger.exception` does.",
        env=("OTEL_POSTHOG_CAPTURE_LOGGED",),
    )
    product_roots: str | None = _setting(
        None,
        "Top-level packages of the product, separated by commas, which are its own wherever they are "
        "installed.",
        env=("OTEL_POSTHOG_PRODUCT_ROOTS",),
    )
    error_burst: int = _setting(
        100,
        "How often the same failure is reported at once; further reports are counted.",
        env=("OTEL_POSTHOG_ERROR_BURST",),
        unit="reports",
        minimum=1,
        maximum=1_000_000,
    )
    error_refill_per_minute: int = _setting(
        10,
        "How many further reports of the same failure each minute allows.",
        env=("OTEL_POSTHOG_ERROR_REFILL_PER_MINUTE",),
        unit="reports",
        minimum=1,
        maximum=1_000_000,
    )
    error_steps: int = _setting(
        20,
        "How many of the last steps of a request or task go with its exception; 0 for none.",
        env=("OTEL_POSTHOG_ERROR_STEPS",),
        unit="steps",
        maximum=100,
    )
    error_steps_max_bytes: int = _setting(
        8_000,
        "Most bytes of JSON of the steps of one exception; the oldest go first.",
        env=("OTEL_POSTHOG_ERROR_STEPS_MAX_BYTES",),
        unit="bytes",
        minimum=100,
        maximum=100_000,
    )
    steps_from_logs: bool = _setting(
        False,
        "Let log records at level warning and above be steps.",
        env=("OTEL_POSTHOG_STEPS_FROM_LOGS",),
    )
    heartbeat_time: str = _setting(
        "03:00",
        "Time of day, in UTC, at which the daily heartbeat is due, as `HH:MM`.",
        env=("OTEL_POSTHOG_HEARTBEAT_TIME",),
    )
    heartbeat_check_s: float = _setting(
        3600.0,
        "Longest time between two looks at whether a heartbeat is due.",
        env=("OTEL_POSTHOG_HEARTBEAT_CHECK_S",),
        unit="seconds",
        minimum=0.01,
        maximum=86_400,
    )
    heartbeat_delay_s: float = _setting(
        30.0,
        "How long an owed heartbeat waits after a web application began to start.",
        env=("OTEL_POSTHOG_HEARTBEAT_DELAY_S",),
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    heartbeat_lease_s: int = _setting(
        600,
        "How long one worker has a day's heartbeat to itself; gauges get half of it together.",
        env=("OTEL_POSTHOG_HEARTBEAT_LEASE_S",),
        unit="seconds",
        minimum=10,
        maximum=3600,
    )
    gauge_timeout_s: float = _setting(
        10.0,
        "Longest wait for one gauge of the heartbeat; a slower one is left out and counted.",
        env=("OTEL_POSTHOG_GAUGE_TIMEOUT_S",),
        unit="seconds",
        minimum=0.01,
        maximum=300,
    )
    through_collector: bool = _setting(
        False,
        "Send nothing from this process: stamp records with consent, and leave them to your own OTLP "
        "exporter (see collector.md).",
        env=("OTEL_POSTHOG_THROUGH_COLLECTOR",),
    )
    gateway_token: str | None = _setting(
        None,
        "Bearer token that a Collector shows to the gateway. Without one it listens on loopback only.",
        env=("OTEL_POSTHOG_GATEWAY_TOKEN",),
        secret=True,
    )
    gateway_manifests: str = _setting(
        "telemetry-manifest.json",
        "The product's manifest file, as `otel-posthog docs` writes it; behind it, separated as in PATH, "
        "those of earlier releases that installations have agreed to.",
        env=("OTEL_POSTHOG_GATEWAY_MANIFESTS",),
    )
    gateway_span_rules: str | None = _setting(
        None,
        "JSON file with the span rules that the gateway applies: a list of objects with the fields of "
        "`SpanRule`.",
        env=("OTEL_POSTHOG_GATEWAY_SPAN_RULES",),
    )
    gateway_databases: str | None = _setting(
        None,
        "Database URLs, separated by blanks, in which the gateway looks consent up; then only their "
        "installations count. Without any, what the records themselves carry counts alone.",
        env=("OTEL_POSTHOG_GATEWAY_DATABASES",),
        secret=True,
    )
    gateway_body_max_bytes: int = _setting(
        4_000_000,
        "Largest request that the gateway takes, as it comes.",
        env=("OTEL_POSTHOG_GATEWAY_BODY_MAX_BYTES",),
        unit="bytes",
        minimum=1_000,
        maximum=100_000_000,
    )
    gateway_plain_max_bytes: int = _setting(
        8_000_000,
        "Largest request that the gateway takes, once it is decompressed; an eighth of it as JSON. A worker "
        "may need 90 times as much memory for one that is made to be large.",
        env=("OTEL_POSTHOG_GATEWAY_PLAIN_MAX_BYTES",),
        unit="bytes",
        minimum=1_000,
        maximum=1_000_000_000,
    )
    gateway_max_requests: int = _setting(
        8,
        "How many requests one worker of the gateway has in hand; further ones are turned back with 503.",
        env=("OTEL_POSTHOG_GATEWAY_MAX_REQUESTS",),
        unit="requests",
        minimum=1,
        maximum=40,
    )
    gateway_read_timeout_s: float = _setting(
        10.0,
        "How long a client of the gateway may take for its headers, and again for the body.",
        env=("OTEL_POSTHOG_GATEWAY_READ_TIMEOUT_S",),
        unit="seconds",
        minimum=0.05,
        maximum=300,
    )

    sources: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Where each value came from: `argument`, the environment variable's name, `file`, or `default`."""

    @property
    def roots(self) -> frozenset[str]:
        """The names in `product_roots`."""
        return frozenset(filter(None, map(str.strip, (self.product_roots or "").split(","))))

    @classmethod
    def resolve(
        cls,
        arguments: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        file: Mapping[str, object] | None = None,
    ) -> Config:
        """Build the settings from their sources; raise `ConfigError` on the first bad one.

        An argument, or a value of the file, that is None counts as not given. The switches in
        `KILL_SWITCHES` stand outside the precedence: any of them switches off, none switches on
        (requirement R2).
        """
        given, in_file = _given(arguments), _given(file)
        variables = os.environ if environ is None else environ
        values: dict[str, object] = {}
        sources: dict[str, str] = {}
        for row in SETTINGS:
            values[row.name], sources[row.name] = _value_of(row, given, variables, in_file)
        for switch in KILL_SWITCHES:
            if variables.get(switch, "").strip().lower() not in _NEVER_SET:
                values["disabled"], sources["disabled"] = True, switch
        return cls(**values, sources=sources)  # type: ignore[arg-type]  # checked row by row above


def _row(column: Field[object]) -> Setting:
    types = {"str": str, "str | None": str, "bool": bool, "int": int, "float": float}
    return Setting(
        name=column.name, default=column.default, type=types[cast("str", column.type)], **column.metadata
    )


SETTINGS: tuple[Setting, ...] = tuple(_row(column) for column in fields(Config) if column.metadata)


def given_by(row: Setting, environ: Mapping[str, str]) -> str | None:
    """Return the environment variable that gives this setting, if one does."""
    if row.name == "disabled":  # read as a kill switch, where anything but "0" switches off
        return None
    return next((variable for variable in row.env if environ.get(variable, "").strip()), None)


def _value_of(
    row: Setting, given: Mapping[str, object], environ: Mapping[str, str], file: Mapping[str, object]
) -> tuple[object, str]:
    if row.name in given:
        return checked(row, given[row.name], f"argument {row.name}"), "argument"
    variable = given_by(row, environ)
    if variable is not None:
        return checked(row, _parsed(row, environ[variable].strip(), variable), variable), variable
    if row.name in file:
        return checked(row, file[row.name], row.name), "file"
    return row.default, "default"


def _parsed(row: Setting, text: str, where: str) -> object:
    if row.type is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ConfigError(f"{where}{_echo(text)} is not a boolean. Use 1 or 0.")
    parse = cast("Callable[[str], object]", row.type)
    try:
        return parse(text)
    except ValueError:
        raise ConfigError(f"{where}{_echo(text)} is not a number of {row.unit}.") from None


def checked(row: Setting, value: object, where: str) -> object:
    """Return the value as the setting has it; raise `ConfigError`, which names `where`."""
    if row.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not row.type:
        raise ConfigError(f"{where} must be {row.type.__name__}, not {type(value).__name__}.")
    if isinstance(value, (int, float)) and not row.minimum <= value <= row.maximum:
        raise ConfigError(
            f"{where} is {value}, but must lie between {row.minimum:g} and {row.maximum:g} {row.unit}."
        )
    if row.name == "marker_prefix" and not re.fullmatch(r"[a-z0-9_]{1,40}", str(value)):
        raise ConfigError(f"{where}{_echo(value)} is not a prefix. Use 1 to 40 of a to z, 0 to 9 and _.")
    if row.name == "product_roots":
        _check_roots(str(value), where)
    if row.name == "heartbeat_time":
        _check_time(str(value), where)
    if row.name == "host":
        _check_host(str(value), where)
    return value


def _check_roots(value: str, where: str) -> None:
    if not all(part.strip().isidentifier() for part in value.split(",")):
        raise ConfigError(
            f"{where}{_echo(value)} does not name top-level packages, such as fastflow,fastflow_api."
        )


def _check_time(value: str, where: str) -> None:
    try:
        time_of_day(value)
    except ValueError:
        raise ConfigError(f"{where}{_echo(value)} is not a time of day such as 03:00 (UTC).") from None


def _check_host(value: str, where: str) -> None:
    if "@" in value:
        raise ConfigError(f"{where} must not hold a user name or password.")
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        is_address = False
    if not is_address or "?" in value or "#" in value:
        shown = value.partition("?")[0].partition("#")[0]
        raise ConfigError(f"{where}{_echo(shown)} is not an address such as https://eu.posthog.com.")


def _echo(value: object) -> str:
    """Return the value to show what is wrong, or nothing where it may be a secret in a wrong place."""
    return f"={value!r}" if _HARMLESS.fullmatch(str(value)) else ""


def _given(values: Mapping[str, object] | None) -> dict[str, object]:
    known = [row.name for row in SETTINGS]
    for name in values or {}:
        if name not in known:
            raise ConfigError(f"There is no setting {name!r}.{did_you_mean(name, known)}")
    return {name: value for name, value in (values or {}).items() if value is not None}
