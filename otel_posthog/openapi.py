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
            "/consent": {"get": _STATE, "put": _ANSWER},
            "/consent-audit": {"get": _AUDIT},
            "/telemetry-preview": {"get": _PREVIEW},
            "/trigger-test-exception": {"post": _TEST},
        },
        "components": {
            "schemas": {
                "System": _system(),
                "Change": _change(),
                "Consent": _by_kind(_KIND, required=True),
                "Question": _QUESTION,
                "Answers": {**_by_kind(_ONE_ANSWER, required=False), "minProperties": 1},
                "Problem": _PROBLEM,
            }
        },
    }


def _answer(description: str, schema: object) -> dict[str, object]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(description: str) -> dict[str, object]:
    return _answer(description, {"$ref": "#/components/schemas/Problem"})


def _flags() -> dict[str, object]:
    return {name: {"type": "boolean", "description": text} for name, text in _FLAGS.items()}


def _system() -> dict[str, object]:
    question = {
        **_by_kind({"$ref": "#/components/schemas/Question"}, required=False),
        "description": "There only while this version asks for more than was agreed to.",
    }
    return {
        "type": "object",
        "properties": {**_flags(), "consent_question": question},
        "required": list(_FLAGS),
        "additionalProperties": False,
    }


def _change() -> dict[str, object]:
    return {"type": "object", "properties": _flags(), "additionalProperties": False}


def _by_kind(schema: object, *, required: bool) -> dict[str, object]:
    kinds = ["errors", "telemetry"]
    return {
        "type": "object",
        "properties": dict.fromkeys(kinds, schema),
        "required": kinds if required else [],
        "additionalProperties": False,
    }


_HASH: dict[str, object] = {"type": "string", "description": "SHA-256 of a manifest, in hex."}
_REASONS = ["undecided", "declined", "env", "store_unreadable", "expired", "granted"]
_QUESTION: dict[str, object] = {
    "type": "object",
    "properties": {
        "manifest": _HASH,
        "changes": {
            "type": "array",
            "description": "Just the difference to what was agreed to.",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("effect", "event", "property", "text")},
                "required": ["effect", "event", "property", "text"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["manifest", "changes"],
    "additionalProperties": False,
}
_KIND: dict[str, object] = {
    "type": "object",
    "properties": {
        "is_sending": {"type": "boolean"},
        "reason": {"enum": _REASONS},
        "has_key": {"type": "boolean", "description": "Whether a project API key is set."},
        "granted_manifest": {"anyOf": [_HASH, {"type": "null"}]},
        "present_manifest": _HASH,
        "question": {"anyOf": [{"$ref": "#/components/schemas/Question"}, {"type": "null"}]},
    },
    "required": ["is_sending", "reason", "has_key", "granted_manifest", "present_manifest", "question"],
    "additionalProperties": False,
}
_ONE_ANSWER: dict[str, object] = {
    "type": "object",
    "properties": {"answer": {"enum": ["agree", "decline"]}, "manifest": _HASH},
    "required": ["answer", "manifest"],
    "additionalProperties": False,
}
_PROBLEM: dict[str, object] = {
    "type": "object",
    "properties": {"detail": {"type": "string"}},
    "required": ["detail"],
}
_REFUSED = _problem("The authorize hook of the host application refuses the caller.")
_UNAVAILABLE = _problem("The database cannot be read or written; nothing was changed.")
_SYSTEM_ANSWER = _answer("The three flags.", {"$ref": "#/components/schemas/System"})
_CONSENT_ANSWER = _answer("The effective state of each kind.", {"$ref": "#/components/schemas/Consent"})

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
_STATE: dict[str, object] = {
    "operationId": "getConsent",
    "summary": "What is sent and why, and what this version asks for, for admins",
    "responses": {"200": _CONSENT_ANSWER, "403": _REFUSED, "503": _UNAVAILABLE},
}
_ANSWER: dict[str, object] = {
    "operationId": "answerConsentQuestion",
    "summary": "Agree to what this version asks for, or decline just that, for admins",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answers"}}},
    },
    "responses": {
        "200": _CONSENT_ANSWER,
        "403": _REFUSED,
        "409": _problem("The kind is off, or asks for another manifest by now; nothing was changed."),
        "413": _problem("The body is too large."),
        "415": _problem("The body is not declared as JSON."),
        "422": _problem("An unknown kind or answer; nothing was changed."),
        "503": _UNAVAILABLE,
    },
}
_AUDIT: dict[str, object] = {
    "operationId": "getConsentAudit",
    "summary": "Who changed the decision and when, oldest first, for admins",
    "parameters": [
        {
            "name": "after",
            "in": "query",
            "description": "Id of the last entry known; 1000 entries come at most.",
            "schema": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        }
    ],
    "responses": {
        "200": _answer(
            "Each change with the state before and after it.",
            {
                "type": "object",
                "properties": {"entries": {"type": "array", "items": {"type": "object"}}},
                "required": ["entries"],
                "additionalProperties": False,
            },
        ),
        "403": _REFUSED,
        "422": _problem("after is no id."),
        "503": _UNAVAILABLE,
    },
}
_PARTS = ("waiting", "heartbeat", "samples")
_PREVIEW: dict[str, object] = {
    "operationId": "getTelemetryPreview",
    "summary": "What would be sent now, though nothing is, for admins",
    "responses": {
        "200": _answer(
            "Requests with address, headers and body; the key is masked.",
            {
                "type": "object",
                "properties": {
                    "status": {"$ref": "#/components/schemas/Consent"},
                    **{part: {"type": "array", "items": {"type": "object"}} for part in _PARTS},
                    "next": {"type": "object"},
                    "added_by_receiver": {"type": "object"},
                },
                "required": ["status", *_PARTS, "next", "added_by_receiver"],
                "additionalProperties": False,
            },
        ),
        "403": _REFUSED,
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
