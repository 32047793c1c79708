"""Check `$exception` events by the rules of PostHog's error tracking, as in `event_checks`."""

from __future__ import annotations

from collections.abc import Iterator

from otel_posthog.testing.submission import properties

# Limits of PostHog's error tracking; the rows in rules.py name the files that hold them.
MAX_VALUE_BYTES = 10_000
MAX_TYPE_BYTES = 255
MAX_CONTEXT_CHARACTERS = 300
MAX_U32 = 2**32 - 1
MIN_I32, MAX_I32 = -(2**31), 2**31 - 1
PLATFORMS = frozenset(
    {
        "python", "ruby", "web:javascript", "node:javascript", "go", "php", "hermes", "java", "dart",
        "apple", "native", "rust", "custom", "javascript",
    }
)  # fmt: skip
JAVASCRIPT = ("web:javascript", "javascript")

Event = dict[str, object]
Json = dict[str, object]


def list_missing(event: Event) -> str | None:
    if not _is_exception(event):
        return None
    exceptions = properties(event).get("$exception_list")
    if exceptions is None or exceptions == []:
        return "$exception_list is missing or empty"
    return None


def list_malformed(event: Event) -> str | None:
    exceptions = properties(event).get("$exception_list")
    if not _is_exception(event) or exceptions is None:
        return None
    if not isinstance(exceptions, list):
        return "$exception_list is no list"
    details = (_exception_problem(f"exception {i}", item) for i, item in enumerate(exceptions))
    return next(filter(None, details), None)


def thread_id_too_large(event: Event) -> str | None:
    for where, exception in _exceptions(event):
        value = exception.get("thread_id")
        if value is not None and not _is_int(value, MIN_I32, MAX_I32):
            return f"{where}: thread_id is {value!r}"
    return None


def platform_unknown(event: Event) -> str | None:
    for where, frame in _frames(event):
        platform = frame.get("platform")
        if not isinstance(platform, str) or platform not in PLATFORMS:
            return f"{where}: platform is {platform!r}"
    return None


def frame_malformed(event: Event) -> str | None:
    for where, frame in _frames(event):
        if detail := _frame_problem(frame):
            return f"{where}: {detail}"
    return None


def value_too_long(event: Event) -> str | None:
    for where, exception in _exceptions(event):
        for field, limit_bytes in (("value", MAX_VALUE_BYTES), ("type", MAX_TYPE_BYTES)):
            value = exception.get(field)
            size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else 0
            if size > limit_bytes:
                return f"{where}: {field} has {size} bytes, {limit_bytes} fit"
    return None


def context_too_long(event: Event) -> str | None:
    for where, frame in _frames(event):
        around = (*_list(frame.get("pre_context")), *_list(frame.get("post_context")))
        lines = [frame.get("context_line"), *around]
        longest = max((len(line) for line in lines if isinstance(line, str)), default=0)
        if longest > MAX_CONTEXT_CHARACTERS:
            return f"{where}: a line of {longest} characters, {MAX_CONTEXT_CHARACTERS} fit"
    return None


def list_reversed(event: Event) -> str | None:
    is_python_sdk = properties(event).get("$lib") == "posthog-python"
    count = sum(1 for _ in _exceptions(event))
    return f"{count} exceptions and $lib posthog-python" if is_python_sdk and count > 1 else None


def _is_exception(event: Event) -> bool:
    return event.get("event") == "$exception"


def _exceptions(event: Event) -> Iterator[tuple[str, Json]]:
    if not _is_exception(event):
        return
    for index, item in enumerate(_list(properties(event).get("$exception_list"))):
        if isinstance(item, dict):
            yield f"exception {index}", item


def _frames(event: Event) -> Iterator[tuple[str, Json]]:
    for where, exception in _exceptions(event):
        stacktrace = exception.get("stacktrace")
        if not isinstance(stacktrace, dict) or stacktrace.get("type") != "raw":
            continue
        for index, frame in enumerate(_list(stacktrace.get("frames"))):
            if isinstance(frame, dict):
                yield f"{where}, frame {index}", frame


def _exception_problem(where: str, exception: object) -> str | None:
    if not isinstance(exception, dict):
        return f"{where} is no object"
    if not isinstance(exception.get("type"), str):
        return f"{where}: type is no text"
    if not isinstance(exception.get("value", ""), str):
        return f"{where}: value is no text"
    if not isinstance(exception.get("module"), str | None):
        return f"{where}: module is no text"
    detail = _mechanism_problem(exception.get("mechanism")) or _stack_problem(exception.get("stacktrace"))
    return f"{where}: {detail}" if detail else None


def _mechanism_problem(mechanism: object) -> str | None:
    if mechanism is None:
        return None
    if not isinstance(mechanism, dict):
        return "mechanism is no object"
    kinds = {"handled": bool, "synthetic": bool, "type": str, "source": str}
    for field, kind in kinds.items():
        if not isinstance(mechanism.get(field), kind | None):
            return f"mechanism.{field} is no {'boolean' if kind is bool else 'text'}"
    return None


def _stack_problem(stacktrace: object) -> str | None:
    if stacktrace is None:
        return None
    if not isinstance(stacktrace, dict) or stacktrace.get("type") not in ("raw", "resolved"):
        return "stacktrace.type is neither raw nor resolved"
    frames = stacktrace.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        return "stacktrace.frames is no list of objects"
    return None


def _frame_problem(frame: Json) -> str | None:
    for field in ("in_app", "synthetic"):
        if not isinstance(frame.get(field, False), bool):
            return f"{field} is no boolean"
    if frame.get("platform") in JAVASCRIPT:
        return _text_problem(frame, required=("function",), optional=("filename",))
    if frame.get("platform") == "python":
        required, optional = ("filename", "function"), ("abs_path", "context_line", "module")
        return _text_problem(frame, required=required, optional=optional) or _lines_problem(frame)
    return None


def _lines_problem(frame: Json) -> str | None:
    if frame.get("lineno") is not None and not _is_int(frame["lineno"], 0, MAX_U32):
        return f"lineno is {frame['lineno']!r}"
    for field in ("pre_context", "post_context"):
        lines = frame.get(field, [])
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            return f"{field} is no list of texts"
    return None


def _text_problem(frame: Json, *, required: tuple[str, ...], optional: tuple[str, ...]) -> str | None:
    fields = (*required, *(field for field in optional if frame.get(field) is not None))
    return next((f"{field} is no text" for field in fields if not isinstance(frame.get(field), str)), None)


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
