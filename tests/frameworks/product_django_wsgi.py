"""The product in Django, served by its WSGI handler."""

from __future__ import annotations

from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path

from . import product_django
from .faults import CHUNK, failing_sync_stream, fault, stillborn_sync_stream

REPORTED_AS = product_django.REPORTED_AS
LACKS = {
    "/raise/answered_with_500": product_django.LACKS["/raise/answered_with_500"],
    "/raise/cancelled": "gets a cancellation of the loop that it runs an asynchronous view in",
    "/raise/cancelled_group": "the same",
    "/raise/mixed_group": "the same",
    **{path: why for path, why in product_django.LACKS.items() if path.startswith("/http/")},
    "/mounted/unhandled": "no mounts",
    "/mounted/answered_with_500": "no mounts",
}


def _fail(_request, **values):
    raise fault(" of ".join(map(str, values.values())))


def _read(request):
    return HttpResponse(request.body)


def _streaming(make):
    return lambda _request: StreamingHttpResponse(make())


class Urls:
    """The URLs of both handlers, with those of WSGI before them."""

    urlpatterns = (
        path("read", _read),
        path("fail/<name>", _fail),
        path("sync_stream", _streaming(failing_sync_stream)),
        path("stillborn_stream", _streaming(stillborn_sync_stream)),
        path("parts", _streaming(lambda: iter([CHUNK, CHUNK]))),
        path("number/", include([re_path(r"^(?P<number>[0-9]+)/of/(?P<place>.+)$", _fail)])),
        *product_django.urlpatterns,
    )


class Handler(WSGIHandler):
    """What `get_wsgi_application` returns, with these URLs: the settings are the process's, and ASGI's."""

    def get_response(self, request):
        """Let the request be served by these URLs."""
        request.urlconf = Urls
        return super().get_response(request)


app = Handler()
