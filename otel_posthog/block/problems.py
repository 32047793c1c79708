"""What is wrong in a configuration, in words: where, what was found, what is expected, what was meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from otel_posthog._nearest import did_you_mean
from otel_posthog.config import SETTINGS
from otel_posthog.errors import ConfigError, MissingExtraError
from otel_posthog.scrubbing import scrub_text

from .schema import Schema

if TYPE_CHECKING:
    from jsonschema import ValidationError

Path = tuple[str | int, ...]

_SECRET = frozenset(row.name for row in SETTINGS if row.secret)
_SHOWN_MAX_CHARS = 40
_TYPES = {
    "string": "a text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "array": "a list",
}
_FOUND = {bool: "boolean", str: "text", int: "number", float: "number", dict: "mapping", list: "list"}
_COUNTED = {
    "minProperties": ("keys", "at least"),
    "maxProperties": ("keys", "at most"),
    "minItems": ("items", "at least"),
}
IS_SET = "Is the variable set that stands here?"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: Path
    text: str

    def under(self, path: Path) -> Problem:
        """Return the same problem of a part that stands there."""
        return replace(self, path=path + self.path)

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{shown(self.path)}: {self.text}" if self.path else self.text


class BlockError(ConfigError):
    """Raised for a block that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{self.problems[0]}{more}")


def shown(path: Path) -> str:
    """Return the path as people write it: `spans[0].kind`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def odd_names(data: object) -> Iterator[Problem]:
    """Yield each name that is no text: YAML reads `200:` as a number."""
    below: list[tuple[Path, object]] = [((), data)]
    met: set[int] = set()  # what an alias refers to is one object, and may hold itself
    while below:
        path, value = below.pop(0)
        if not isinstance(value, (Mapping, list)) or id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, list):
            below += [((*path, at), item) for at, item in enumerate(value)]
            continue
        for key, item in value.items():
            if not isinstance(key, str):
                yield Problem((*path, str(key)), odd_name(key))
            below.append(((*path, str(key)), item))


def odd_name(name: object) -> str:
    """Return what is said about one of them."""
    return f"found {name!r} as a name, expected a text. Put it in quotes."


def problems_of(data: object, schema: Schema) -> list[Problem]:
    """Return what in the data does not fit the schema, in order of its place."""
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise MissingExtraError("jsonschema", "config") from error
    errors = sorted(Draft202012Validator(schema).iter_errors(data), key=_place)
    return [problem for error in errors for problem in _problems(error)]


def _place(error: ValidationError) -> list[str]:
    return [f"{part:06}" if isinstance(part, int) else str(part) for part in error.absolute_path]


def _problems(error: ValidationError) -> Iterator[Problem]:
    path, schema, found = tuple(error.absolute_path), _mapping(error.schema), cast("Any", error.instance)
    known = _mapping(schema.get("properties"))
    if error.validator == "additionalProperties":
        for key in _mapping(found).keys() - known.keys():
            yield Problem((*path, key), f"unknown key.{did_you_mean(key, known) or _choice(known)}")
    elif error.validator == "required":
        for key in schema["required"]:
            if key not in _mapping(found):
                yield Problem((*path, key), f"missing, expected {expected(_mapping(known.get(key)))}.")
    elif "propertyNames" in error.absolute_schema_path:
        yield Problem((*path, str(found)), f"expected {expected(schema)} here.")
    elif error.validator in _COUNTED:
        what, limit = _COUNTED[error.validator]
        yield Problem(path, f"found {len(found)} {what}, expected {limit} one.")
    else:
        yield Problem(path, _mismatch(path, found, schema))


def _mismatch(path: Path, value: object, schema: Mapping[str, Any]) -> str:
    if value is None:
        return f"found nothing, expected {expected(schema)}. {IS_SET}"
    near = did_you_mean(value, schema["enum"]) if "enum" in schema else ""
    quotes = " Put it in quotes." if _is_unquoted(value, schema) else ""
    return f"found {_found(path, value)}, expected {expected(schema)}.{quotes}{near}"


def _is_unquoted(value: object, schema: Mapping[str, Any]) -> bool:
    is_for_texts = schema.get("type") == "string" and "x-expected" not in schema
    return is_for_texts and not isinstance(value, (str, Mapping, list))


def _found(path: Path, value: object) -> str:
    """Return what was found, and never a secret."""
    kind = _FOUND.get(type(value), type(value).__name__)
    is_secret = any(part in _SECRET for part in path)
    if is_secret or not isinstance(value, (bool, int, float, str)) or "://" in str(value):
        return f"a {kind}"
    text = repr(scrub_text(value) if isinstance(value, str) else value)
    return f"{text[:_SHOWN_MAX_CHARS]}…" if len(text) > _SHOWN_MAX_CHARS else text


def expected(schema: Mapping[str, Any]) -> str:
    """Return in words what the schema wants."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    kinds = schema.get("type", "value")
    names = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind != "null"]
    words = " or ".join(_TYPES.get(name, name) for name in names)
    unit = f" of {schema['x-unit']}" if "x-unit" in schema else ""
    return f"{words}{unit}{_bounds(schema)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        above = f" above {schema['exclusiveMinimum']:g}"
        return above if high is None else f"{above} and at most {high:g}"
    if low is not None and high is not None:
        return f" between {low:g} and {high:g}"
    return "" if low is None else f" of at least {low:g}"


def _choice(known: Iterable[str]) -> str:
    return f" There are: {', '.join(known)}."


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
