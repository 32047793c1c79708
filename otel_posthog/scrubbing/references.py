"""Whether the value beside a name is an expression of a program: ``os.environ["TOKEN"]``, ``self.token``."""

from __future__ import annotations

import re

from .keys import Names
from .looks import is_wordy, looks_chosen
from .phrases import SCHEMES, is_placeholder

_REFERENCE = re.compile(
    r"(?P<head>(?:\$?[A-Za-z_][A-Za-z0-9_]{0,60}(?:(?:\.|::|->)[A-Za-z_][A-Za-z0-9_]{0,60}){0,6})?)"
    r"(?P<arguments>[\[({][^\n]{0,300}[\])}][.\w()\[\]?]{0,60})?[;:]?"
)
_ARGUMENT = re.compile(r"\"[^\"\n]*\"?|'[^'\n]*'?|[^\s()\[\]{},:=\"']+")
_BEFORE_NAME = re.compile(r"\s*(?:(?:const|let|var|val|final|self\.|this\.)[ ]?|\w{1,20},[ ]|\w{1,40}:[ ])?")
_JOINED = re.compile(r"[._:>$]|[a-z][A-Z]")
_MAX_ARGUMENT_CHARS = 12


def is_reference(text: str, match: re.Match[str], raw: str, names: Names) -> bool:
    """Tell whether the value is an expression of a program without a literal: `os.environ["TOKEN"]`."""
    if raw == "await" or (raw == "f" and text.startswith(('"', "'"), match.end() + 1)):
        return True
    parts = _REFERENCE.fullmatch(raw)
    if parts is None or not (parts["head"] or parts["arguments"]):
        return False
    head, arguments = parts["head"], parts["arguments"]
    if arguments is None:  # `self.token = token`, `"token": token`, `email == email`, `key = settings.key`
        if _is_own_name(head, match["name"]):
            return True
        is_compared = "==" in match["sign"]
        is_reference = "." in head + match["name"] or is_compared or match["sign"][:1] in "\"'"
        is_name = head[-1].isalpha() and names.is_sensitive(head.rpartition(".")[2])
        return (is_compared and head.islower() and is_wordy(head)) or (is_reference and is_name)
    if not head:
        return all(names.is_sensitive(word[0]) for word in _ARGUMENT.finditer(arguments))  # (user, password)
    is_call = _JOINED.search(head) or arguments[0] == "[" or arguments == "()" or _is_statement(text, match)
    return (
        bool(is_call)
        and not looks_chosen(head.lstrip("$"))
        and all(_is_argument(word[0], names) for word in _ARGUMENT.finditer(arguments))
    )


def _is_own_name(value: str, name: str) -> bool:
    """Tell whether a variable or a type is called like the name: `session: AsyncSession`, `token=token`."""
    if value.lower() == name.lower():
        return True
    return (
        value[:1].isupper()
        and value.endswith(("Session", "Token", "Auth"))
        and value.lower().endswith(name.lower())
    )


def _is_argument(word: str, names: Names) -> bool:
    bare = word.strip("\"' ")
    if word[0] not in "\"'":
        return not looks_chosen(bare)
    is_word = bare.isalpha() and bare.islower() and len(bare) <= _MAX_ARGUMENT_CHARS
    is_kept = is_word or is_placeholder(bare) or bare in SCHEMES or names.is_sensitive(bare)
    return is_kept or not any(map(str.isalnum, bare))


def _is_statement(text: str, match: re.Match[str]) -> bool:
    """Tell whether the line begins with the name, and ` = ` follows, as in a program."""
    line = text[max(0, match.start() - 60) : match.start()].rpartition("\n")[2]
    return match["sign"].endswith(" = ") and _BEFORE_NAME.fullmatch(line) is not None
