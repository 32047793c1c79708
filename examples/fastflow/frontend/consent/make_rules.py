"""Write `src/rules.ts`: what of the server's scrubbing rules a page can apply, as JavaScript writes it.

    python examples/fastflow/frontend/consent/make_rules.py --write

A rule is taken if it is a pattern that is replaced; what needs Python, such as decoding, is left out. So
are judges that spare an innocent match, except for names: the page removes more than the server would.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from otel_posthog.scrubbing import Scrubber
from otel_posthog.scrubbing.host_identity import Machine
from otel_posthog.scrubbing.patterns import Rule, pattern_list, word_list

FILE = Path(__file__).parent / "src" / "rules.ts"
HEAD = """/** Made from the server's rules by make_rules.py; a test compares. Do not edit. */

/** Name, pattern, flags, and a replacement: by default of the group `value`, or of the whole match. */
export type RuleRow = readonly [name: string, pattern: string, flags: string, replacement?: string];

"""
# What the server computes, as a replacement: the account in a path, the parts of a URL that stay.
REPLACEMENTS = {
    "_home_of_user": "$<posix>$<windows>$<tilde>[scrubbed:user]",
    "_bare_url": "$<scheme>:$<slashes>$<authority>$<path>",
    "_iban": "[scrubbed:iban]",
}
_VALUE = r"\"[^\"]*\"|'[^']*'|(?:(?:bearer|basic|digest|token)\s+)?[^\s,;)}]+"
# On the server a program; as a pattern: a name, a sign and a value, whose name is judged.
NAMED = [
    "value",
    rf"(?<name>[\w.-]+)[\"']?\]?\s{{0,20}}(?:=>|:=|[:=])\s{{0,20}}(?<value>{_VALUE})",
    "gi",
]
# The word lists by which names are judged.
LISTS = {"PARTS": "sensitive_parts", "WORDS": "sensitive_words", "INNOCENT": "innocent_names"}

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?P<|\(\?P=\w+\)|\(\?-?i:|[*+?}]\+|.", re.DOTALL)
_SAME = {
    r"\Z": "(?![^])",
    r"\A": "(?<![^])",
    r"[^\W\d_]": r"[A-Za-z\u00c0-\uffff]",
    "(?P<": "(?<",
    "(?i:": "(?:",  # a page ignores case in the whole pattern, or nowhere
    "(?-i:": "(?:",
}


def rows() -> list[list[str]]:
    """Return the rules in the server's order, each once."""
    made: list[list[str]] = []
    for rule in _rules():
        row = _row(rule)
        if row is not None and row not in made:
            made.append(row)
    made.insert(-1, NAMED)  # before the last one, which would take long values by their letters
    return made


def text() -> str:
    """Return the content of the file."""
    listed = ",\n".join(f"  {json.dumps(row)}" for row in rows())
    words = {name: json.dumps(sorted(word_list(file)), ensure_ascii=False) for name, file in LISTS.items()}
    lists = "".join(f"\nexport const {name}: readonly string[] = {each};\n" for name, each in words.items())
    return f"{HEAD}export const RULES: readonly RuleRow[] = [\n{listed},\n];\n{lists}"


def _rules() -> Iterator[Rule]:
    # Of a new scrubber in a new process: a rule that has been applied holds no pattern any more.
    apply: Any = Scrubber(machine=Machine())._run[0]  # noqa: SLF001 - the table in its order is nowhere else
    yield from apply.keywords["rules"]


def _row(rule: Rule) -> list[str] | None:
    known = _variables(rule.apply)
    if "pattern" not in known:
        return None
    replace, replacement = known["replace"], ""
    if isinstance(replace, str):
        replacement = re.sub(r"\\g<(\w+)>", r"$<\1>", replace)
    elif replace.__name__ in REPLACEMENTS:
        replacement = REPLACEMENTS[replace.__name__]
    elif replace.__qualname__ != "rule.<locals>.replace":
        return None
    return [rule.name, *_translated(known["pattern"]), *([replacement] if replacement else [])]


def _variables(function: Callable[..., object]) -> dict[str, Any]:
    return dict(inspect.getclosurevars(function).nonlocals) if inspect.isfunction(function) else {}


def _translated(pattern: str) -> tuple[str, str]:
    """Return a pattern of Python as JavaScript writes it, and its flags."""
    pattern = re.sub(r"<<([a-z_]+)>>", lambda file: "|".join(pattern_list(file[1])), pattern)
    flags = "g"
    if lead := re.match(r"\(\?([aims]+)\)", pattern):
        pattern = pattern[lead.end() :]
        flags += "".join(flag for flag in "ims" if flag in lead[1])
    return _TOKEN.sub(_token, pattern), flags


def _token(match: re.Match[str]) -> str:
    token = match[0]
    if token.startswith("(?P="):
        return rf"\k<{token[4:-1]}>"
    is_possessive = len(token) == 2 and token[1] == "+" and token[0] in "*+?}"  # noqa: PLR2004 - two characters
    return token[0] if is_possessive else _SAME.get(token, token)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(f"usage: {Path(__file__).name} --write")
    FILE.write_text(text(), encoding="utf-8")
