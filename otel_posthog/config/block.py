"""Check and read the `posthog:` block of an OpenTelemetry configuration file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar, cast

from otel_posthog.errors import ConfigError, MissingExtraError, OtelPosthogError, did_you_mean
from otel_posthog.registry import EVENT_NAME_MAX_BYTES, Registry
from otel_posthog.scrubbing import ScrubRules, scrub_text
from otel_posthog.scrubbing.options import KEPT_ALWAYS
from otel_posthog.scrubbing.rules import RULE_NAMES
from otel_posthog.span_rules import SpanRule, SpanRules
from otel_posthog.span_rules.rules import KINDS, STATUSES, check_declared

from .checks import ADDRESS, COMPRESSIONS, EXITS, HEARTBEAT_TIME, MARKER_PREFIX
from .declared_events import declared_events
from .settings import POSTHOG, SETTINGS, Config, Setting, given_by

if TYPE_CHECKING:
    from jsonschema import ValidationError

Place = tuple[str | int, ...]
Schema = dict[str, Any]

_T = TypeVar("_T")
_ROWS = {row.name: row for row in SETTINGS}
_SECRET = frozenset(row.name for row in SETTINGS if row.secret)
_FIRST_NAME = re.compile(r"\w+")
_SHOWN_MAX_CHARS = 40
_WORDS = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "array": "a list",
}
_FOUND = {bool: "boolean", str: "text", int: "number", float: "number", dict: "mapping", list: "list"}
IS_SET = "Is its variable set?"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number"}
_PATTERNS = {
    "host": (ADDRESS, "an address such as https://eu.posthog.com"),
    "collector_endpoint": (ADDRESS, "an address such as http://localhost:4318/v1/logs"),
    "send_to": (f"^({EXITS})$", "posthog or collector"),
    "collector_compression": (f"^({COMPRESSIONS})$", "gzip or none"),
    "marker_prefix": (f"^{MARKER_PREFIX}$", "1 to 40 of a to z, 0 to 9 and _"),
    "heartbeat_time": (f"^{HEARTBEAT_TIME}$", 'a time of day in quotes, such as "03:00"'),
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake, and where it is."""

    path: Place
    text: str

    def __str__(self) -> str:
        """Return the mistake as one line, with its path in the usual notation: `spans[0].kind`."""
        parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path]
        return f"{''.join(parts).removeprefix('.')}: {self.text}" if parts else self.text


class BlockError(ConfigError):
    """Raised for a block that cannot be used, with all its mistakes."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        super().__init__(f"{self.mistakes[0]}{more}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The parts that a block and the environment define."""

    config: Config
    registry: Registry
    span_rules: SpanRules
    scrub_rules: ScrubRules


def read_block(data: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Block:
    """Return the parts that the block defines; raise `BlockError` with all its mistakes.

    The environment wins over the block, and one of them must have the project API key.
    """
    variables = os.environ if environ is None else environ
    given = {key: value for key, value in data.items() if not _is_absent(key, value, variables)}
    mistakes = mistakes_of(given, block_schema()) if given else []
    if mistakes:
        raise BlockError(mistakes)
    return _Reader(given, variables).block()


class _Reader:
    """Read a block that fits the schema, and collect what no schema can check."""

    def __init__(self, given: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._given = given
        self._environ = environ
        self._mistakes: list[Mistake] = []

    def block(self) -> Block:
        config = self._tried((), self._config)
        registry = self._tried((), lambda: declared_events(config)) if config else None
        scrub_rules = self._tried(("scrub",), lambda: ScrubRules.from_mapping(self._given.get("scrub", {})))
        spans = enumerate(self._given.get("spans", ()))
        tried = [self._tried(("spans", at), partial(_rule, fields, registry)) for at, fields in spans]
        rules = SpanRules([rule for rule in tried if rule is not None])
        if config is None or registry is None or scrub_rules is None or self._mistakes:
            raise BlockError(self._mistakes)
        return Block(config=config, registry=registry, span_rules=rules, scrub_rules=scrub_rules)

    def _config(self) -> Config:
        in_file = {name: value for name, value in self._given.items() if name in _ROWS}
        config = Config.resolve(environ=self._environ, file=in_file)
        if config.api_key is None and config.send_to == POSTHOG and not config.disabled:
            text = f"missing, expected the project API key. Set {_ROWS['api_key'].env[-1]}."
            self._mistakes.append(Mistake(("api_key",), text))
        return config

    def _tried(self, path: Place, make: Callable[[], _T]) -> _T | None:
        try:
            return make()
        except OtelPosthogError as error:
            text = str(error)
            name, _, rest = text.partition(": ")
            if name in _ROWS:  # a setting that names a file or a module
                path, text = (name,), rest
            elif (first := _FIRST_NAME.match(text)) and first[0] in _ROWS:
                path = (first[0],)
            self._mistakes.append(Mistake(path, text))
            return None


def _rule(fields: Mapping[str, Any], registry: Registry | None) -> SpanRule:
    rule = SpanRule(**fields)
    if registry is not None:
        check_declared(rule, registry)
    return rule


def _is_absent(key: str, value: object, environ: Mapping[str, str]) -> bool:
    # A missing variable leaves an empty text, or nothing, which is fine if the environment has the setting.
    if key not in _ROWS:
        return False
    return value == "" or (value is None and given_by(_ROWS[key], environ) is not None)


def mistakes_of(data: object, schema: Schema) -> list[Mistake]:
    """Return where the data does not fit the schema, in order of path."""
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise MissingExtraError("jsonschema", "config") from error
    errors = sorted(Draft202012Validator(schema).iter_errors(data), key=_order)
    return [mistake for error in errors for mistake in _mistakes(error)]


def _order(error: ValidationError) -> list[str]:
    return [f"{part:06}" if isinstance(part, int) else str(part) for part in error.absolute_path]


def _mistakes(error: ValidationError) -> Iterator[Mistake]:
    path, schema, found = tuple(error.absolute_path), as_mapping(error.schema), cast("Any", error.instance)
    known = as_mapping(schema.get("properties"))
    if error.validator == "additionalProperties":
        choice = f" There are: {', '.join(known)}."
        for key in as_mapping(found).keys() - known.keys():
            yield Mistake((*path, key), f"unknown key.{did_you_mean(key, known) or choice}")
    elif error.validator == "required":
        for key in schema["required"]:
            if key not in as_mapping(found):
                yield Mistake((*path, key), f"missing, expected {expected(as_mapping(known.get(key)))}.")
    elif "propertyNames" in error.absolute_schema_path and isinstance(found, str):
        yield Mistake((*path, found), f"expected {expected(schema)} here.")
    elif "propertyNames" in error.absolute_schema_path:  # YAML reads `200:` as a number
        yield Mistake((*path, str(found)), f"found {found!r} as a name, expected a text. Put it in quotes.")
    else:
        yield Mistake(path, _mismatch(path, found, schema))


def _mismatch(path: Place, value: object, schema: Mapping[str, Any]) -> str:
    if value is None:
        return f"found nothing, expected {expected(schema)}. {IS_SET}"
    near = did_you_mean(value, schema["enum"]) if "enum" in schema else ""
    is_for_texts = schema.get("type") == "string" and "x-expected" not in schema
    is_unquoted = is_for_texts and not isinstance(value, (str, Mapping, list))
    quotes = " Put it in quotes." if is_unquoted else ""
    return f"found {_found(path, value)}, expected {expected(schema)}.{quotes}{near}"


def _found(path: Place, value: object) -> str:
    """Return the value as text; only its type if it may be a secret."""
    kind = _FOUND.get(type(value), type(value).__name__)
    is_secret = any(part in _SECRET for part in path)
    if is_secret or not isinstance(value, (bool, int, float, str)) or "://" in str(value):
        return f"a {kind}"
    text = repr(scrub_text(value) if isinstance(value, str) else value)
    return f"{text[:_SHOWN_MAX_CHARS]}…" if len(text) > _SHOWN_MAX_CHARS else text


def expected(schema: Mapping[str, Any]) -> str:
    """Return in words the values that the schema allows."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kinds = schema.get("type", "value")
    names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    words = " or ".join(_WORDS.get(name, name) for name in names)
    unit = f" of {schema['x-unit']}" if "x-unit" in schema else ""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None:
        return f"{words}{unit}"
    return (
        f"{words}{unit} of at least {low:g}"
        if high is None
        else f"{words}{unit} between {low:g} and {high:g}"
    )


def as_mapping(value: object) -> Mapping[Any, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def block_schema() -> Schema:
    """Return the JSON Schema of the block, for editors and for the check; the block may be empty."""
    schema: Schema = json.loads(files(__package__).joinpath("block.json").read_text(encoding="utf-8"))
    parts = schema["properties"]
    rule = parts["spans"]["items"]["properties"]
    rule["event"]["maxLength"] = EVENT_NAME_MAX_BYTES
    rule["kind"]["enum"], rule["status"]["enum"] = list(KINDS), list(STATUSES)
    parts["scrub"]["properties"]["switch_off"]["items"]["enum"] = sorted(RULE_NAMES - KEPT_ALWAYS)
    schema["properties"] = {row.name: _setting(row) for row in SETTINGS} | parts
    return schema


def _setting(row: Setting) -> Schema:
    schema: Schema = {"type": _TYPES[row.type], "description": row.help}
    if row.default is not None:
        schema["default"] = row.default
    if row.type in (int, float):
        schema["minimum"] = row.minimum
        if row.maximum < float("inf"):
            schema["maximum"] = row.maximum
    if row.unit:
        schema["x-unit"] = row.unit
    if row.name == "api_key":
        schema["minLength"] = 1
    if row.name in _PATTERNS:
        schema["pattern"], schema["x-expected"] = _PATTERNS[row.name]
    return schema
