"""Call a WSGI application in this process, as a server would, and keep what it answered."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from wsgiref.util import setup_testing_defaults


class ClientGone(OSError):  # noqa: N818 - servers name theirs in such a way
    """What reading and writing raise once the client has left."""


class Input(io.BytesIO):
    """The body of a request; with `leaves` the client is gone before it ends."""

    def __init__(self, body, *, leaves):
        super().__init__(body)
        self._leaves = leaves

    def read(self, size=-1):
        """Return a part of the body."""
        if self._leaves:
            raise ClientGone("the client has left")
        return super().read(size)


@dataclass(kw_only=True)
class Answer:
    """What an application sent, and what it raised to the server."""

    statuses: list[str]
    headers: list[tuple[str, str]]
    body: list[bytes]
    returned: object = None
    raised: BaseException | None = None

    @property
    def status(self):
        """Return the code of the last status, None without an answer."""
        return int(self.statuses[-1][:3]) if self.statuses else None

    def header(self, name):
        """Return the values of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def get(app, path, *, leaves=False, writable=None, parts=None, **more):
    """Run one GET request; the server takes so many `parts` of the body, and `write` so many calls."""
    answer = Answer(statuses=[], headers=[], body=[])
    environ = {
        "PATH_INFO": path,
        "HTTP_HOST": "installation.example",
        "wsgi.input": Input(b"half", leaves=leaves),
    }
    environ |= {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        **more,
    }
    if leaves:
        environ["CONTENT_LENGTH"] = "8"
    setup_testing_defaults(environ)

    def write(data):
        if writable is not None and len(answer.body) >= writable:
            raise ClientGone("the client has left")
        answer.body.append(data)

    def start_response(status, headers, exc_info=None):
        if exc_info and answer.body:
            raise exc_info[1].with_traceback(exc_info[2])
        answer.statuses.append(status)
        answer.headers = headers
        return write

    try:
        answer.returned = app(environ, start_response)
        try:
            for number, part in enumerate(answer.returned):
                if number == parts:
                    break
                answer.body.append(part)
        finally:
            if hasattr(answer.returned, "close"):
                answer.returned.close()
    except BaseException as error:  # noqa: BLE001 - a server survives everything
        answer.raised = error
    assert sys.exception() is None
    return answer
