"""Apply the rules to a text, in the order of one table, until none finds anything.

Every pattern is linear: a repetition is bounded, possessive, last, or ends at a character that it
cannot contain. Only plain character classes are repeated possessively: Python before 3.11.5 gets groups
wrong (https://github.com/python/cpython/issues/106052). A cheap trigger decides whether a rule runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from . import messages, personal, prose, tokens, urls
from .host_identity import Machine
from .key_values import key_value_rules, source_rule
from .keys import Names
from .patterns import Pattern, Rule, Scrub, placeholder, rewriting

RULE_NAMES = frozenset(
    {
        "authorization", "base64", "card", "email", "escaped", "hash", "hex", "home", "host", "iban", "input",
        "ip", "jwt", "key", "mac", "mnemonic", "option", "path", "pem", "phone", "prose", "query", "random",
        "sql", "ssn", "url", "user", "userinfo", "value", "vendor-token",
    }
)  # fmt: skip
# Removing one secret can expose another right beside it; the last pass finds nothing.
MAX_PASSES = 8
_LONG_WORD = Pattern(r"[A-Za-z0-9_.~+/=$:-]{14,}")
_LITERAL = r"#[^\n]*+|\"(?:[^\"\\\n]|\\.)*\"?|'(?:[^'\\\n]|\\.)*'?"


def scrub_functions(
    names: Names, machine: Machine, *, switched_off: frozenset[str], added: Iterable[Rule]
) -> tuple[Scrub, Scrub]:
    """Return the functions that scrub a text, and a line of a program, where bare words are references."""
    host, key_values = machine.rules(), key_value_rules(names)

    def text_rules(decoded: Scrub | None) -> tuple[Rule, ...]:
        return (
            urls.HOME,  # before escapes are undone: the `\n` of `C:\Users\nadja` is none
            *_unescaping(decoded),
            *tokens.RULES,
            *messages.DATABASES,
            *messages.INPUTS,
            prose.COMMANDS,
            *messages.BEFORE_HOSTS,
            *urls.HOSTS,
            *messages.AFTER_HOSTS,
            prose.ACCOUNTS,
            *key_values,
            *_PERSONAL,
            urls.HOME,
            *host,
            prose.prose_rule(),
            *(() if decoded is None else tokens.decoding_rules(decoded)),
            tokens.RANDOM,
        )

    def switched_on(rules: Iterable[Rule]) -> tuple[Rule, ...]:
        return tuple(rule for rule in rules if rule.name not in switched_off)

    once = partial(_pass_over, rules=switched_on(text_rules(None)))
    decoded = partial(_pass_over, rules=switched_on(text_rules(once)))  # base64 in percent-encoding is two
    source_rules = (
        urls.HOME,
        *_unescaping(decoded),
        *tokens.RULES,
        # Comments and strings are scrubbed as the texts that they are.
        rewriting("literal", (), _LITERAL, lambda match: decoded(match[0])),
        source_rule(names),
        *_PERSONAL,
        *host,
        *tokens.decoding_rules(decoded),
        tokens.RANDOM,
    )
    return (
        partial(_until_settled, rules=(*added, *switched_on(text_rules(decoded)))),
        partial(_until_settled, rules=(*added, *switched_on(source_rules))),
    )


_PERSONAL = (
    urls.USERINFO,
    tokens.AUTHORIZATION,
    *personal.RULES,
    messages.PGPASS,  # after addresses, which have the same form
    personal.PHONE,
    urls.SEGMENT,
)


def _unescaping(decoded: Scrub | None) -> tuple[Rule, ...]:
    """Return the rules that go first, since others see a text only without its escapes."""
    if decoded is None:
        return (*urls.URLS, *urls.URLS)
    # Percent-encoding is undone after queries are gone, and what it hid may be a URL.
    return (tokens.escape_rule(decoded), *urls.URLS, tokens.percent_rule(decoded), *urls.URLS)


def _until_settled(text: str, rules: tuple[Rule, ...]) -> str:
    for _ in range(MAX_PASSES):
        scrubbed = _pass_over(text, rules)
        if scrubbed == text:
            return text
        text = scrubbed
    return placeholder("unsettled")  # a text made to keep the rules busy may still hold a secret


def _pass_over(text: str, rules: tuple[Rule, ...]) -> str:
    lowered = text.lower()
    has_long_word = _LONG_WORD.search(text) is not None
    for rule in rules:
        if rule.needs_long_word and not has_long_word:
            continue
        for trigger in rule.triggers:  # `any` would cost more than the search itself
            if trigger in lowered:
                break
        else:
            if rule.triggers:
                continue
        scrubbed = rule.apply(text)
        if scrubbed != text:
            text, lowered = scrubbed, scrubbed.lower()
    return text
