"""OTLP/HTTP as an ASGI application: who may send, how much, and what each answer means to a Collector."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from otel_posthog.config import Config

from .decoding import JSON, PROTOBUF, SIGNALS, RefusedError, Signal, failure, success
from .gateway import Gateway, retry_after_s
from .outlet import BusyError

_CLOSE = {"connection": "close"}  # what is left of the body is not read


def make_app(gateway: Gateway) -> Starlette:
    """Return the application; its lifespan starts and stops the gateway."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await run_in_threadpool(gateway.start)
        yield
        await run_in_threadpool(gateway.stop)

    door = _Door(gateway)
    routes = [Route(signal.path, partial(door.answer, signal), methods=["POST"]) for signal in SIGNALS]
    routes += [
        Route("/health", door.health),
        Route("/ready", door.ready),
        Route("/counts", door.counts),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def app_from_environment() -> Starlette:
    """Return the application of one worker process."""
    return make_app(Gateway(Config.resolve()))


class _Door:
    """Take requests in, so many at a time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._config = gateway.config
        self._places = gateway.config.gateway_max_requests

    async def answer(self, signal: Signal, request: Request) -> Response:
        """Answer one export request."""
        media_type = _media_type(request)
        try:
            self._check(request, media_type)
            rejected = await self._taken(signal, request, media_type)
        except RefusedError as error:
            self._gateway.counts.add(f"refused_{error.status}")
            headers = {**_CLOSE, "www-authenticate": "Bearer"} if error.status == 401 else _CLOSE  # noqa: PLR2004
            return _response(error.status, failure(media_type, str(error)), media_type, headers)
        except BusyError as busy:
            self._gateway.counts.add("turned_back")
            headers = {"retry-after": str(retry_after_s(busy)), **_CLOSE}
            return _response(503, failure(media_type, "not now"), media_type, headers)
        except ClientDisconnect:
            return Response(status_code=400)
        return _response(200, success(signal, media_type, rejected), media_type, {})

    async def health(self, _request: Request) -> Response:
        """Tell that the process is alive."""
        return Response(status_code=204)

    async def ready(self, _request: Request) -> Response:
        """Tell whether a request would be taken now."""
        return Response(status_code=204 if await run_in_threadpool(self._gateway.is_ready) else 503)

    async def counts(self, request: Request) -> Response:
        """Tell this worker's counters."""
        if not self._is_known(request):
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        return JSONResponse(self._gateway.counts.as_dict())

    def _check(self, request: Request, media_type: str) -> None:
        if not self._is_known(request):
            raise RefusedError(401, "the bearer token is wrong or absent")
        if media_type not in (PROTOBUF, JSON):
            raise RefusedError(415, f"content type is not {PROTOBUF} or {JSON}")
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._config.gateway_body_max_bytes:
            raise RefusedError(413, "the body is too large")

    def _is_known(self, request: Request) -> bool:
        token = self._config.gateway_token
        if token is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), token.encode())

    async def _taken(self, signal: Signal, request: Request, media_type: str) -> int:
        if self._places == 0:
            raise BusyError(0)
        self._places -= 1
        try:
            body = await self._body(request)
            encoding = request.headers.get("content-encoding", "").strip().lower()
            take = partial(self._gateway.take, signal, body, media_type=media_type, encoding=encoding)
            return await run_in_threadpool(take)
        finally:
            self._places += 1

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


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _response(status: int, body: bytes, media_type: str, headers: dict[str, str]) -> Response:
    shown = JSON if media_type == JSON else PROTOBUF
    return Response(body, status_code=status, headers=headers, media_type=shown)
