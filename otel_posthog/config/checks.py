"""Check values of settings; an error names the source and never repeats what may be a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from otel_posthog.errors import ConfigError

if TYPE_CHECKING:
    from .settings import Setting

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_HARMLESS = re.compile(r"(?!ph[a-z]_)[\w .,:/+\[\]-]{0,30}")


def parsed(row: Setting, text: str, where: str) -> object:
    """Return the text of a variable as the setting's type; raise `ConfigError` that names `where`."""
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
    """Return the value as the setting's type; raise `ConfigError` that names `where`."""
    if row.type is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not row.type:
        raise ConfigError(f"{where} must be {row.type.__name__}, not {type(value).__name__}.")
    if isinstance(value, (int, float)) and not row.minimum <= value <= row.maximum:
        raise ConfigError(
            f"{where} is {value}, but must lie between {row.minimum:g} and {row.maximum:g} {row.unit}."
        )
    form = _FORMS.get(row.name)
    if form is not None and not form[0](str(value)):
        raise ConfigError(f"{where}{'' if row.secret else _echo(value)} {form[1]}")
    if row.name in _ADDRESSES:
        _check_address(str(value), where, _ADDRESSES[row.name])
    return value


def _are_packages(text: str) -> bool:
    return all(part.strip().isidentifier() for part in text.split(","))


def headers_of(text: str) -> dict[str, str]:
    """Return the pairs of `name=value,name=value`, as OpenTelemetry writes headers: values percent-encoded.

    Raises `ValueError` for any other text.
    """
    found = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        decoded = unquote(value, errors="strict")
        if not (equals and _HEADER_NAME.fullmatch(name) and decoded.isprintable() and decoded.isascii()):
            raise ValueError
        found[name.lower()] = decoded
    return found


def _are_headers(text: str) -> bool:
    try:
        headers_of(text)
    except ValueError:
        return False
    return True


MARKER_PREFIX = r"[a-z0-9_]{1,40}"
HEARTBEAT_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"
EXITS = "posthog|collector"
COMPRESSIONS = "gzip|none"
ADDRESS = r"^https?://[^@?#\s]+$"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ADDRESSES = {"host": "https://eu.posthog.com", "collector_endpoint": "http://localhost:4318/v1/logs"}
_FORMS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "marker_prefix": (
        partial(re.fullmatch, MARKER_PREFIX),
        "is not a prefix. Use 1 to 40 of a to z, 0 to 9 and _.",
    ),
    "product_roots": (_are_packages, "does not name top-level packages, such as fastflow,fastflow_api."),
    "browser_reports": (("server", "direct").__contains__, "is neither server nor direct."),
    "browser_reports_need": (("none", "user").__contains__, "is neither none nor user."),
    "heartbeat_time": (partial(re.fullmatch, HEARTBEAT_TIME), "is not a time of day such as 03:00 (UTC)."),
    "send_to": (partial(re.fullmatch, EXITS), "is neither posthog nor collector."),
    "collector_compression": (partial(re.fullmatch, COMPRESSIONS), "is neither gzip nor none."),
    "collector_headers": (_are_headers, "are not pairs such as name=value,name=value."),
}


def _check_address(value: str, where: str, example: str) -> None:
    if "@" in value:
        raise ConfigError(f"{where} must not hold a user name or password.")
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # invalid brackets or port
        is_address = False
    if not is_address or "?" in value or "#" in value:
        shown = value.partition("?")[0].partition("#")[0]
        raise ConfigError(f"{where}{_echo(shown)} is not an address such as {example}.")


def _echo(value: object) -> str:
    # A value that looks unlike a setting may be a misplaced secret, which no error message repeats.
    return f"={value!r}" if _HARMLESS.fullmatch(str(value)) else ""
