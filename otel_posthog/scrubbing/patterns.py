"""Rules, and what they consist of: patterns compiled on first use, word lists, placeholders."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable
from functools import cache, partial

Scrub = Callable[[str], str]
Judge = Callable[[re.Match[str]], bool]
Replace = Callable[[re.Match[str]], str]

_METHODS = ("finditer", "fullmatch", "match", "search", "sub")


class Pattern:
    """A regular expression that is compiled when it is first used."""

    # Compiling all of them at import took 110 of 200 ms, also in processes that never scrub.
    finditer: Callable[..., list[re.Match[str]]]
    fullmatch: Callable[..., re.Match[str] | None]
    match: Callable[..., re.Match[str] | None]
    search: Callable[..., re.Match[str] | None]
    sub: Callable[..., str]

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __getattr__(self, name: str) -> object:
        if name not in _METHODS:
            raise AttributeError(name)
        compiled = _compiled(self.pattern)
        for method in _METHODS:  # found in the instance from now on, without this method
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


class Rule:
    """One kind of secret: lower-case texts that hint at it, and the function that removes it.

    A rule without triggers always runs; `needs_long_word` skips it in texts of short words.
    """

    __slots__ = ("apply", "name", "needs_long_word", "triggers")

    def __init__(
        self, name: str, triggers: str | tuple[str, ...], apply: Scrub, *, needs_long_word: bool = False
    ) -> None:
        self.name = name
        self.triggers = (triggers,) if isinstance(triggers, str) else triggers
        self.apply = apply
        self.needs_long_word = needs_long_word


def rule(
    name: str,
    triggers: str | tuple[str, ...],
    pattern: str,
    judge: Judge | None = None,
    *,
    keeps_quotes: bool = False,
    needs_long_word: bool = False,
) -> Rule:
    """Return the rule that puts its placeholder where the pattern matches and the judge agrees.

    It replaces the group `value` if that took part in the match, else the whole match.
    """

    def replace(match: re.Match[str]) -> str:
        if judge is not None and not judge(match):
            return match[0]
        # A group that took no part has no span, as in patterns with alternatives.
        has_value = match.groupdict().get("value") is not None
        start, end = match.span("value" if has_value else 0)
        quote = match.string[start] if keeps_quotes and match.string[start] in "\"'" else ""
        before, after = match.string[match.start() : start], match.string[end : match.end()]
        return f"{before}{quote}{placeholder(name)}{quote}{after}"

    return rewriting(name, triggers, pattern, replace, needs_long_word=needs_long_word)


def rewriting(
    name: str,
    triggers: str | tuple[str, ...],
    pattern: str,
    replace: str | Replace,
    *,
    needs_long_word: bool = False,
) -> Rule:
    """Return the rule that replaces what the pattern matches, as `re.sub` does."""

    def compile_and_apply(text: str) -> str:
        made.apply = partial(_compiled(pattern).sub, replace)
        return made.apply(text)

    # The rule replaces its own `apply`: afterwards a text costs one call of C.
    made = Rule(name, triggers, compile_and_apply, needs_long_word=needs_long_word)
    return made


def placeholder(rule_name: str) -> str:
    """Return the text that replaces what the rule found."""
    return f"[scrubbed:{rule_name}]"


@cache
def word_list(name: str) -> frozenset[str]:
    """Return the entries of a file in `word_lists/`, in small letters."""
    return frozenset(_lines("word_lists", name))


def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile the pattern, with the lines of a file as alternatives for each `<<file>>`."""
    return re.compile(re.sub(r"<<([a-z_]+)>>", lambda file: "|".join(pattern_list(file[1])), pattern))


def pattern_list(name: str) -> list[str]:
    """Return the lines of a file in `pattern_lists/`, in order."""
    return _lines("pattern_lists", name)


def _lines(folder: str, name: str) -> list[str]:
    # Not by importlib.resources, which imports its parts at the first use: a child that is forked meanwhile
    # waits for that import for ever.
    content = pkgutil.get_data("otel_posthog.scrubbing", f"{folder}/{name}.txt")
    if content is None:
        raise FileNotFoundError(f"{folder}/{name}.txt: the installation of otel_posthog is incomplete")
    return [line for line in content.decode().splitlines() if line and not line.startswith("#")]
