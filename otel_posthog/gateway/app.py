"""Serve OTLP/HTTP as an ASGI application: authentication, limits and status codes."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_posthog.config.settings import Config

from .decoding import JSON, PROTOBUF, SIGNALS, RefusedError, Signal, failure, success
from .delivery import BusyError
from .gateway import Gateway

_CLOSE = {"connection": "close"}  # the rest of the body is not read


def make_app(gateway: Gateway) -> Starlette:
    """Return the application; its lifespan starts and stops the gateway."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(gateway.start)
        yield
        await run_in_threadpool(gateway.stop)

    endpoints = _Endpoints(gateway)
    routes = [Route(signal.path, partial(endpoints.export, signal), methods=["POST"]) for signal in SIGNALS]
    routes += [
        Route("/health", endpoints.health),
        Route("/ready", endpoints.ready),
        Route("/counts", endpoints.counts),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def app_from_environment() -> Starlette:
    """Return the application of one worker process."""
    return make_app(Gateway(Config.resolve()))


class _Endpoints:
    """Answer requests, `gateway_max_requests` of them at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._config = gateway.config
        # Changed on the event loop only, so it needs no lock.
        self._free = gateway.config.gateway_max_requests

    async def export(self, signal: Signal, request: Request) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            # Before the body is read: what is refused by its headers costs no memory.
            self._check(request, media_type)
            rejected = await self._accepted(signal, request, media_type)
        except RefusedError as error:
            self._gateway.counts.add(f"refused_{error.status}")
            headers = {**_CLOSE, "www-authenticate": "Bearer"} if error.status == 401 else _CLOSE  # noqa: PLR2004
            return _response(error.status, failure(media_type, str(error)), media_type, headers)
        except BusyError as busy:
            self._gateway.counts.add("turned_back")
            headers = {"retry-after": str(max(1, math.ceil(busy.pause_s))), **_CLOSE}
            return _response(503, failure(media_type, "not now"), media_type, headers)
        except ClientDisconnect:
            return Response(status_code=400)
        return _response(200, success(signal, media_type, rejected), media_type, {})

    async def health(self, _request: Request) -> Response:
        """Answer 204: the process is alive."""
        return Response(status_code=204)

    async def ready(self, _request: Request) -> Response:
        """Answer 204 if a request would be accepted now, else 503."""
        return Response(status_code=204 if await run_in_threadpool(self._gateway.is_ready) else 503)

    async def counts(self, request: Request) -> Response:
        """Answer with this worker's counters."""
        if not self._is_authorized(request):
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        return JSONResponse(self._gateway.counts.as_dict())

    def _check(self, request: Request, media_type: str) -> None:
        if not self._is_authorized(request):
            raise RefusedError(401, "the bearer token is wrong or absent")
        if media_type not in (PROTOBUF, JSON):
            raise RefusedError(415, f"content type is not {PROTOBUF} or {JSON}")
        # A chunked body announces nothing; `_body` counts what arrives.
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._config.gateway_body_max_bytes:
            raise RefusedError(413, "the body is too large")

    def _is_authorized(self, request: Request) -> bool:
        token = self._config.gateway_token
        if token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # In constant time, which does not reveal how much of a guess is right.
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())

    async def _accepted(self, signal: Signal, request: Request, media_type: str) -> int:
        # Refused, not queued: Collectors have queues, and bodies that wait here would fill memory.
        if self._free == 0:
            raise BusyError(0)
        self._free -= 1
        try:
            body = await self._body(request)
            encoding = request.headers.get("content-encoding", "").strip().lower()
            accept = partial(self._gateway.accept, signal, body, media_type=media_type, encoding=encoding)
            return await run_in_threadpool(accept)
        finally:
            self._free += 1

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._config.gateway_read_timeout_s):
                async for part in request.stream():
                    body += part
                    if len(body) > self._config.gateway_body_max_bytes:
                        raise RefusedError(413, "the body is too large")
        except TimeoutError:
            raise BusyError(0) from None
        return bytes(body)


def _response(status: int, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    shown = JSON if media_type == JSON else PROTOBUF
    return Response(body, status_code=status, headers=headers, media_type=shown)
