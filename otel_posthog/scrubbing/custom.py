"""What a product adds to the rules, or takes away; in code, or as the mapping that a YAML file gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from otel_posthog.errors import ConfigError

from .marks import mark
from .patterns import RULE_NAMES

_RULE_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
KEPT_ALWAYS = frozenset({"key", "value"})
_KEYS = ("add", "switch_off", "sensitive_names", "innocent_names")


@dataclass(frozen=True, slots=True)
class ScrubRule:
    """A product's own kind of secret: a pattern, or a function that returns the text without it.

    What the pattern matches is replaced by the rule's name. A function that raises, or returns anything
    but a text, drops the event, which is counted.
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
                raise ConfigError(f"The pattern of scrub rule {self.name!r} is none: {error}.") from error

    def apply(self, text: str) -> str:
        """Return the text without what the rule finds."""
        if isinstance(self.finds, (str, re.Pattern)):
            return re.sub(self.finds, mark(self.name), text)
        scrubbed = self.finds(text)
        if not isinstance(scrubbed, str):
            raise TypeError(
                f"The scrub rule {self.name!r} returned {type(scrubbed).__name__} instead of a text."
            )
        return scrubbed


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubRules:
    """Changes to the rules: some added, some switched off, more names judged.

    `key` and `value`, which hold what stands under sensitive names, cannot be switched off; add a name
    to `innocent_names` instead.
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
        """Build them from plain data, as a YAML file holds it; raise `ConfigError` for what does not fit.

        `add` maps a rule's name to its pattern, the other three are lists of names.
        """
        for key in given:
            if key not in _KEYS:
                raise ConfigError(f"{key!r} is no setting of the scrub rules. There are: {', '.join(_KEYS)}.")
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
