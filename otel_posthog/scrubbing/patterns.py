"""Secrets and personal data recognisable in running text.

Every pattern is linear: a repetition is bounded, possessive, last, or ends at a character that it
cannot contain. Only plain character classes are repeated possessively: Python before 3.11.5 gets groups
wrong (https://github.com/python/cpython/issues/106052). A cheap trigger decides whether a pattern runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .pairs import scrub_pairs

Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret: texts that hint at it, and what takes it out."""

    name: str
    triggers: tuple[str, ...]
    apply: Callable[[str], str]


def mark(rule: str) -> str:
    """Return what stands where a secret stood."""
    return f"[scrubbed:{rule}]"


_URL = re.compile(
    r"(?<![A-Za-z0-9+.\-])(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*+)://"
    # A password may hold whatever was not escaped, so user information reaches to the last `@`;
    # only where digits follow the colon it can be a port instead.
    r"(?:(?P<userinfo>[^\s/?#\"'<>:@\[]{0,200}:(?!\d{1,5}(?:[/?#\"'<>\s,;)\]}\\]|$))[^\s]{0,400}@)"
    r"|(?P<authority>[^\s/?#\"'<>\\)\]}]{0,400}))"
    r"(?P<path>[^\s?#\"'<>\\)\]}]{0,4000})"
    r"(?P<rest>[?#](?:[^\s\"'<>]|[\"'](?=\w))*)?"
)
_BARE_NAME = re.compile(r"[^.:@\[]+")


def _bare_url(match: re.Match[str]) -> str:
    """Keep scheme, host and path; user information, query and fragment go."""
    rest = mark("query") if match["rest"] else ""
    path = match["path"]
    if match["userinfo"]:
        return f"{match['scheme']}://{mark('userinfo')}@{path}{rest}"
    authority = match["authority"]
    if "@" in authority:
        authority = f"{mark('userinfo')}@{authority.rpartition('@')[2]}"
    elif "@" in path.replace("/@", "/") and (":" in authority or _BARE_NAME.fullmatch(authority)):
        # `scheme://user:1/2@host` or `scheme://token/with/slash@host`; `/@name` is an ordinary folder
        authority, path = f"{mark('userinfo')}@{path.rpartition('@')[2]}", ""
    return f"{match['scheme']}://{authority}{path}{rest}"


_QUERY = re.compile(r"(?<![^\s\"'<>])(?P<path>[^\s?\"'<>]*+)\?(?P<rest>(?:[^\s\"'<>]|[\"'](?=\w))+)")
_FIRST_PARAMETER = re.compile(r"[A-Za-z0-9_.%\[\]-]{1,100}=")


def _bare_path(match: re.Match[str]) -> str:
    path, rest = match["path"], match["rest"]
    is_query = re.search(r"\w", rest) if "/" in path else path and _FIRST_PARAMETER.match(rest)
    return f"{path}{mark('query')}" if is_query else match[0]


_WINDOWS_HOME = r"(?P<windows>\\{1,4}Users\\{1,4})(?:[^\\/:*?\"'<>|\n\[]{1,64}(?=\\)|[^\s\\/:\"'\[]{1,64})"


def _rule(name: str, triggers: tuple[str, ...], pattern: re.Pattern[str], replace: Replacement) -> Rule:
    return Rule(name, triggers, partial(pattern.sub, replace))


RULES: tuple[Rule, ...] = (
    _rule(
        "pem",
        ("-----BEGIN",),
        re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL),
        mark("pem"),
    ),
    _rule("url", ("://",), _URL, _bare_url),
    _rule("query", ("?",), _QUERY, _bare_path),
    _rule(
        "jwt",
        ("eyJ",),
        re.compile(r"(?<![\w-])(?=[\w-]*eyJ[\w-]{8})[\w-]++(?:\.[\w-]*+){1,4}", re.ASCII),
        mark("jwt"),
    ),
    _rule(
        "vendor-token",
        ("_", "-", "AKIA", "ASIA", "AIza", "SG.", "ya29."),
        re.compile(
            r"(?<![A-Za-z0-9])(?:"
            r"(?:ph[cxs]|gh[pousr]|glpat|whsec|xox[abpors]|xapp|pypi|dop_v1|shp(?:at|ca|pa|ss))[_-]"
            r"[A-Za-z0-9_-]{12,400}"
            # these prefixes also begin ordinary names, so a digit has to be among the characters
            r"|(?:npm|hf|[srp]k)[_-](?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{12,400}"
            r"|github_pat_[A-Za-z0-9_]{20,400}|SG\.[A-Za-z0-9_-]{16,80}\.[A-Za-z0-9_-]{16,80}"
            r"|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,60}|ya29\.[A-Za-z0-9_-]{16,400})"
        ),
        mark("vendor-token"),
    ),
    Rule("value", ("=", ":", ">", "%3", "--", "',", '",'), scrub_pairs),
    _rule(
        "userinfo",
        ("@",),
        re.compile(
            r"(?<![\w.+\-])[\w.+\-]++:[^\s@/\"'<>:()\[\]]{1,200}@(?!sha\d)(?=[A-Za-z\[]|(?:\d{1,3}\.){3}\d)"
        ),
        f"{mark('userinfo')}@",
    ),
    _rule(
        "authorization",
        ("earer ", "asic ", "EARER ", "ASIC "),
        re.compile(
            r"\b((?:bearer|basic) )(?=[A-Za-z._~/\-]*[\d=+]|(?-i:[A-Za-z]*[a-z][A-Z][A-Za-z]*[a-z][A-Z]))"
            r"[A-Za-z0-9._~+/=\-]{8,}+",
            re.IGNORECASE,
        ),
        lambda match: f"{match[1]}{mark('authorization')}",
    ),
    _rule(
        "email",
        ("@", "%40"),
        re.compile(
            r"(?<![^\s@<>()\[\]\"',;:=/%])[^\s@<>()\[\]\"',;:=/%]++(?:@|%40)[^\s@<>()\[\]\"',;:=/%]{1,190}\.[^\W\d_]{2,24}",
        ),
        mark("email"),
    ),
    _rule(
        "ip",
        (".", "::"),
        re.compile(
            r"(?<![\d.])(?!0\.0\.0\.0)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.]*\d)"
            r"|(?<![\w:.])(?=[A-Fa-f:]*\d)[0-9A-Fa-f]{3,4}(?::[0-9A-Fa-f]{1,4}){0,5}::(?:[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{1,4}){0,5})?(?![\w:])"
        ),
        mark("ip"),
    ),
    _rule(
        "home",
        ("/home/", "/Users/", "sers\\", "SERS\\"),
        re.compile(rf"(?P<posix>(?-i:/home/|/Users/))[^\s/\\:\"'\[]{{1,64}}|{_WINDOWS_HOME}", re.IGNORECASE),
        lambda match: f"{match['posix'] or match['windows']}{mark('user')}",
    ),
)
