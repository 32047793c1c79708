"""Run a blocking call without blocking the event loop, and without leaving a thread behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_T = TypeVar("_T")


async def off_loop(call: Callable[[], _T]) -> _T:
    """Return what the call returns, from a short thread of its own.

    The loop's executor would keep a thread for good, and may be full of the host's work. Without an
    asyncio loop (trio) the call runs in place; the callers are start, stop and an admin's click.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return call()
    answer: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if answer.cancelled():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only where _T allows it

    def run() -> None:
        try:
            outcome: tuple[_T | None, BaseException | None] = (call(), None)
        except BaseException as error:  # noqa: BLE001 - raised again where the answer is awaited
            outcome = (None, error)
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="otel-posthog-call", daemon=True).start()
    return await answer
