"""The OpenAPI document of the settings API."""

from __future__ import annotations

from importlib.metadata import version

_FLAGS = {
    "is_setup_completed": "The first-run wizard has been answered.",
    "enable_error_reporting": "Error reports may leave.",
    "enable_telemetry": "Product events and the daily heartbeat may leave.",
}


def document(root_path: str) -> dict[str, object]:
    """Return the document for an API that is mounted there."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Telemetry settings",
            "version": version("otel-posthog"),
            "description": "What an admin has allowed to leave this installation.",
        },
        "servers": [{"url": root_path or "/"}],
        "paths": {
            "/telemetry-status": {"get": _STATUS},
            "/system": {"get": _READ, "put": _CHANGE},
            "/trigger-test-exception": {"post": _TEST},
        },
        "components": {"schemas": {"System": _system(), "Change": _change(), "Problem": _PROBLEM}},
    }


def _answer(description: str, schema: object) -> dict[str, object]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, object]:
    return _answer(description, {"$ref": "#/components/schemas/Problem"})


def _system() -> dict[str, object]:
    return {
        "type": "object",
        "properties": {name: {"type": "boolean", "description": text} for name, text in _FLAGS.items()},
        "required": list(_FLAGS),
        "additionalProperties": False,
    }


def _change() -> dict[str, object]:
    return {key: value for key, value in _system().items() if key != "required"}


_PROBLEM: dict[str, object] = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}
_REFUSED = _problem("The authorize hook of the host application refuses the caller.")
_UNAVAILABLE = _problem("The database cannot be read or written; nothing was changed.")
_SYSTEM_ANSWER = _answer("The three flags.", {"$ref": "#/components/schemas/System"})

_STATUS: dict[str, object] = {
    "operationId": "getTelemetryStatus",
    "summary": "Whether a front end may report errors; needs no login",
    "responses": {
        "200": _answer(
            "The key is given only while error reporting is on.",
            {
                "type": "object",
                "properties": {
                    "enable_error_reporting": {"type": "boolean"},
                    "posthog_api_key": {"type": ["string", "null"]},
                    "posthog_host": {"type": "string"},
                },
                "required": ["enable_error_reporting", "posthog_api_key", "posthog_host"],
                "additionalProperties": False,
            },
        )
    },
}
_READ: dict[str, object] = {
    "operationId": "getSystemSettings",
    "summary": "The three flags, for admins",
    "responses": {"200": _SYSTEM_ANSWER, "403": _REFUSED, "503": _UNAVAILABLE},
}
_CHANGE: dict[str, object] = {
    "operationId": "changeSystemSettings",
    "summary": "Change any of the three flags, for admins; a withdrawal takes effect at once",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}},
    },
    "responses": {
        "200": _SYSTEM_ANSWER,
        "403": _REFUSED,
        "413": _problem("The body is too large."),
        "415": _problem("The body is not declared as JSON."),
        "422": _problem("An unknown field or a wrong type; nothing was changed."),
        "503": _UNAVAILABLE,
    },
}
_TEST: dict[str, object] = {
    "operationId": "triggerTestException",
    "summary": "Report a test exception, in development and for logged-in users",
    "responses": {
        "200": _answer(
            "Whether consent lets it leave.",
            {
                "type": "object",
                "properties": {"is_reported": {"type": "boolean"}},
                "required": ["is_reported"],
                "additionalProperties": False,
            },
        ),
        "403": _REFUSED,
        "404": _problem("Not in development."),
    },
}
