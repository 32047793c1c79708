"""Run the gateway's workers under uvicorn, with a time limit for request headers."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from functools import cache
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from otel_posthog.config.settings import Config
from otel_posthog.errors import ConfigError

from .gateway import Gateway

KEEP_ALIVE_S = 75  # of an idle connection; a Collector keeps its own for 90 s
_TLS_FILES = {
    "gateway_certificate": "ssl_certfile",
    "gateway_key": "ssl_keyfile",
    "gateway_client_ca": "ssl_ca_certs",
}
GRACE_S = 30  # for requests in progress when a worker ends; a Collector's own timeout


class HeaderTimeoutProtocol(H11Protocol):
    """Close connections whose headers take longer than `gateway_read_timeout_s`."""

    # Uvicorn itself waits for ever. `tests/gateway/test_server.py` fails if its protocol changes.
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # There is a cycle once the headers are complete; the body has a limit of its own.
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._cancel()
        elif self._timer is None:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(_limit_s(), self.transport.close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def run(*, host: str, port: int, workers: int) -> int:
    """Serve until a signal ends it; raise `ConfigError` before any worker starts."""
    config = Config.resolve()
    if config.gateway_token is None and config.gateway_client_ca is None and not _is_loopback(host):
        raise ConfigError(
            "Without OTEL_POSTHOG_GATEWAY_TOKEN the gateway listens on a loopback address only."
        )
    tls = _tls(config)
    Gateway(config)  # reads manifest and rules: a mistake is logged once, not once for each worker
    uvicorn.run(
        "otel_posthog.gateway.app:app_from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http="otel_posthog.gateway.server:HeaderTimeoutProtocol",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
        **tls,
    )
    return 0


def _tls(config: Config) -> dict[str, Any]:
    """Return uvicorn's options for TLS; raise `ConfigError` if a file is missing."""
    files = {name: getattr(config, name) for name in _TLS_FILES}
    if config.gateway_certificate is None:
        for name in filter(files.get, _TLS_FILES):
            raise ConfigError(f"{name} needs gateway_certificate: without it the gateway speaks plain HTTP.")
        return {}
    for name, path in files.items():
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"{name}: {path} cannot be read.")
    needed = ssl.CERT_NONE if config.gateway_client_ca is None else ssl.CERT_REQUIRED
    return {**{option: files[name] for name, option in _TLS_FILES.items()}, "ssl_cert_reqs": needed}


@cache
def _limit_s() -> float:
    return Config.resolve().gateway_read_timeout_s


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
