"""Run the gateway's workers under uvicorn, with a limit on how long a request line and headers may take."""

from __future__ import annotations

import asyncio
import ipaddress
from functools import cache

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from otel_posthog.config import Config
from otel_posthog.errors import ConfigError

from .gateway import Gateway

KEEP_ALIVE_S = 75  # of an idle connection; a Collector keeps its own for 90 s
GRACE_S = 30  # for requests under way when a worker is told to end; a Collector's own timeout


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 for clients that say within a while what they want; uvicorn itself waits for ever.

    `tests/gateway/test_serving.py` fails when what this stands on moves.
    """

    _lateness: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop_waiting()
        elif self._lateness is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._lateness = self.loop.call_later(_limit_s(), self._too_late)

    def _stop_waiting(self) -> None:
        if self._lateness is not None:
            self._lateness.cancel()
            self._lateness = None

    def _too_late(self) -> None:
        self.transport.close()


def run(*, host: str, port: int, workers: int) -> int:
    """Serve until told to end; raise `ConfigError` before any worker starts for what cannot work."""
    config = Config.resolve()
    if config.gateway_token is None and not _is_loopback(host):
        raise ConfigError(
            "Without OTEL_POSTHOG_GATEWAY_TOKEN the gateway listens on a loopback address only."
        )
    Gateway(config)  # reads manifest and rules, so that a mistake is one line and not one for each worker
    uvicorn.run(
        f"{__package__}.app:app_from_environment",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=f"{__name__}:{PunctualProtocol.__name__}",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    return 0


@cache
def _limit_s() -> float:
    return Config.resolve().gateway_read_timeout_s


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
