"""All rules of a product, compiled once: the first that matches a span wins.

A span that matches none costs less than a microsecond, however many rules have names that begin with
a text (`benchmarks/spans.py`); each rule without a name is looked at for each span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from otel_posthog._nearest import did_you_mean
from otel_posthog.errors import RegistryError
from otel_posthog.registry import EventSpec, Registry

from .patterns import ANYTHING, NameIndex, compiled, is_pattern
from .rule import DURATION, SpanRule, alternatives, range_names

# Names of OpenTelemetry's semantic conventions since 1.20, and those that instrumentations write
# unless OTEL_SEMCONV_STABILITY_OPT_IN says otherwise.
FORMER_NAMES = {
    "http.request.method": "http.method",
    "http.response.status_code": "http.status_code",
    "url.scheme": "http.scheme",
}
_ID_SPACE = 2**64  # span ids are random, so they serve as dice that fall the same everywhere


class MatchedSpan(Protocol):
    """What rules look at."""

    @property
    def name(self) -> str:
        """Name of the span."""

    @property
    def scope(self) -> str:
        """Name of the instrumentation scope."""

    @property
    def kind(self) -> str:
        """One of `rule.KINDS`."""

    @property
    def status(self) -> str:
        """One of `rule.STATUSES`."""

    @property
    def attributes(self) -> Mapping[str, object]:
        """Attributes as recorded."""

    @property
    def span_id(self) -> int:
        """The span's id."""


_Condition = Callable[[MatchedSpan], bool]


class SpanRules:
    """Find the rule for a span; raise `RegistryError` where a rule names what no registry knows.

    While the registry is empty, rules may name any event.
    """

    def __init__(self, rules: Iterable[SpanRule] = (), registry: Registry | None = None) -> None:
        self._rules = tuple(rules)
        for rule in self._rules:
            if registry is not None:
                check_declared(rule, registry)
        self.names = NameIndex([rule.name for rule in self._rules])
        self._conditions = [_conditions(rule) for rule in self._rules]

    def __len__(self) -> int:
        return len(self._rules)

    def find(self, span: MatchedSpan) -> SpanRule | None:
        """Return the first rule that matches, unless sampling leaves the span out."""
        for at in self.names.matching(span.name):
            for holds in self._conditions[at]:
                if not holds(span):
                    break
            else:
                rule = self._rules[at]
                return rule if rule.sample >= 1 or span.span_id < rule.sample * _ID_SPACE else None
        return None


def properties_of(rule: SpanRule, recorded: Mapping[str, object], duration_ms: int) -> dict[str, object]:
    """Return the event's own properties: the attributes that the rule names, and the duration."""
    found: dict[str, object] = {}
    for attribute, name in rule.properties.items():
        value = recorded.get(attribute)
        if value is None and attribute in FORMER_NAMES:
            value = recorded.get(FORMER_NAMES[attribute])
        if value is not None:
            found[name] = value
    found[DURATION] = duration_ms
    for name in rule.buckets:
        label = rule.label(name, found.pop(name, None))
        if label is not None:
            found[name] = label
    return found


def _value(recorded: Mapping[str, object], attribute: str) -> object:
    value = recorded.get(attribute)
    return recorded.get(FORMER_NAMES[attribute]) if value is None and attribute in FORMER_NAMES else value


def _conditions(rule: SpanRule) -> tuple[_Condition, ...]:
    conditions: list[_Condition] = []
    if rule.kind is not None:
        conditions.append(lambda span: span.kind == rule.kind)
    if rule.status is not None:
        conditions.append(lambda span: span.status == rule.status)
    if rule.scope != ANYTHING:
        scope = compiled(rule.scope)
        conditions.append(lambda span: scope.fullmatch(span.scope) is not None)
    for attribute, wanted in rule.attributes.items():
        conditions.append(_on_attribute(attribute, alternatives(wanted)))
    return tuple(conditions)


def _on_attribute(attribute: str, wanted: tuple[object, ...]) -> _Condition:
    patterns = [compiled(value) for value in wanted if isinstance(value, str) and is_pattern(value)]
    exact = {(isinstance(value, bool), value) for value in wanted}

    def holds(span: MatchedSpan) -> bool:
        value = _value(span.attributes, attribute)
        if isinstance(value, str) and any(pattern.fullmatch(value) for pattern in patterns):
            return True
        return isinstance(value, (bool, int, float, str)) and (isinstance(value, bool), value) in exact

    return holds


def check_declared(rule: SpanRule, registry: Registry) -> None:
    """Raise `RegistryError` for a rule whose event, properties or ranges would be dropped without a word.

    While the registry is empty, a rule may name any event.
    """
    if not len(registry):
        return
    spec = registry.spec(rule.event)
    where = f"Span rule {rule.name!r} → {rule.event!r}:"
    if spec is None:
        near = did_you_mean(rule.event, registry.names())
        raise RegistryError(f"{where} no such event is registered.{near}")
    for name in rule.properties.values():
        if name not in spec.properties:
            near = did_you_mean(name, spec.properties)
            raise RegistryError(f"{where} the event has no property {name!r}.{near}")
    for name, starts in rule.buckets.items():
        _check_ranges(where, spec, name, range_names(starts))


def _check_ranges(where: str, spec: EventSpec, name: str, labels: Iterable[str]) -> None:
    if name not in spec.properties:
        raise RegistryError(f"{where} the event has no property {name!r}.")
    refused = [label for label in labels if not spec.properties[name].admits(label)]
    if refused:
        raise RegistryError(
            f"{where} {name!r} does not admit the ranges {', '.join(refused)}; "
            f"it is declared as {spec.properties[name].domain}."
        )
