"""The product in Django, served by its ASGI handler."""

from __future__ import annotations

from io import BytesIO

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, HttpResponseServerError, StreamingHttpResponse
from django.urls import path
from django.utils.decorators import async_only_middleware

from .behaviours import CAUSED, SOCKETS
from .faults import (
    FAULTS,
    Answered418,
    Answered500,
    Answered503,
    HTTPError,
    failing_stream,
    failing_sync_stream,
    fault,
    long_stream,
    raise_http_error,
    stillborn_stream,
    swallow,
    work_on_thread,
)

LACKS = {
    "/raise/answered_with_500": "announces no exception that a middleware answers, see test_blind_spots.py",
    "/background": "no background tasks",
    "/background_in_thread": "no background tasks",
    "/dependency_before_view": "no dependencies",
    "/dependency_before_answer": "no dependencies",
    "/dependency_after_answer": "no dependencies",
    "/mounted/unhandled": "no mounts",
    "/mounted/answered_with_500": "no mounts",
}
LACKS |= dict.fromkeys(
    (
        "/http/502_while_handling",
        "/http/503_from_error",
        "/http/500_from_none",
        "/http/503_from_none",
        "/http/404_from_error",
    ),
    "no HTTP errors: what is raised is unhandled",
)
LACKS |= dict.fromkeys([socket.path for socket in SOCKETS] + ["/socket/left"], "no WebSockets")
REPORTED_AS = {path: ("HTTPError", f"status {path[6:9]}") for path in CAUSED}
_STATUS_OF = {Answered500: 500, Answered418: 418, Answered503: 503}


@async_only_middleware
def answer_by_type(get_response):
    """Answer exceptions of some types, as Django's `process_exception` lets a middleware do."""

    async def middleware(request):
        return await get_response(request)

    middleware.process_exception = _answer
    return middleware


async def _answer(_request, error):
    status = _STATUS_OF.get(type(error))
    return None if status is None else HttpResponse("answered", status=status)


async def _raise_fault(_request, name):
    raise FAULTS[name]()  # noqa: RSE102 - makes the exception


async def _fail(_request, name):
    raise fault(name)


async def _fail_by_http_error(_request, name):
    raise_http_error(name, HTTPError)


def _thread(_request):
    work_on_thread()


async def _swallowed(_request):
    return HttpResponse(swallow())


async def _swallowed_then_500(_request):
    return HttpResponse(swallow(), status=500)


async def _forbidden(_request):
    raise PermissionDenied


def _answering(make):
    async def view(_request):
        return make()

    return view


urlpatterns = [
    path("raise/<name>", _raise_fault),
    path("fail/<name>", _fail),
    path("http/<name>", _fail_by_http_error),
    path("thread", _thread),
    path("read", _answering(HttpResponse)),
    path("fine", _answering(lambda: HttpResponse("fine"))),
    path("forbidden", _forbidden),
    path("deliberate_500", _answering(lambda: HttpResponseServerError("on purpose"))),
    path("deliberate_503", _answering(lambda: HttpResponse(status=503))),
    path("plain_500", _answering(lambda: HttpResponse(status=500))),
    path("swallowed", _swallowed),
    path("swallowed_then_500", _swallowed_then_500),
    path("stream", _answering(lambda: StreamingHttpResponse(failing_stream()))),
    path("sync_stream", _answering(lambda: StreamingHttpResponse(failing_sync_stream()))),
    path("stillborn_stream", _answering(lambda: StreamingHttpResponse(stillborn_stream()))),
    path("long_stream", _answering(lambda: StreamingHttpResponse(long_stream()))),
]


class Handler(ASGIHandler):
    """Django without the temporary file, which it leaves open where an exception propagates."""

    async def read_body(self, receive):
        """Return the body in memory."""
        with await super().read_body(receive) as body:
            return BytesIO(body.read())


class WithErrorPage(Handler):
    """Django with a `handler500` that answers with this status."""

    def __init__(self, status):
        super().__init__()

        class Pages:
            urlpatterns = globals()["urlpatterns"]
            handler500 = staticmethod(lambda _request: HttpResponse("a page", status=status))

        self._pages = Pages

    def create_request(self, scope, body_file):
        """Let the request be served by these URLs."""
        request, refusal = super().create_request(scope, body_file)
        if request is not None:
            request.urlconf = self._pages
        return request, refusal


if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[f"{__name__}.answer_by_type"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="of a test",
    )
    django.setup()

app = Handler()
app_with_own_500 = WithErrorPage(500)
