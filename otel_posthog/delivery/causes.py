"""Name why no answer came: the proxy, certificate or variable of the environment that decides.

Values of variables are not named, since a proxy's may hold a password.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from .answers import CHECK_HOST_AND_NETWORK

# `requests` knows the first two itself; OpenSSL, and with it most of a machine, knows the others.
_OWN_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_OPENSSL_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_SOCKS_MISSING = "Missing dependencies for SOCKS support"


def authorities() -> str | None:
    """Return the certificate authorities that OpenSSL's variables name, unless those of `requests` do."""
    name = _authorities_variable()
    return os.environ[name] if name in _OPENSSL_AUTHORITIES else None


def _authorities_variable() -> str | None:
    """Return the variable that decides, None for none."""
    for name in _OWN_AUTHORITIES:
        if os.environ.get(name):
            return name
    # OpenSSL, too, passes over one that does not exist; of its lists of folders `requests` reads none.
    existing = (name for name in _OPENSSL_AUTHORITIES if os.path.exists(os.environ.get(name, "")))  # noqa: PTH110 - "" is no path
    return next(existing, None)


def proxy_variable(url: str) -> str | None:
    """Return the name of the variable whose proxy requests to the URL go through, or None. Never raises."""
    with suppress(Exception):  # another thread may remove a variable while all of them are read
        from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - comes with requests, so as late

        parts, proxies = urlsplit(url), getproxies()
        scheme = next((scheme for scheme in (parts.scheme, "all") if scheme in proxies), None)
        if scheme is not None and not proxy_bypass(parts.hostname or ""):
            names = (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
            return next((name for name in names if os.environ.get(name)), "the system's proxy settings")
    return None


def advice(error: BaseException, url: str) -> str:
    """Return what to check after this error; the host only if nothing better is known. Never raises."""
    with suppress(Exception):  # an error's text is code of other packages
        return _advice(proxy_variable(url), [*_chain(error)])
    return CHECK_HOST_AND_NETWORK


def _advice(proxy: str | None, errors: Sequence[BaseException]) -> str:
    if any(_SOCKS_MISSING in str(each) for each in errors):
        name = proxy or "A variable"
        return f"{name} names a SOCKS proxy, which needs PySocks: pip install 'requests[socks]'."
    if any("CERTIFICATE_VERIFY_FAILED" in str(each) for each in errors):
        why = next((text for each in errors if (text := getattr(each, "verify_message", ""))), "not trusted")
        return f"The host's certificate is not accepted ({why}). {_where_authorities()}"
    if any("CA certificate bundle" in str(each) for each in errors):
        return f"The certificate authorities cannot be read. {_where_authorities()}"
    if proxy is not None:
        return f"Check the proxy that {proxy} names; NO_PROXY excepts hosts from it."
    if any(type(each).__name__ == "SSLError" for each in errors):
        return "TLS fails. Check the host setting (https or http, and its port)."
    return CHECK_HOST_AND_NETWORK


def _where_authorities() -> str:
    found = _authorities_variable()
    if found is None:
        return "Name the file of its authority in SSL_CERT_FILE or REQUESTS_CA_BUNDLE."
    return f"Check the authorities that {found} names."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised for; urllib3 keeps that among arguments and as `reason`."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [*each.args, getattr(each, "reason", None), each.__cause__, each.__context__]
