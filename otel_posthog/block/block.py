"""Read a `posthog:` block: settings, span rules, scrub rules and registry, or everything that is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from otel_posthog.config import SETTINGS, Config, given_by
from otel_posthog.declared_events import declared_events
from otel_posthog.errors import OtelPosthogError
from otel_posthog.registry import Registry
from otel_posthog.scrubbing import ScrubRules
from otel_posthog.span_rules import SpanRule, SpanRules
from otel_posthog.span_rules.compiled import check_declared

from .problems import BlockError, Path, Problem, odd_names, problems_of
from .schema import block_schema

_T = TypeVar("_T")
_ROWS = {row.name: row for row in SETTINGS}
_FIRST_NAME = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """What a block comes to, together with the environment."""

    config: Config
    registry: Registry
    span_rules: SpanRules
    scrub_rules: ScrubRules


def read_block(data: Mapping[str, object], environ: Mapping[str, str] | None = None) -> Block:
    """Return what the block says; raise `BlockError` with all that is wrong with it.

    The environment wins over the block, and the project API key has to stand in either.
    """
    variables = os.environ if environ is None else environ
    given = {key: value for key, value in data.items() if not _counts_as_absent(key, value, variables)}
    misfits = list(odd_names(given)) or (problems_of(given, block_schema()) if given else [])
    if misfits:
        raise BlockError(misfits)
    return _Reading(given, variables).block()


class _Reading:
    """Reads a block of the right shape, and collects what else is wrong."""

    def __init__(self, given: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        self._given = given
        self._environ = environ
        self._problems: list[Problem] = []

    def block(self) -> Block:
        config = self._tried((), self._config)
        registry = self._tried((), lambda: declared_events(config)) if config else None
        scrub_rules = self._tried(("scrub",), lambda: ScrubRules.from_mapping(self._given.get("scrub", {})))
        rules = self._rules(registry)
        if config is None or registry is None or scrub_rules is None or self._problems:
            raise BlockError(self._problems)
        return Block(config=config, registry=registry, span_rules=SpanRules(rules), scrub_rules=scrub_rules)

    def _config(self) -> Config:
        in_file = {name: value for name, value in self._given.items() if name in _ROWS}
        config = Config.resolve(environ=self._environ, file=in_file)
        if config.api_key is None and not config.disabled:
            wanted = f"missing, expected the project API key. Set {_ROWS['api_key'].env[-1]}."
            self._problems.append(Problem(("api_key",), wanted))
        if config.through_collector:
            wanted = "found True, but this exporter sends by itself. Name an OTLP exporter in its place."
            self._problems.append(Problem(("through_collector",), wanted))
        return config

    def _rules(self, registry: Registry | None) -> list[SpanRule]:
        found = []
        for at, fields in enumerate(self._given.get("spans", ())):
            rule = self._tried(("spans", at), partial(_rule, fields, registry))
            if rule is not None:
                found.append(rule)
        return found

    def _tried(self, path: Path, make: Callable[[], _T]) -> _T | None:
        try:
            return make()
        except OtelPosthogError as error:
            name, _, text = str(error).partition(": ")
            if name in _ROWS:  # of the settings that name a file or a module
                path, found = (name,), text
            else:
                named = _FIRST_NAME.match(str(error))
                path, found = (named[0],) if named and named[0] in _ROWS else path, str(error)
            self._problems.append(Problem(path, found))
            return None


def _rule(fields: Mapping[str, Any], registry: Registry | None) -> SpanRule:
    rule = SpanRule(**fields)
    if registry is not None:
        check_declared(rule, registry)
    return rule


def _counts_as_absent(key: str, value: object, environ: Mapping[str, str]) -> bool:
    """Whether an empty text stands here, or nothing where the environment says it, for a missing variable."""
    if key not in _ROWS:
        return False
    return value == "" or (value is None and given_by(_ROWS[key], environ) is not None)
