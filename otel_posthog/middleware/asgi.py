"""Types of the ASGI specification (version 3.0), for middleware that depends on no framework."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeVar

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_F = TypeVar("_F", bound=Callable[..., Awaitable[None]])

# A `send` of ours returns the server's own awaitable, so it is no coroutine function, while servers'
# ones are. Marked as one it passes for one where somebody asks: asgiref warns otherwise.
if sys.version_info >= (3, 12):
    from inspect import markcoroutinefunction

    as_coroutine_function = markcoroutinefunction
else:
    from asyncio import coroutines

    def as_coroutine_function(send: _F) -> _F:
        """Do what `inspect.markcoroutinefunction` does from Python 3.12 on."""
        send._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
        return send
