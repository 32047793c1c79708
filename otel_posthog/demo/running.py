"""Start the demonstration, wait for Ctrl-C or SIGTERM, and leave nothing behind."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from otel_posthog.errors import ConfigError, MissingExtraError

from .fastflow import built_frontend, fastflow_app

if TYPE_CHECKING:
    from otel_posthog.middleware.asgi import ASGIApp
    from otel_posthog.telemetry import Telemetry
    from otel_posthog.testing import PostHogSink

HOST = "127.0.0.1"
USAGE_ERROR = 2
BATCH_DELAY_S = 0.1  # so that an event shows up while one still looks
DATABASE_NAME = "demo.db"
API_KEY = "phc_demo_not_a_real_key"
APP_VERSION = "1.0.0"

_WAKE_S = 0.5  # on Windows a wait without end would not notice Ctrl-C
_PROXY_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def run(
    *,
    folder: Path | None = None,
    port: int = 0,
    sink_port: int = 0,
    open_browser: bool = False,
    is_plain: bool = True,
    out: Callable[[str], object] = partial(print, flush=True),  # noqa: B008 - holds no state
) -> int:
    """Run an example and the local PostHog until somebody stops them; return the exit code.

    The example is Fast-Flow where its front end can be built and `is_plain` is false, and one plain
    page otherwise. Without a folder the database is temporary. A port or folder that cannot be used is
    one line on stderr and code 2. Raises MissingExtraError where starlette or uvicorn is missing.
    """
    options = _Options(
        folder=folder,
        port=port,
        sink_port=sink_port,
        open_browser=open_browser,
        is_plain=is_plain,
        out=out,
    )
    _demand_packages()
    try:
        with _stop_signal() as stop, _place(folder) as database, _quiet_server(), _direct_loopback():
            _serve(options, database, stop)
    except ConfigError as error:
        sys.stderr.write(f"otel-posthog: {error}\n")
        return USAGE_ERROR
    out(f"Stopped. {'The temporary folder is deleted.' if folder is None else f'{folder} is kept.'}")
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    folder: Path | None
    port: int
    sink_port: int
    open_browser: bool
    is_plain: bool
    out: Callable[[str], object]


def _serve(options: _Options, database: Path, stop: threading.Event) -> None:
    from otel_posthog.telemetry import Telemetry  # noqa: PLC0415 - a quarter of a second; Ctrl-C is ours by now
    from otel_posthog.testing import PostHogSink  # noqa: PLC0415 - needs the extra

    frontend = None if options.is_plain else built_frontend(options.out)
    sink = PostHogSink()
    with _listening(sink, options.sink_port, "--sink-port") as sink_url:
        make_telemetry = partial(
            Telemetry,
            api_key=API_KEY,
            host=sink_url,
            batch_delay_s=BATCH_DELAY_S,
            environ={},  # a variable meant for a real product changes nothing here
        )
        if frontend is None:
            app, about = _plain_page(make_telemetry, database, sink), "An example app"
        else:
            app = fastflow_app(make_telemetry, database, frontend)
            about = "Fast-Flow, an example product (sign in as anybody, the first is the admin),"
        with _listening(app, options.port, "--port") as url:
            _greet(options, about, database, (url, sink_url))
            while not stop.wait(_WAKE_S):
                pass


def _plain_page(make_telemetry: Callable[..., Telemetry], database: Path, sink: PostHogSink) -> ASGIApp:
    from .app import example_app  # noqa: PLC0415 - needs the extra
    from .events import EVENTS  # noqa: PLC0415 - the registry

    telemetry = make_telemetry(
        database=f"sqlite:///{database}",
        environment="production",
        service_version=APP_VERSION,
        registry=EVENTS,
    )
    sink_url = telemetry.config.host
    return telemetry.wrap(example_app(telemetry, sink_url=sink_url, received=lambda: len(sink.requests)))


def _greet(options: _Options, about: str, database: Path, urls: tuple[str, str]) -> None:
    url, sink_url = urls
    options.out(
        f"{about} beside a PostHog that runs on this computer only.\n\n"
        f"  Example app    {url}\n"
        f"  Local PostHog  {sink_url}\n"
        f"  Database       {database} ({'deleted at the end' if options.folder is None else 'kept'})\n\n"
        "Open the example app in a browser. Stop with Ctrl-C."
    )
    if options.open_browser and not webbrowser.open(url):
        options.out("No browser could be opened from here.")


@contextlib.contextmanager
def _listening(app: ASGIApp, port: int, option: str) -> Iterator[str]:
    """Serve on loopback; a port that cannot be had becomes a ConfigError."""
    from otel_posthog.testing import serve  # noqa: PLC0415 - needs the extra

    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serve(app, port, HOST))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            raise ConfigError(
                f"port {port} cannot be used ({reason}). Choose another with {option}, or leave it out."
            ) from error
        yield url


@contextlib.contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    """Yield where the database goes: the given folder, made if need be, or one that ends with the block."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="otel-posthog-demo-") as temporary:
            yield Path(temporary) / DATABASE_NAME
        return
    if "?" in str(folder.absolute()):
        raise ConfigError(f"{folder} cannot be used: a database URL takes no question mark in a path.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be used as a folder ({error.strerror}).") from error
    yield folder.absolute() / DATABASE_NAME


@contextlib.contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C and SIGTERM set; the handlers of before come back afterwards."""
    stop = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _quiet_server() -> Iterator[None]:
    """Keep uvicorn's traceback of each planted failure off the terminal; the page tells of it."""
    log = logging.getLogger("uvicorn.error")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Exception in ASGI application")

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


@contextlib.contextmanager
def _direct_loopback() -> Iterator[None]:
    """Keep a proxy named in the environment out of the way: it would carry events off this computer."""
    before = {name: os.environ.get(name) for name in _PROXY_EXCEPTIONS}
    known = next((value for value in before.values() if value), "")
    os.environ.update(dict.fromkeys(_PROXY_EXCEPTIONS, f"{known},{HOST}".lstrip(",")))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _demand_packages() -> None:
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "demo")
