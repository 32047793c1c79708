"""Callables of ASGI and WSGI without a framework, which import nothing of ours."""

from __future__ import annotations


async def app(scope, receive, send):
    """Answer, or fail."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/fail":
        raise LookupError("of a bare callable")
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"fine"})


def app_of_wsgi(environ, start_response):
    """Answer, or fail."""
    if environ["PATH_INFO"] == "/fail":
        raise LookupError("of a bare callable")
    start_response("200 OK", [("content-length", "4")])
    return [b"fine"]
