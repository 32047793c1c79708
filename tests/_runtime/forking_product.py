"""Every part of the library, alive in one process that forks while another thread holds every lock.

Prints what is wrong: an object that does not follow forks, a class that was not tried, and what the child
shares with its parent or cannot lock.
"""

from __future__ import annotations

import ast
import gc
import logging
import os
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import requests
import sqlalchemy

import otel_posthog
from otel_posthog import Registry, Telemetry, declarative, track
from otel_posthog._runtime.process import Pausing, Renewing, followers
from otel_posthog.config.block import read_block
from otel_posthog.config.settings import Config
from otel_posthog.gateway import Gateway
from otel_posthog.registry.documents import manifest_file

ROOT = Path(otel_posthog.__file__).parent
NOBODY = "http://127.0.0.1:9"
TOOLS = ("cli", "demo", "testing")
"""Rooms that serve tests and people, in processes that do not fork."""
LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
OTHERS = (threading.Event, threading.Thread, sqlite3.Connection, requests.Session, sqlalchemy.Engine)
WAITED_FOR = {("Database", "_changed"), ("PostHogTransport", "_importing")}
"""Not held here: a fork waits for these without a limit, or for long, and nothing holds them for long."""


def _alive(folder: Path) -> list[object]:
    url = f"sqlite:///{folder}/app.db"
    telemetry = Telemetry(
        api_key="phc_test", host=NOBODY, database=url, spool_dir=str(folder / "spool"), batch_delay_s=60
    )
    telemetry.heartbeat.gauge("users")(lambda: 1)
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    track("something_happened")
    telemetry.flush()  # in vain: a spool file, a session and a drainer
    manifests = folder / "telemetry-manifest.json"
    manifests.write_text(manifest_file(Registry()))
    gateway = {"api_key": "phc_test", "gateway_token": "t", "gateway_manifests": str(manifests)}
    return [
        telemetry,
        Telemetry(api_key="phc_test", database=sqlalchemy.create_engine(url)),
        Telemetry(api_key="phc_test", database=url.replace("sqlite", "sqlite+aiosqlite")),
        Telemetry.from_block(read_block({"database": url}, {"POSTHOG_API_KEY": "phc_test"})),
        Gateway(Config.resolve(gateway, {})),
        declarative,
    ]


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if parts[1] not in TOOLS:
            yield ".".join(parts).removesuffix(".__init__"), ast.parse(path.read_text())


def _of_forks(body: list[ast.stmt]) -> bool:
    methods = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    return bool(methods & {"before_fork", "after_fork"})


def _followers_by_source() -> set[str]:
    """Return the classes that say what they do at a fork."""
    return {
        f"{name}.{node.name}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and _of_forks(node.body)
        and not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
    }


def _name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _is_ours(thing: object) -> bool:
    room, _, rest = str(type(thing).__module__).partition(".")
    return room == "otel_posthog" and rest.partition(".")[0] not in TOOLS


def _held() -> Iterator[tuple[object, str, object]]:
    """Yield each lock, thread and connection that an object of ours holds, and under which name."""
    for thing in gc.get_objects():
        if _is_ours(thing) and not isinstance(thing, logging.Handler):  # logging renews their locks itself
            for name, value in list(getattr(thing, "__dict__", {}).items()):
                if isinstance(value, LOCKS + OTHERS):
                    yield thing, name, value


def _missing() -> list[str]:
    following = {id(thing) for thing in followers()}
    held = list(_held())
    # A request in progress uses the session of its transport, which follows forks.
    renewed = {
        id(value) for thing, _, value in held if isinstance(thing, Renewing) and id(thing) in following
    }
    lost = {_name(thing) for thing, _, value in held if id(value) not in renewed}
    lost |= {
        _name(thing)
        for thing in gc.get_objects()
        if _is_ours(thing) and isinstance(thing, Renewing | Pausing) and id(thing) not in following
    }
    tried = {
        f"{base.__module__}.{base.__qualname__}" for thing in followers() for base in type(thing).__mro__
    }
    return [f"does not follow forks: {name}" for name in sorted(lost)] + [
        f"was not tried: {name}" for name in sorted(_followers_by_source() - tried)
    ]


def _module_locks() -> list[str]:
    modules = [
        import_module(name) for name, _ in _modules() if "__main__" not in name and "_pytest" not in name
    ]
    return [
        f"a lock of a module: {module.__name__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, LOCKS) and (module.__name__, name) != ("otel_posthog._runtime.process", "_turn")
    ]


def _shared(before: list[tuple[object, str, object]]) -> list[str]:
    """Return what the child still shares with its parent, or cannot lock."""
    wrong = []
    for thing, name, old in before:
        new = getattr(thing, name)
        if isinstance(old, sqlalchemy.Engine) and new is old:
            continue  # the host's; its pool is a new one, as tests/store/test_processes.py proves
        if new is old:
            wrong.append(f"is the parent's: {_name(thing)}.{name}")
        elif isinstance(new, LOCKS):
            if new.acquire(blocking=False):
                new.release()
            else:
                wrong.append(f"is locked: {_name(thing)}.{name}")
    return wrong


def _fork_with_all_locked() -> None:
    held = list(_held())
    one_of_each = {(type(thing).__name__, name): value for thing, name, value in held}
    locked, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with ExitStack() as stack:
            for name in one_of_each.keys() - WAITED_FOR:
                value = one_of_each[name]
                if isinstance(value, LOCKS) and value.acquire(timeout=0.1):
                    stack.callback(value.release)
            locked.set()
            is_over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    locked.wait()
    child = os.fork()
    if not child:
        _report(_shared(held))
        os._exit(0)
    os.waitpid(child, 0)
    is_over.set()
    holder.join()


def _report(wrong: list[str]) -> None:
    for line in wrong:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def main() -> None:
    """Print one line for each thing that is wrong."""
    parts = _alive(Path(sys.argv[1]))
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which is the case here
    _report(_missing() + _module_locks())
    _fork_with_all_locked()
    parts[0].shutdown(timeout_s=0)
    os._exit(0)


if __name__ == "__main__":
    main()
