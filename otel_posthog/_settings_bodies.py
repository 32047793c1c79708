"""Read what a PUT of the settings API brings, or refuse it with a sentence that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request

from .registry import Kind

MAX_BODY_BYTES = 4096
FLAGS = ("is_setup_completed", "enable_error_reporting", "enable_telemetry")
ANSWERS = ("agree", "decline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What an admin answers to a wider manifest."""

    agreed: tuple[Kind, ...]
    declined: tuple[Kind, ...]
    manifests: Mapping[Kind, str]
    """Hash of the manifest that the admin was shown."""


async def read_json(request: Request) -> object:
    """Return the body as data; raise HTTPException for one that is none, or too large."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with the header Content-Type: application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(422, "The body is not JSON.") from None


def checked_flags(body: object) -> dict[str, bool]:
    """Return the flags to change; raise HTTPException for anything else."""
    if not isinstance(body, dict):
        raise HTTPException(422, f"Send an object with any of {', '.join(FLAGS)}.")
    for name, value in body.items():
        if name not in FLAGS:
            raise HTTPException(422, f"There is no setting {name[:100]!r}. Known are {', '.join(FLAGS)}.")
        if not isinstance(value, bool):
            raise HTTPException(422, f"{name} must be true or false, not {type(value).__name__}.")
    return body


def checked_answers(body: object) -> Answers:
    """Return the answers; raise HTTPException for anything else."""
    if not isinstance(body, dict) or not body:
        raise HTTPException(422, f"Send an object with any of {', '.join(Kind)}.")
    chosen: dict[str, list[Kind]] = {answer: [] for answer in ANSWERS}
    manifests = {}
    for name, value in body.items():
        if name not in tuple(Kind):
            raise HTTPException(422, f"There is no kind {name[:100]!r}. Known are {', '.join(Kind)}.")
        match value:
            case {"answer": "agree" | "decline" as answer, "manifest": str(manifest)} if len(value) == 2:  # noqa: PLR2004 - these two and no more
                chosen[answer].append(Kind(name))
                manifests[Kind(name)] = manifest
            case _:
                raise HTTPException(
                    422, f'{name} must be {{"answer": "agree" or "decline", "manifest": the hash shown}}.'
                )
    return Answers(agreed=tuple(chosen["agree"]), declined=tuple(chosen["decline"]), manifests=manifests)
