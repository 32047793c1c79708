"""Say in one sentence what went wrong in the database, and in a second what to do.

Messages hold neither password nor SQL parameters: the URL is shown without its query and password.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import DBAPIError

from otel_posthog.errors import StoreError

from .schema import TABLE_NAME

if TYPE_CHECKING:
    from sqlalchemy import URL

_MIGRATE = "Call create() or run the migration of docs/database.md."
_OTHERWISE = "Check that the database is running and that the URL is right."


class AbsentError(StoreError):
    """Raised when there is no database file, or no table, yet."""


class BadRowError(ValueError):
    """Raised when a column holds what it must not; the message names the column and the remedy."""


class _Known(NamedTuple):
    """A known failure: by PostgreSQL's SQLSTATE, or by a part of SQLite's text."""

    codes: tuple[str, ...]
    texts: tuple[str, ...]
    advice: str


_ABSENT = _Known(("42P01",), ("no such table",), _MIGRATE)
_KNOWN = (
    _ABSENT,
    _Known(
        ("42703",),
        ("no such column", "has no column named"),
        "The table is the product's own and lacks our columns: run the migration of docs/database.md.",
    ),
    _Known(
        ("55P03", "57014"),
        ("database is locked", "table is locked"),
        "Another connection holds a lock: end it, or raise timeout_s.",
    ),
    _Known(
        ("25006", "42501"),
        ("readonly database",),
        "Give this user the permissions of docs/database.md, or make the file writable.",
    ),
    _Known(
        ("28P01", "28000"),
        ("password authentication",),
        "Correct user and password in the URL.",
    ),
    _Known(("3D000",), ('FATAL:  database "',), "Create the database first."),
    _Known(("23502",), ("NOT NULL constraint",), "Give the product's own columns a server default."),
    _Known((), ("not a database", "malformed"), "Restore the file from a backup."),
)


def failure(error: Exception, doing: str, url: URL, *, table: str = TABLE_NAME) -> StoreError:
    """Return the error to raise in its place."""
    if isinstance(error, BadRowError):
        return StoreError(f"cannot {doing} {table} in {shown(url)}: {error}")
    code, reason = _told_by_driver(error)
    known = next((k for k in _KNOWN if code in k.codes or any(t in reason for t in k.texts)), None)
    kind = AbsentError if known is _ABSENT else StoreError
    advice = known.advice if known else _OTHERWISE
    message = f"cannot {doing} {table} in {shown(url)}: {_without_password(reason, url)}. {advice}"
    return kind(message)


def shown(url: URL) -> str:
    """Return the URL as text that may be logged."""
    return url.set(query={}).render_as_string(hide_password=True)


def _told_by_driver(error: BaseException) -> tuple[str | None, str]:
    """Return SQLSTATE, if any, and the first line of what the driver said."""
    told: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        told = error.orig.__cause__ or error.orig  # SQLAlchemy's asyncpg adapter wraps once more
    code = getattr(told, "sqlstate", None)
    lines = str(told).strip().splitlines()
    return code, lines[0].rstrip(" .:") if lines else type(told).__name__


def _without_password(reason: str, url: URL) -> str:
    password = str(url.password or "")
    return reason.replace(password, "***") if password else reason
