"""A product's changes to the rules, and its hook `before_send`.

The hook receives a scrubbed copy, and its result is scrubbed again, so it can neither see nor leak a secret
that the rules know. If it fails, the event is dropped.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from otel_posthog.errors import ConfigError, HookError
from otel_posthog.events import Event

from .patterns import placeholder
from .rules import RULE_NAMES

_RULE_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
# Promised to users whatever a product configures (R21).
KEPT_ALWAYS = frozenset({"key", "value"})
_KEYS = ("add", "switch_off", "sensitive_names", "innocent_names")


@dataclass(frozen=True, slots=True)
class ScrubRule:
    """A product's own kind of secret: a pattern, or a function that returns the text without it.

    A placeholder with the rule's name replaces each match. A function that raises, or returns anything
    but a text, drops the event with a count.
    """

    name: str
    finds: str | re.Pattern[str] | Callable[[str], str]

    def __post_init__(self) -> None:
        if not _RULE_NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} cannot name a scrub rule. Use a to z, 0 to 9 and -.")
        if isinstance(self.finds, str):
            try:
                re.compile(self.finds)
            except re.error as error:
                raise ConfigError(f"The pattern of scrub rule {self.name!r} is invalid: {error}.") from error

    def apply(self, text: str) -> str:
        """Return the text without what the rule finds."""
        if isinstance(self.finds, (str, re.Pattern)):
            return re.sub(self.finds, placeholder(self.name), text)
        scrubbed = self.finds(text)
        if not isinstance(scrubbed, str):
            raise TypeError(
                f"The scrub rule {self.name!r} returned {type(scrubbed).__name__} instead of a text."
            )
        return scrubbed


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubRules:
    """Changes to the rules: some added, some switched off, more names judged.

    `key` and `value`, the rules for values under sensitive names, cannot be switched off; add a name to
    `innocent_names` instead.
    """

    add: tuple[ScrubRule, ...] = ()
    switch_off: frozenset[str] = frozenset()
    sensitive_names: tuple[str, ...] = ()
    innocent_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        unknown = sorted(set(self.switch_off) - RULE_NAMES)
        if unknown:
            raise ConfigError(
                f"No scrub rule is called {unknown[0]!r}. There are: {', '.join(sorted(RULE_NAMES))}."
            )
        if kept := sorted(KEPT_ALWAYS & set(self.switch_off)):
            raise ConfigError(
                f"The scrub rule {kept[0]!r} cannot be switched off. List names in innocent_names."
            )

    @classmethod
    def from_mapping(cls, given: Mapping[str, object]) -> Self:
        """Build the changes from a mapping, as a YAML file holds it; raise `ConfigError` for a mistake.

        `add` maps a rule's name to its pattern, the other three are lists of names.
        """
        for key in given:
            if key not in _KEYS:
                raise ConfigError(
                    f"{key!r} is not a setting of the scrub rules. There are: {', '.join(_KEYS)}."
                )
        patterns = given.get("add") or {}
        if not isinstance(patterns, Mapping):
            raise ConfigError("The scrub rules under 'add' must map a name to a pattern.")
        return cls(
            add=tuple(ScrubRule(str(name), str(pattern)) for name, pattern in patterns.items()),
            switch_off=frozenset(_names(given, "switch_off")),
            sensitive_names=_names(given, "sensitive_names"),
            innocent_names=_names(given, "innocent_names"),
        )


def _names(given: Mapping[str, object], key: str) -> tuple[str, ...]:
    listed = given.get(key) or ()
    if isinstance(listed, str) or not isinstance(listed, (list, tuple, set, frozenset)):
        raise ConfigError(f"The scrub rules' {key!r} must be a list of names.")
    return tuple(str(name) for name in listed)


BeforeSend = Callable[[Event], Event | None]


def ask(before_send: BeforeSend, event: Event) -> Event | None:
    """Return the event as the hook changed it, or None to drop it; raise `HookError` if it fails."""
    shown = replace(event, properties=copy.deepcopy(dict(event.properties)))
    try:
        wanted = before_send(shown)
    except Exception as error:
        raise HookError(f"before_send raised {type(error).__name__}") from error
    if wanted is None:
        return None
    if not isinstance(wanted, Event):
        raise HookError(f"before_send returned {type(wanted).__name__} instead of an Event or None")
    # Each kind has a consent of its own.
    if wanted.kind is not event.kind:
        raise HookError("before_send changed the kind of the event")
    # Uuid, time and identity are fixed at the capture.
    return replace(event, name=wanted.name, properties=wanted.properties)
