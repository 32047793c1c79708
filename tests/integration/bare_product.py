"""A callable without a framework, which imports nothing of ours."""

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
