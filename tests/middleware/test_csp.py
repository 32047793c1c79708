"""Content Security Policies with PostHog's hosts let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_posthog.middleware.csp import allow, allow_script_nonce, posthog_sources

EU_ASSETS = "https://eu-assets.i.posthog.com"
EU_CONNECT = ["https://eu.i.posthog.com", "https://eu.posthog.com", EU_ASSETS]
SOURCES = ((b"script-src", (b"https://scripts.example",)), (b"connect-src", (b"https://in.example",)))


def _sources_of(host):
    return {name.decode(): [source.decode() for source in sources] for name, sources in posthog_sources(host)}


def _directives(policy):
    """Read a policy as a browser does: the first of equal directives counts."""
    found = {}
    for directive in policy.split(b";"):
        words = directive.lower().split()
        if words:
            found.setdefault(words[0], words[1:])
    return found


def _effective(policy, *names):
    """Return the sources that govern a fetch: the first of the names that is there; None allows all."""
    directives = _directives(policy)
    return next((directives[name] for name in (*names, b"default-src") if name in directives), None)


@pytest.mark.parametrize(
    "host", ["https://eu.posthog.com", "https://eu.i.posthog.com", "https://EU.posthog.com/"]
)
def test_eu_cloud_has_three_hosts(host):
    """The EU cloud's ingestion, app and assets hosts are allowed, whichever of them is configured (R25)."""
    assert _sources_of(host) == {"script-src": [EU_ASSETS], "connect-src": EU_CONNECT}


@pytest.mark.parametrize(
    "host", ["https://us.posthog.com", "https://app.posthog.com", "https://us-assets.i.posthog.com"]
)
def test_us_cloud_has_three_hosts(host):
    """The US cloud has the same three, under its own names (R25)."""
    assert _sources_of(host) == {
        "script-src": ["https://us-assets.i.posthog.com"],
        "connect-src": [
            "https://us.i.posthog.com",
            "https://us.posthog.com",
            "https://us-assets.i.posthog.com",
        ],
    }


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("https://posthog.example.org", "https://posthog.example.org"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://shop.example/ingest", "https://shop.example"),
        ("https://eu.posthog.com.example", "https://eu.posthog.com.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_self_hosted_and_reverse_proxies_have_one_origin(host, origin):
    """Another address is allowed by its origin, without the path (R25)."""
    assert _sources_of(host) == {"script-src": [origin], "connect-src": [origin]}


@pytest.mark.parametrize(
    "host", ["http://[::1]:8000", "https://a;script-src *", "https://a b", f"https://{'a' * 64}.example"]
)
def test_host_that_csp_cannot_name_is_left_out(host):
    """What CSP has no notation for adds nothing to a policy."""
    assert posthog_sources(host) == ()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            b"script-src 'self'; connect-src 'self'",
            b"script-src 'self' https://scripts.example; connect-src 'self' https://in.example",
            id="named directives",
        ),
        pytest.param(
            b"default-src 'self'",
            b"default-src 'self'; script-src 'self' https://scripts.example;"
            b" connect-src 'self' https://in.example",
            id="fallback to default-src",
        ),
        pytest.param(
            b"default-src 'none'",
            b"default-src 'none'; script-src https://scripts.example; connect-src https://in.example",
            id="default-src none",
        ),
        pytest.param(
            b"script-src 'none'; connect-src 'NONE'",
            b"script-src https://scripts.example; connect-src https://in.example",
            id="none stands alone only",
        ),
        pytest.param(b"img-src 'self'", b"img-src 'self'", id="all allowed already"),
        pytest.param(b"", b"", id="empty"),
        pytest.param(b" ; ;", b" ; ;", id="no directive"),
        pytest.param(
            b"  SCRIPT-SRC\t'self'  ;Connect-Src",
            b"  SCRIPT-SRC 'self' https://scripts.example;Connect-Src https://in.example",
            id="case and white space",
        ),
        pytest.param(
            b"script-src 'self'; script-src *; connect-src https://IN.example",
            b"script-src 'self' https://scripts.example; script-src *; connect-src https://IN.example",
            id="the first of equal directives; present already",
        ),
        pytest.param(
            b"default-src 'self'; script-src-elem 'self'; connect-src *",
            b"default-src 'self'; script-src-elem 'self' https://scripts.example;"
            b" connect-src * https://in.example",
            id="script-src-elem governs",
        ),
        pytest.param(
            b"script-src 'self'; script-src-elem 'none'; connect-src https://in.example",
            b"script-src 'self' https://scripts.example;"
            b" script-src-elem https://scripts.example; connect-src https://in.example",
            id="script-src beside script-src-elem",
        ),
        pytest.param(
            b"default-src 'self', connect-src 'none'",
            b"default-src 'self'; script-src 'self' https://scripts.example;"
            b" connect-src 'self' https://in.example, connect-src https://in.example",
            id="two policies in one header",
        ),
        pytest.param(
            b"default-src 'self'; sandbox; report-uri /csp; frame-ancestors 'none'",
            b"default-src 'self'; sandbox; report-uri /csp; frame-ancestors 'none';"
            b" script-src 'self' https://scripts.example; connect-src 'self' https://in.example",
            id="all else stays",
        ),
    ],
)
def test_sources_are_let_in(before, after):
    """Each policy allows what it allowed and the new sources, and nothing else changes (R25)."""
    assert allow(before, SOURCES) == after


def test_letting_in_twice_changes_nothing():
    """A policy that names the sources stays as it is, byte for byte."""
    once = allow(b"default-src 'self'; object-src 'none'", SOURCES)

    assert allow(once, SOURCES) == once


def test_nothing_to_let_in_changes_nothing():
    """Without sources a policy stays as it is, odd spacing included."""
    policy = b" default-src  'self' ;; connect-src 'none' ; "

    assert allow(policy, ()) == policy


def test_very_long_policy_is_read_as_well():
    """A policy too long to be kept is still opened."""
    policy = b"connect-src " + b" ".join(b"https://host-%d.example" % number for number in range(1_000))

    assert allow(policy, SOURCES).endswith(b"https://host-999.example https://in.example")


def test_nonce_is_allowed_for_scripts_only():
    """A nonce is added to the directive that governs scripts."""
    opened = allow_script_nonce(b"default-src 'none'; style-src 'self'", "abc")

    assert opened == b"default-src 'none'; style-src 'self'; script-src 'nonce-abc'"


_NAMES = st.sampled_from(
    [b"default-src", b"script-src", b"SCRIPT-SRC-ELEM", b"connect-src", b"Img-Src", b"sandbox", b"worker-src"]
)
_WORDS = st.sampled_from(
    [b"'self'", b"'none'", b"*", b"https:", b"https://a.example", b"'unsafe-inline'", b"'nonce-x'", b"'NONE'"]
)
_SPACES = st.sampled_from([b" ", b"  ", b"\t"])


@st.composite
def _policies(draw):
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        words = [draw(_NAMES), *draw(st.lists(_WORDS, max_size=4))]
        parts.append(draw(_SPACES).join(words))
    return draw(st.sampled_from([b";", b"; ", b" ;\t"])).join(parts)


@given(_policies())
def test_fetches_gain_the_sources_and_lose_nothing(policy):
    """As a browser reads it, scripts and connections gain the sources only, and no other fetch changes."""
    opened = allow(policy, SOURCES)

    governing = {b"https://scripts.example": (b"script-src-elem", b"script-src")}
    governing[b"https://in.example"] = (b"connect-src",)
    for source, names in governing.items():
        before, after = _effective(policy, *names), _effective(opened, *names)
        if before is None:
            assert after is None
        else:
            assert set(after) == (set(before) - {b"'none'"}) | {source}
    for other in (b"img-src", b"font-src", b"sandbox"):
        assert _effective(opened, other) == _effective(policy, other)
