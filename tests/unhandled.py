"""A product in which something fails that nobody catches: `unhandled.py <way> <sink URL> <database URL>`.

Prints what the hooks that were there before ours were called with.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable

from otel_posthog import Telemetry

PATIENCE_S = 50.0  # of a slow machine


class Careless:
    """An object that cannot be let go of without a failure."""

    def __del__(self) -> None:
        raise LookupError("failed on its way out")


def _in_main() -> None:
    raise LookupError("nobody caught it")


def _interrupted() -> None:
    raise KeyboardInterrupt


def _exits() -> None:
    sys.exit(3)


def _in_thread() -> None:
    thread = threading.Thread(target=_in_main)
    thread.start()
    thread.join()


def _exits_in_thread() -> None:
    thread = threading.Thread(target=_exits)
    thread.start()
    thread.join()


def _in_del() -> None:
    Careless()


async def _task() -> None:
    raise LookupError("nobody awaited it")


async def _forget_a_task() -> None:
    task = asyncio.ensure_future(_task())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task


async def _in_loop_of(telemetry: Telemetry) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: _say("loop", told["exception"]))
    async with telemetry:
        telemetry.update_settings(enable_error_reporting=True)
        await _forget_a_task()


def _logged() -> None:
    try:
        _in_main()
    except LookupError:
        logging.getLogger("product").exception("it failed")


def _say(hook: str, error: object) -> None:
    sys.stdout.write(f"{hook}: {type(error).__name__}\n")


WAYS: dict[str, Callable[[], None]] = {
    "main": _in_main,
    "interrupt": _interrupted,
    "exit": _exits,
    "thread": _in_thread,
    "thread exit": _exits_in_thread,
    "del": _in_del,
    "log": _logged,
}


def main() -> None:
    """Fail in the way that is asked for."""
    way, sink_url, database_url, *settings = sys.argv[1:]
    sys.excepthook = lambda _kind, error, _traceback: _say("main", error)
    threading.excepthook = lambda told: _say("thread", told.exc_value)
    sys.unraisablehook = lambda told: _say("del", told.exc_value)
    options: dict[str, bool] = dict.fromkeys(settings, True)
    telemetry = Telemetry(
        api_key="phc_test",
        host=sink_url,
        database=database_url,
        shutdown_timeout_s=PATIENCE_S,
        http_timeout_s=PATIENCE_S,
        database_timeout_s=PATIENCE_S,
        **options,
    )
    if way == "loop":
        asyncio.run(_in_loop_of(telemetry))
        return
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True)
    WAYS[way]()


if __name__ == "__main__":
    main()
