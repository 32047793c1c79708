"""Workers as a product derives them from those of gunicorn and uvicorn."""

from __future__ import annotations

from gunicorn.workers.sync import SyncWorker
from uvicorn.workers import UvicornWorker


class OwnWorker(SyncWorker):
    """It serves WSGI."""


class OwnUvicornWorker(UvicornWorker):
    """It serves ASGI, by gunicorn's attribute for WSGI."""
