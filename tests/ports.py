"""Ports of the loopback address."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

FIRST, NUMBER = (
    10_000,
    22_000,
)  # below 32768, where systems begin to choose ports themselves


def free_port():
    """Return a port on which nothing listens now, and which no connection of others takes by chance."""
    while True:
        port = FIRST + secrets.randbelow(NUMBER)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
