"""Content Security Policy: allow more sources in a policy, change nothing else.

Rules are those of Content Security Policy Level 3: sections 2.2 (several policies in one header,
the first of equal directives counts), 6.8.3 (fallback of fetch directives), 2.3.1 (sources).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

Sources = tuple[tuple[bytes, tuple[bytes, ...]], ...]
"""Fetch directives with the sources to allow there."""

CACHED_POLICIES = 128
CACHED_POLICY_MAX_BYTES = 4_000  # a product's policies are few and short; others are parsed each time

_CLOUD_APPS = {"app.posthog.com": "us", "us.posthog.com": "us", "eu.posthog.com": "eu"}
_CLOUD_PART = re.compile(r"(eu|us)(?:\.i|-assets\.i)\.posthog\.com")
_NAME = re.compile(r"[a-z0-9.-]+")
_NONE = b"'none'"
_FALLBACK = b"default-src"
# The directive that a browser applies instead, if the policy has it.
_REFINED_BY: Mapping[bytes, bytes] = {b"script-src": b"script-src-elem"}


def posthog_sources(host: str) -> Sources:
    """Return the sources that a page needs to report to PostHog at this address (requirement R25).

    The EU and US cloud have an ingestion, an app and an assets host each; a self-hosted one or a
    reverse proxy serves all from its origin.
    """
    parts = urlsplit(host)
    try:
        name = (parts.hostname or "").encode("idna").decode("ascii")
    except UnicodeError:
        return ()
    match = _CLOUD_PART.fullmatch(name)
    region = match[1] if match else _CLOUD_APPS.get(name)
    if region is not None:
        scripts = f"https://{region}-assets.i.posthog.com"
        connections = f"https://{region}.i.posthog.com https://{region}.posthog.com {scripts}"
    elif _NAME.fullmatch(name):
        scripts = connections = f"{parts.scheme}://{name}{f':{parts.port}' if parts.port else ''}"
    else:  # CSP has no notation for addresses of IPv6
        return ()
    shown = ((b"script-src", scripts), (b"connect-src", connections))
    return tuple((directive, tuple(sources.encode("ascii").split())) for directive, sources in shown)


def allow(policies: bytes, sources: Sources) -> bytes:
    """Return the header's value with the sources allowed in each of its policies."""
    cached = _allow_cached if len(policies) <= CACHED_POLICY_MAX_BYTES else _allow
    return cached(policies, sources)


def allow_script_nonce(policies: bytes, nonce: str) -> bytes:
    """Return the header's value with scripts of this nonce allowed in each of its policies."""
    return _allow(policies, ((b"script-src", (f"'nonce-{nonce}'".encode("ascii"),)),))


def _allow(policies: bytes, sources: Sources) -> bytes:
    return b",".join(_allow_in(policy, sources) for policy in policies.split(b","))


_allow_cached = lru_cache(CACHED_POLICIES)(_allow)


def _allow_in(policy: bytes, sources: Sources) -> bytes:
    before = [directive for directive in policy.split(b";") if directive.strip()]
    directives = list(before)
    for name, wanted in sources:
        places = _first_places(directives)
        governing = [places[each] for each in (name, _REFINED_BY.get(name)) if each in places]
        for place in governing:
            directives[place] = _with(directives[place], wanted)
        # A missing directive falls back to `default-src`, so it is added with the sources of `default-src`;
        # if that is missing too, everything is allowed already.
        if not governing and _FALLBACK in places:
            inherited = directives[places[_FALLBACK]].split()[1:]
            directives.append(_with(b" " + b" ".join((name, *inherited)), wanted))
    return policy if directives == before else b";".join(directives)


def _first_places(directives: Sequence[bytes]) -> dict[bytes | None, int]:
    places: dict[bytes | None, int] = {}
    for place, directive in enumerate(directives):
        # Browsers ignore a directive that is there a second time.
        places.setdefault(directive.split(None, 1)[0].lower(), place)
    return places


def _with(directive: bytes, wanted: Sequence[bytes]) -> bytes:
    """Return the directive with the sources that it lacks; `'none'` is valid only alone."""
    words = directive.split()
    present = {word.lower() for word in words[1:]}
    missing = [source for source in wanted if source.lower() not in present]
    if not missing:
        return directive
    lead = directive[: len(directive) - len(directive.lstrip())]
    return lead + b" ".join([*(word for word in words if word.lower() != _NONE), *missing])
