"""Source lines that travel with an exception, for a mapping that has not the files."""

from __future__ import annotations

import json

from otel_posthog.scrubbing import Scrubber
from otel_posthog.tracebacks import MAX_NOTE_CHARS

from .exceptions import chain_of, scrubbed_message
from .frames import frame_of

MAX_FRAMES = 200  # of one record; with eleven lines each at most half a megabyte


def with_source_lines(chain: str, scrubber: Scrubber) -> str:
    """Return the text of a chain with scrubbed messages and, for its first frames, scrubbed source lines.

    Reads files through `linecache`, so call it on the exporter's thread, in the program itself.
    """
    entries, left = [], MAX_FRAMES
    for entry in chain_of(chain):
        frames = entry.get("frames")
        frames = frames if isinstance(frames, list) else []
        shown = [_with_lines(frame, scrubber) for frame in frames[:left]]
        left -= len(shown)
        message = scrubbed_message(str(entry.get("value") or ""), scrubber)
        told = {**entry, "value": message, "frames": [*shown, *frames[len(shown) :]]}
        if isinstance(notes := entry.get("notes"), list):
            told["notes"] = [scrubbed_message(str(note), scrubber, MAX_NOTE_CHARS) for note in notes]
        entries.append(told)
    return json.dumps(entries, separators=(",", ":"))


def _with_lines(frame: object, scrubber: Scrubber) -> object:
    match frame:
        case [str(filename), int(lineno), str(function), str(module)]:
            made = frame_of(filename, lineno, function, module, scrubber)
            if "context_line" in made:
                return [*frame, made["pre_context"], made["context_line"], made["post_context"]]
    return frame
