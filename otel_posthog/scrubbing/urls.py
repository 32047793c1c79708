"""Clean URLs and paths: credentials, queries, fragments, homes, and names of servers are removed."""

from __future__ import annotations

import re

from .entropy import looks_random, looks_secret
from .patterns import Pattern, placeholder, rewriting, rule
from .tokens import ENCODED_TOKEN

# `?phone=+49 171 …`
_DIGITS_BEHIND = r"(?:(?:(?<=[+=]\d)|(?<=[+=]\d\d)|(?<=[+=]\d\d\d))(?:[ ]\d{2,12}){1,6})?"
_REST = r"(?:[^\s\"'<>\\]|\\(?![\"'nrt])|[\"'](?=\w))"
_URL = (
    r"(?<![A-Za-z0-9])(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*+):(?P<slashes>//|(?:\\{1,8}/){2})"
    # A password may hold any character that was not escaped, so user information reaches to the last `@`;
    # only where digits follow the colon it can be a port instead.
    r"(?:(?P<userinfo>[^\s/?#\"'<>:@\[]{0,200}:(?!\d{1,5}(?:[/?#\"'<>\s,;)\]}\\]|$))[^\s]{0,400}@)"
    r"|(?P<authority>[^\s/?#\"'<>\\)\]}]{0,400}))"
    r"(?P<path>(?:[^\s?#\"'<>\\)\]}]|\\{1,8}/){0,4000})"
    rf"(?P<rest>[?#]{_REST}*{_DIGITS_BEHIND})?"
)
_TEMPLATE = Pattern(r"(?:\{[A-Za-z_.!]{1,60}\}|\$\{\w{1,60}\}|%s|[:@])+@")
_BARE_NAME = Pattern(r"[^.:@\[]+")


def _bare_url(match: re.Match[str]) -> str:
    """Return the URL without user information, query and fragment."""
    rest = placeholder("query") if match["rest"] else ""
    path, start = match["path"], f"{match['scheme']}:{match['slashes']}"
    if match["userinfo"] and not _TEMPLATE.fullmatch(match["userinfo"]):
        return f"{start}{placeholder('userinfo')}@{path}{rest}"
    authority = match["authority"] if match["authority"] is not None else match["userinfo"]
    if _TEMPLATE.match(authority):
        return f"{start}{authority}{path}{rest}"
    if "@" in authority:
        authority = f"{placeholder('userinfo')}@{authority.rpartition('@')[2]}"
    elif "@" in path.replace("/@", "/") and (":" in authority or _BARE_NAME.fullmatch(authority)):
        # `scheme://user:1/2@host` or `scheme://token/with/slash@host`; `/@name` is an ordinary folder
        authority, path = f"{placeholder('userinfo')}@{path.rpartition('@')[2]}", ""
    return f"{start}{authority}{path}{rest}"


_QUERY = rf"(?<![^\s\"'<>])(?P<path>[^\s?\"'<>]*+)(?P<value>\?(?P<rest>{_REST}+{_DIGITS_BEHIND}))"
_FIRST_PARAMETER = Pattern(r"[A-Za-z0-9_.%\[\]-]{1,100}=")
_LATER_PARAMETER = Pattern(r"[?&][\w.%\[\]-]{1,100}=")
_FRAGMENT = r"/[^\s?#\"'<>]{0,2000}(?P<value>#[\w.%\[\]-]{1,100}=[^\s\"'<>]++)"


def _is_query(match: re.Match[str]) -> bool:
    path, rest = match["path"], match["rest"]
    if "/" in path:
        return re.search(r"\w", rest) is not None
    found = _FIRST_PARAMETER.match(rest) if path else _LATER_PARAMETER.search(rest)
    return found is not None


_USERINFO = (
    r"(?<![\w.+\-])[\w.+\-]++:[^\s@/\"'<>:()\[\]]{1,200}@(?!sha\d)(?=[A-Za-z\[]|(?:\d{1,3}\.){3}\d)"
    r"(?:[\w.-]{1,190}\.[^\W\d_]{2,24}(?![\w:/.-]))?"  # then it may be an address of a person
    r"|(?<![\w.+/-])[A-Za-z_][\w$#-]{0,60}/[^\s@/\"'<>:()\[\]]{3,100}@(?=(?:[\w.-]{1,100}(?::\d{2,5})?|/)/)"
)
USERINFO = rewriting("userinfo", "@", _USERINFO, f"{placeholder('userinfo')}@")

URLS = (
    ENCODED_TOKEN,
    rewriting("url", ("://", ":\\/"), _URL, _bare_url),
    rule("query", "?", _QUERY, _is_query),
    rule("query", "#", _FRAGMENT),
)

# The segment after one of these was sent to a person or a partner as a key.
_SEGMENT = (
    r"(?i)(?P<before>/(?:[\w.-]{0,40}[-_.])?(?:<<key_segments>>)(?:[-_.][\w.-]{0,20})?)/"
    r"(?P<value>[\w.~+=-]{6,}+)"
)
_SHORT_BEFORE = Pattern(r"(?i)/(?:s|t|k|download|access|shared?)\Z")


def _is_closed_segment(match: re.Match[str]) -> bool:
    looks_like_key = looks_random if _SHORT_BEFORE.search(match["before"]) else looks_secret
    return looks_like_key(match["value"])


SEGMENT = rule("path", "/", _SEGMENT, _is_closed_segment)

_WINDOWS_HOME = (
    r"(?P<windows>(?:\\{1,16}|/)(?:Users|Documents and Settings|Profiles)\$?"
    r"(?:\\{1,16}|(?<=[A-Za-z]:/Users)/)"
    r"|\\{1,8}homes?\$?\\{1,8})"
    r"(?:[^\\/:*?\"'<>|\n\[]{1,64}(?=\\)|[^\s\\/:\"'<>|\[]{1,64})"
)
_HOME = (
    rf"(?i)(?P<posix>(?-i:/home/|/Users/|/var/home/|/usr/home/))(?!(?:index|dashboard|feed|settings|page|about)\b)"
    rf"[^\s/\\:\"'\[,;)\]}}<>]{{1,64}}|{_WINDOWS_HOME}|(?P<tilde>(?<![\w.])~)(?=[a-z_])[\w.-]{{2,32}}+(?=/)"
)


def _home_of_user(match: re.Match[str]) -> str:
    return f"{match['posix'] or match['windows'] or match['tilde']}{placeholder('user')}"


HOME = rewriting("home", ("/", "\\", "~"), _HOME, _home_of_user)

_SHARE = (
    r"(?<![\\A-Za-z0-9\])}])(?<!\b[A-Za-z]:)(?:\\{2}|\\{4}|\\{8})(?!(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[a-zA-Z]{1,2}|wsl[\w.]*)[\\$])"
    r"(?P<value>[A-Za-z0-9][\w.-]{2,62})(?=\\{1,4}[\w$])"
)
_INTERNAL_HOST = (
    r"(?i)(?P<value>(?:(?<![\w.\-/@\]])|(?<=://)|(?<=\]@))(?P<name>[a-z0-9](?:[a-z0-9-]{0,62}\.){1,6})"
    r"(?:(?P<sure>lan|corp|intranet|localdomain|home\.arpa|(?:intra|intern|corp)(?:\.[a-z0-9-]{1,63}){1,3})|"
    r"internal|local|private|intra))"
    r"(?![\w(\[-]|\.\w)"
)


def _is_internal_host(match: re.Match[str]) -> bool:
    # Only an organisation's own network resolves such a name; `threading.local` is none.
    name = match["name"]
    return bool(match["sure"] or name.count(".") > 1 or any(map(str.isdigit, name)) or "-" in name)


_INTERNAL_DOMAINS = (".lan", ".corp", ".intra", ".local", ".internal", ".home.arpa", ".private")
HOSTS = (
    rule("host", "\\\\", _SHARE),
    rule("host", _INTERNAL_DOMAINS, _INTERNAL_HOST, _is_internal_host),
)
