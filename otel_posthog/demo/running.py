"""Run the demo until Ctrl-C or SIGTERM, with the repository's example product if Node can build it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from otel_posthog.errors import ConfigError, MissingExtraError, OtelPosthogError

if TYPE_CHECKING:
    from otel_posthog.middleware.asgi import ASGIApp
    from otel_posthog.telemetry import Telemetry

HOST = "127.0.0.1"
USAGE_ERROR = 2
BATCH_DELAY_S = 0.1  # events appear while the user still looks at the page
DATABASE_NAME = "demo.db"
API_KEY = "phc_demo_not_a_real_key"
APP_VERSION = "1.0.0"

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "fastflow"
FRONTEND = EXAMPLE / "frontend"
DIST = FRONTEND / "dist"
OLDEST_NODE = (20, 19)
NEEDED_PACKAGES = ("fastapi", "psutil")
STEP_TIMEOUT_S = 600

_NOT_SOURCES = frozenset({"dist", "node_modules"})
_OUTPUT_CHARS = 2000  # from the end of npm's output
_WAKE_S = 0.5  # on Windows a wait without a timeout does not notice Ctrl-C
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
    """Run an example and the local PostHog until a signal; return the exit code.

    The example is Fast-Flow if its front end can be built and `is_plain` is false, and one plain page
    otherwise. Without a folder the database is temporary. A port or folder that cannot be used is one
    line on stderr and code 2. Raises MissingExtraError if starlette or uvicorn is missing.
    """
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "demo")
    try:
        with _stop_signal() as stop, _database_in(folder) as database, _quiet_server(), _direct_loopback():
            frontend = None if is_plain else built_frontend(out)
            with _served(database, frontend, port, sink_port) as (about, url, sink_url):
                out(
                    f"{about} beside a PostHog that runs on this computer only.\n\n"
                    f"  Example app    {url}\n"
                    f"  Local PostHog  {sink_url}\n"
                    f"  Database       {database} ({'deleted at the end' if folder is None else 'kept'})\n\n"
                    "Open the example app in a browser. Stop with Ctrl-C."
                )
                if open_browser and not webbrowser.open(url):
                    out("No browser could be opened from here.")
                while not stop.wait(_WAKE_S):
                    pass
    except ConfigError as error:
        sys.stderr.write(f"otel-posthog: {error}\n")
        return USAGE_ERROR
    out(f"Stopped. {'The temporary folder is deleted.' if folder is None else f'{folder} is kept.'}")
    return 0


@contextlib.contextmanager
def _served(
    database: Path, frontend: Path | None, port: int, sink_port: int
) -> Iterator[tuple[str, str, str]]:
    """Serve the example and the local PostHog; yield what the example is, and both addresses."""
    from otel_posthog.telemetry import Telemetry  # noqa: PLC0415 - slow; Ctrl-C is handled by now
    from otel_posthog.testing import PostHogSink  # noqa: PLC0415 - needs the extra

    sink = PostHogSink()
    with _listening(sink, sink_port, "--sink-port") as sink_url:
        make_telemetry = partial(
            Telemetry,
            api_key=API_KEY,
            host=sink_url,
            batch_delay_s=BATCH_DELAY_S,
            environ={},  # variables meant for a real product have no effect here
        )
        if frontend is None:
            from .app import EVENTS, example_app  # noqa: PLC0415 - needs the extra

            telemetry = make_telemetry(
                database=f"sqlite:///{database}", service_version=APP_VERSION, registry=EVENTS
            )
            page = example_app(telemetry, sink_url=sink_url, received=lambda: len(sink.requests))
            app, about = telemetry.wrap(page), "An example app"
        else:
            app = fastflow_app(make_telemetry, database, frontend)
            about = "Fast-Flow, an example product (sign in as anybody, the first is the admin),"
        with _listening(app, port, "--port") as url:
            yield about, url, sink_url


@contextlib.contextmanager
def _listening(app: ASGIApp, port: int, option: str) -> Iterator[str]:
    """Serve on loopback; raise ConfigError if the port cannot be used."""
    from otel_posthog.testing import serve  # noqa: PLC0415 - needs the extra

    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(serve(app, port, HOST))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            advice = f"Choose another with {option}, or leave it out."
            raise ConfigError(f"port {port} cannot be used ({reason}). {advice}") from error
        yield url


@contextlib.contextmanager
def _database_in(folder: Path | None) -> Iterator[Path]:
    """Yield the path of the database: in the folder, created if needed, or in a temporary one."""
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
    """Yield an event that Ctrl-C and SIGTERM set; restore the previous handlers afterwards."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Keeps uvicorn's traceback of each planted failure off the terminal: the page shows it.
@contextlib.contextmanager
def _quiet_server() -> Iterator[None]:
    log = logging.getLogger("uvicorn.error")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Exception in ASGI application")

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


# Bypasses a proxy named in the environment: it would carry events off this computer.
@contextlib.contextmanager
def _direct_loopback() -> Iterator[None]:
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


class FrontendError(OtelPosthogError):
    """Raised if the front end could not be built; holds the end of npm's output."""


def obstacle() -> str | None:
    """Return why the example product cannot be shown here, or None if it can."""
    if not (FRONTEND / "package.json").is_file():
        return "its sources are not installed; they are in the repository"
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed"
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "Node with npm is not installed"
    output = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607 - this machine's
    found = re.match(r"v(\d+)\.(\d+)", output)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return f"Node is {output.strip() or 'unknown'}, and {'.'.join(map(str, OLDEST_NODE))} is needed"
    return None


def build(report: Callable[[str], object]) -> Path:
    """Return the folder of the built front end; install and build only after changes."""
    lock, sources = _digest([FRONTEND / "package-lock.json"]), _digest(_sources())
    installed, built = FRONTEND / "node_modules" / ".installed", DIST / ".built"
    if _text(installed) != lock:
        report("Installing the front end's packages, once …")
        _npm("ci", "--prefer-offline", "--no-audit", "--no-fund")
        installed.write_text(lock)
    if _text(built) != sources:
        report("Building the front end …")
        _npm("run", "build")
        built.write_text(sources)
    return DIST


def _npm(*arguments: str) -> None:
    try:
        ended = subprocess.run(  # noqa: S603 - npm, with arguments from above
            ["npm", *arguments],  # noqa: S607 - this machine's
            cwd=FRONTEND,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FrontendError(f"npm {arguments[0]} did not end within {STEP_TIMEOUT_S} s.") from None
    if ended.returncode != 0:
        raise FrontendError(f"npm {' '.join(arguments)} failed:\n{ended.stdout[-_OUTPUT_CHARS:]}")


def _sources() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(FRONTEND):
        folders[:] = sorted(set(folders) - _NOT_SOURCES)
        found += [Path(folder) / name for name in sorted(names)]
    return found


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(FRONTEND)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _text(file: Path) -> str | None:
    return file.read_text() if file.is_file() else None


def built_frontend(report: Callable[[str], object]) -> Path | None:
    """Return the folder of the built front end; if there is none, report the reason and return None."""
    reason = obstacle()
    if reason is not None:
        report(f"This is the plain page. For the example product: {reason}.\n")
        return None
    try:
        return build(report)
    except FrontendError as error:
        report(f"{error}\nSo this is the plain page.\n")
        return None


def fastflow_app(make_telemetry: Callable[..., Telemetry], database: Path, frontend: Path) -> ASGIApp:
    """Return the example product; it keeps its files beside the database."""
    if str(EXAMPLE) not in sys.path:
        sys.path.insert(0, str(EXAMPLE))
    config = importlib.import_module("server.config").Config(
        data_dir=database.parent, database_url=f"sqlite:///{database}", frontend_dir=frontend
    )
    product = importlib.import_module("server.product").FastFlow(config, make_telemetry=make_telemetry)
    return cast("ASGIApp", product.app)
