"""URLs and paths: credentials, queries and fragments go, and what tells a person or opens a door."""

from __future__ import annotations

import re

from .looks import looks_random, looks_secret
from .marks import mark

# `?phone=+49 171 …`
_DIGITS_BEHIND = r"(?:(?:(?<=[+=]\d)|(?<=[+=]\d\d)|(?<=[+=]\d\d\d))(?:[ ]\d{2,12}){1,6})?"
URL = re.compile(
    r"(?<![A-Za-z0-9])(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*+):(?P<slashes>//|(?:\\{1,8}/){2})"
    # A password may hold whatever was not escaped, so user information reaches to the last `@`;
    # only where digits follow the colon it can be a port instead.
    r"(?:(?P<userinfo>[^\s/?#\"'<>:@\[]{0,200}:(?!\d{1,5}(?:[/?#\"'<>\s,;)\]}\\]|$))[^\s]{0,400}@)"
    r"|(?P<authority>[^\s/?#\"'<>\\)\]}]{0,400}))"
    r"(?P<path>(?:[^\s?#\"'<>\\)\]}]|\\{1,8}/){0,4000})"
    rf"(?P<rest>[?#](?:[^\s\"'<>\\]|\\(?![\"'nrt])|[\"'](?=\w))*{_DIGITS_BEHIND})?"
)
_TEMPLATE = re.compile(r"(?:\{[A-Za-z_.!]{1,60}\}|\$\{\w{1,60}\}|%s|[:@])+@")
_BARE_NAME = re.compile(r"[^.:@\[]+")


def bare_url(match: re.Match[str]) -> str:
    """Keep scheme, host and path; user information, query and fragment go."""
    rest = mark("query") if match["rest"] else ""
    path, start = match["path"], f"{match['scheme']}:{match['slashes']}"
    if match["userinfo"] and not _TEMPLATE.fullmatch(match["userinfo"]):
        return f"{start}{mark('userinfo')}@{path}{rest}"
    authority = match["authority"] if match["authority"] is not None else match["userinfo"]
    if _TEMPLATE.match(authority):
        return f"{start}{authority}{path}{rest}"
    if "@" in authority:
        authority = f"{mark('userinfo')}@{authority.rpartition('@')[2]}"
    elif "@" in path.replace("/@", "/") and (":" in authority or _BARE_NAME.fullmatch(authority)):
        # `scheme://user:1/2@host` or `scheme://token/with/slash@host`; `/@name` is an ordinary folder
        authority, path = f"{mark('userinfo')}@{path.rpartition('@')[2]}", ""
    return f"{start}{authority}{path}{rest}"


QUERY = re.compile(
    rf"(?<![^\s\"'<>])(?P<path>[^\s?\"'<>]*+)\?(?P<rest>(?:[^\s\"'<>\\]|\\(?![\"'nrt])|[\"'](?=\w))+{_DIGITS_BEHIND})"
)
_FIRST_PARAMETER = re.compile(r"[A-Za-z0-9_.%\[\]-]{1,100}=")
_LATER_PARAMETER = re.compile(r"[?&][\w.%\[\]-]{1,100}=")
FRAGMENT = re.compile(r"(?P<path>/[^\s?#\"'<>]{0,2000})#(?P<rest>[\w.%\[\]-]{1,100}=[^\s\"'<>]++)")


def bare_path(match: re.Match[str]) -> str:
    """Keep the path; the query goes."""
    path, rest = match["path"], match["rest"]
    if "/" in path:
        is_query = re.search(r"\w", rest)
    else:
        is_query = _FIRST_PARAMETER.match(rest) if path else _LATER_PARAMETER.search(rest)
    return f"{path}{mark('query')}" if is_query else match[0]


# The segment after one of these is what a mail or a partner was given to come in.
SEGMENT = re.compile(
    r"(?P<before>/(?:[\w.-]{0,40}[-_.])?(?:reset|verify|verification|confirm|confirmation|activate|"
    r"activation|invite|"
    r"invites|invitation|invitations|magic|magic-link|unsubscribe|share|shared|webhook|webhooks|hook|"
    r"hooks|token|"
    r"tokens|key|keys|apikey|secret|secrets|session|sessions|password|passwords|otp|login|signin|"
    r"callback|auth|"
    r"oauth|sso|signed|download|accept|join|recover|recovery|unlock|access|s|t|k)(?:[-_.][\w.-]{0,20})?)/"
    r"(?P<value>[\w.~+=-]{6,}+)",
    re.IGNORECASE,
)
_SHORT_BEFORE = re.compile(r"/(?:s|t|k|download|access|shared?)\Z", re.IGNORECASE)


def closed_segment(match: re.Match[str]) -> str:
    """Take out a segment of a path that looks like a key and stands after a word for one."""
    before, value = match["before"], match["value"]
    is_key = looks_random(value) if _SHORT_BEFORE.search(before) else looks_secret(value)
    return f"{before}/{mark('path')}" if is_key else match[0]


_WINDOWS_HOME = (
    r"(?P<windows>(?:\\{1,16}|/)(?:Users|Documents and Settings|Profiles)\$?"
    r"(?:\\{1,16}|(?<=[A-Za-z]:/Users)/)"
    r"|\\{1,8}homes?\$?\\{1,8})"
    r"(?:[^\\/:*?\"'<>|\n\[]{1,64}(?=\\)|[^\s\\/:\"'<>|\[]{1,64})"
)
HOME = re.compile(
    rf"(?P<posix>(?-i:/home/|/Users/|/var/home/|/usr/home/))(?!(?:index|dashboard|feed|settings|page|"
    rf"about)\b)"
    rf"[^\s/\\:\"'\[,;)\]}}<>]{{1,64}}|{_WINDOWS_HOME}|(?P<tilde>(?<![\w.])~)(?=[a-z_])[\w.-]{{2,32}}+(?=/)",
    re.IGNORECASE,
)


SHARE = re.compile(
    r"(?<![\\A-Za-z0-9\])}])(?<!\b[A-Za-z]:)(?P<before>\\{2}|\\{4}|\\{8})(?!(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[a-zA-Z]{1,2}|wsl[\w.]*)[\\$])"
    r"[A-Za-z0-9][\w.-]{2,62}(?=\\{1,4}[\w$])"
)
INTERNAL_HOST = re.compile(
    r"(?:(?<![\w.\-/@\]])|(?<=://)|(?<=\]@))(?P<name>[a-z0-9](?:[a-z0-9-]{0,62}\.){1,6})"
    r"(?:(?P<sure>lan|corp|intranet|localdomain|home\.arpa|(?:intra|intern|corp)(?:\.[a-z0-9-]{1,63}){1,3})|"
    r"internal|local|private|intra)"
    r"(?![\w(\[-]|\.\w)",
    re.IGNORECASE,
)


def share(match: re.Match[str]) -> str:
    """Keep the folder on a server, without the server's name."""
    return f"{match['before']}{mark('host')}"


def internal_host(match: re.Match[str]) -> str:
    """Take out a name that only a network inside of an organisation knows; `threading.local` is none."""
    name = match["name"]
    is_host = match["sure"] or name.count(".") > 1 or any(map(str.isdigit, name)) or "-" in name
    return mark("host") if is_host else match[0]


def nobodys_home(match: re.Match[str]) -> str:
    """Keep the folder of homes, without whose it is."""
    return f"{match['posix'] or match['windows'] or match['tilde']}{mark('user')}"
