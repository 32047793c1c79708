"""Check database URLs, and turn database errors into messages with advice.

A checked URL names its driver, and its SQLite path is absolute. Messages contain neither passwords nor
SQL parameters: a URL is shown without its query and password.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from otel_posthog.errors import ConfigError, MissingExtraError, StoreError

from .schema import TABLE_NAME

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine


_MIGRATE = "Call create() or run the migration of docs/database.md."
_OTHERWISE = "Check that the database is running and that the URL is right."


class AbsentError(StoreError):
    """Raised when the database file or a table does not exist yet."""


class BadRowError(ValueError):
    """Raised for a bad value in a column; the message names the column and the remedy."""


class ReplicaError(ValueError):
    """Raised for a PostgreSQL server in recovery, which may learn of a withdrawal late."""

    def __init__(self) -> None:
        super().__init__(
            "this server is a replica, and may not know of a withdrawal yet. Give the primary's address, or "
            "those of both with target_session_attrs=read-write."
        )


# Known failures: by PostgreSQL's SQLSTATE, or by a part of SQLite's text.
_KNOWN: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("42P01",), ("no such table",), _MIGRATE),
    (
        ("42703",),
        ("no such column", "has no column named"),
        "The table lacks our columns: run the migration of docs/database.md, or name another database.",
    ),
    (
        ("55P03", "57014"),
        ("database is locked", "table is locked"),
        "Another connection holds a lock: end it, or raise timeout_s.",
    ),
    (
        ("25006", "42501"),
        ("readonly database",),
        "Give this user the permissions of docs/database.md, or make the file writable.",
    ),
    (("28P01", "28000"), ("password authentication",), "Correct user and password in the URL."),
    (("3D000",), ('FATAL:  database "',), "Create the database first."),
    (("23502",), ("NOT NULL constraint",), "Give the product's own columns a server default."),
    ((), ("not a database", "malformed"), "Restore the file from a backup."),
)


_EXCHANGED = frozenset(
    {"26000", "42P05"}
)  # a prepared statement that is unknown there, or was made by another


def store_error(error: Exception, doing: str, url: URL, *, table: str = TABLE_NAME) -> StoreError:
    """Return the error to raise instead, with advice."""
    if isinstance(error, BadRowError | ReplicaError):
        return StoreError(f"cannot {doing} {table} in {shown(url)}: {error}")
    code, reason = _driver_message(error)
    advice = _OTHERWISE
    for codes, texts, known_advice in _KNOWN:
        if code in codes or any(text in reason for text in texts):
            advice = known_advice
            break
    if url.password:
        reason = reason.replace(str(url.password), "***")
    message = f"cannot {doing} {table} in {shown(url)}: {reason}. {advice}"
    return AbsentError(message) if advice is _MIGRATE else StoreError(message)


def is_lost_on_the_way(error: DBAPIError) -> bool:
    """Return whether a new connection may succeed: this one has ended, or a pooler has exchanged it."""
    return error.connection_invalidated or _driver_message(error)[0] in _EXCHANGED


def shown(url: URL) -> str:
    """Return the URL as text that may be logged."""
    return url.set(query={}).render_as_string(hide_password=True)


def _driver_message(error: BaseException) -> tuple[str | None, str]:
    """Return the SQLSTATE, if any, and the first line of the driver's message."""
    original: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        original = error.orig.__cause__ or error.orig  # SQLAlchemy's asyncpg adapter wraps once more
    code = getattr(original, "sqlstate", None)
    lines = str(original).strip().splitlines()
    return code, lines[0].rstrip(" .:") if lines else type(original).__name__


_EXTRAS = {"aiosqlite": "aiosqlite", "asyncpg": "asyncpg", "psycopg": "postgresql"}
_PLAIN_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg_async"})
_EXPECTED = "Expected for example sqlite:///data/app.db or postgresql://user@host/name."

DatabaseSource: TypeAlias = "str | URL | Engine | AsyncEngine"  # as text: AsyncEngine costs the ORM
"""A URL, or an engine that the product already has."""


def engine_of(database: object) -> Engine | None:
    """Return the engine to work with, None if only the URL counts; raise `ConfigError` for other objects."""
    if isinstance(database, Engine):
        return database
    if isinstance(database, str | URL) or hasattr(database, "sync_engine"):
        return None
    # A wrapper passes this call on to the engine, whose answer is SQLAlchemy's own class.
    options = getattr(database, "execution_options", None)
    engine = options() if callable(options) else None
    if isinstance(engine, Engine):
        return engine
    raise ConfigError(
        f"database is a {type(database).__name__}, not a URL, Engine or AsyncEngine. Give the engine that it "
        "uses; a session's or sessionmaker's is its bind."
    )


def usable_url(database: DatabaseSource) -> URL:
    """Return the URL with its driver and an absolute path; raise if it cannot be used."""
    if isinstance(database, Engine):
        _refuse_other_databases(database.url)
        return database.url
    url = _named_driver(_parsed_url(database))
    _refuse_other_databases(url)
    _refuse_missing_driver(url)
    if is_in_memory(url) and url.get_dialect().is_async:
        raise ConfigError(f"{shown(url)} would be empty at each use. Name a file, or use sqlite://.")
    if url.get_backend_name() != "sqlite" or is_in_memory(url) or _is_file_uri(url):
        return url
    # Absolute now: the process may change its directory before the first operation.
    return url.set(database=str(Path(str(url.database)).absolute()))


def is_in_memory(url: URL) -> bool:
    """Return whether this is a SQLite database without a file."""
    if url.get_backend_name() != "sqlite":
        return False
    return not url.database or ":memory:" in url.database or url.query.get("mode") == "memory"


def sqlite_file(url: URL) -> Path | None:
    """Return the file of a SQLite database, or None where there is none."""
    if url.get_backend_name() != "sqlite" or is_in_memory(url):
        return None
    name = str(url.database)
    return Path(unquote(urlsplit(name).path) if _is_file_uri(url) else name).absolute()


def database_name(url: URL) -> str | None:
    """Return a name that identifies the database with any driver; None for one in memory."""
    if is_in_memory(url):
        return None
    hosts = url.query.get("host", "")  # psycopg and asyncpg also accept hosts here
    return f"{url.get_backend_name()}://{url.host or hosts}:{url.port or ''}/{url.database}"


def _parsed_url(database: str | URL | AsyncEngine) -> URL:
    if not isinstance(database, str | URL):  # an AsyncEngine, or a wrapper of one; importing it costs the ORM
        database = database.sync_engine.url
    try:
        return make_url(database)
    except (ArgumentError, ValueError):  # whose text may quote the password
        raise ConfigError(f"database is no database URL. {_EXPECTED}") from None


def _named_driver(url: URL) -> URL:
    if url.drivername not in _PLAIN_POSTGRESQL:
        return url
    is_old_driver_alone = not importlib.util.find_spec("psycopg") and importlib.util.find_spec("psycopg2")
    return url.set(drivername="postgresql+psycopg2" if is_old_driver_alone else "postgresql+psycopg")


def _refuse_other_databases(url: URL) -> None:
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(f"database is of kind {url.get_backend_name()!r}. {_EXPECTED}")


def _refuse_missing_driver(url: URL) -> None:
    try:
        dialect = url.get_dialect()
    except NoSuchModuleError:
        raise ConfigError(f"database has an unknown driver in {url.drivername!r}. {_EXPECTED}") from None
    extra = _EXTRAS.get(dialect.driver)
    try:
        dialect.import_dbapi()
    except ImportError as error:
        if extra is None:
            raise ConfigError(
                f"database needs the driver {dialect.driver!r}: install it. {_EXPECTED}"
            ) from error
        raise MissingExtraError(dialect.driver, extra) from error
    if dialect.is_async and importlib.util.find_spec("greenlet") is None:
        raise MissingExtraError("greenlet", extra or "aiosqlite")


def _is_file_uri(url: URL) -> bool:
    return str(url.database).startswith("file:")
