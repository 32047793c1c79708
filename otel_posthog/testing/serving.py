"""Run an ASGI application on a real socket during a `with` block."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from otel_posthog.errors import MissingExtraError

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 15.0
# For open requests when the block ends; afterwards uvicorn drops them.
GRACE_S = 1


@contextlib.contextmanager
def serve(app: ASGIApp, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve `app` from a daemon thread and yield its base URL; `port=0` takes any free port.

    The application's lifespan runs. Raises MissingExtraError without uvicorn, OSError if the port is
    taken, RuntimeError if the application does not start.
    """
    try:
        import uvicorn  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise MissingExtraError("uvicorn", "testing") from error

    settled = threading.Event()

    class _Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            settled.set()

    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S)
    server = _Server(config)
    with _bound_socket(host, port) as listener:
        thread = threading.Thread(
            target=_run, args=(server, listener, settled), name="otel-posthog-serve", daemon=True
        )
        thread.start()
        try:
            if not settled.wait(START_TIMEOUT_S) or not server.started:
                raise RuntimeError("The application did not start; its lifespan failed or blocks.")
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT_S)


def _run(server: Server, listener: socket.socket, settled: threading.Event) -> None:
    # uvicorn calls sys.exit if the lifespan fails; the waiting thread reads `started` after `settled`.
    try:
        with contextlib.suppress(SystemExit):
            server.run(sockets=[listener])
    finally:
        settled.set()


def _bound_socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
