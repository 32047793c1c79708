"""Turn what a product calls its database into a URL that can be used, or say why it cannot.

The driver is named, a SQLite path is absolute, and errors never quote a password.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from otel_posthog.errors import ConfigError, MissingExtraError

from .failures import shown

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

_EXTRAS = {"aiosqlite": "aiosqlite", "asyncpg": "asyncpg", "psycopg": "postgresql"}
_PLAIN_POSTGRESQL = frozenset({"postgres", "postgresql", "postgresql+psycopg_async"})
_EXPECTED = "Expected for example sqlite:///data/app.db or postgresql://user@host/name."

DatabaseSource: TypeAlias = "str | Engine | AsyncEngine"  # as text: importing AsyncEngine costs the ORM
"""How a product names its database: a URL, or an engine it has already."""


def usable_url(database: DatabaseSource) -> URL:
    """Return the URL with its driver named and its file path absolute; raise if it cannot be used."""
    if isinstance(database, Engine):
        _refuse_other_databases(database.url)
        return database.url
    url = _named_driver(_parsed_url(database))
    _refuse_other_databases(url)
    _refuse_missing_driver(url)
    if not url.get_dialect().is_async:
        return _absolute(url)
    if is_in_memory(url):
        raise ConfigError(f"{shown(url)} would be empty at each use. Name a file, or use sqlite://.")
    return _absolute(url)


def is_in_memory(url: URL) -> bool:
    """Tell whether this is a SQLite database without a file."""
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
    """Return what tells this database from others, whatever the driver; None for one in memory."""
    if is_in_memory(url):
        return None
    hosts = url.query.get("host", "")  # where psycopg and asyncpg may name them, too
    return f"{url.get_backend_name()}://{url.host or hosts}:{url.port or ''}/{url.database}"


def _parsed_url(database: object) -> URL:
    sync_engine = getattr(database, "sync_engine", None)  # an AsyncEngine; importing it costs the ORM
    if isinstance(sync_engine, Engine):
        return sync_engine.url
    if not isinstance(database, str):
        raise ConfigError(f"database is a {type(database).__name__}, not a URL, Engine or AsyncEngine.")
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
    driver = dialect.driver
    try:
        dialect.import_dbapi()
    except ImportError as error:
        if driver not in _EXTRAS:
            raise ConfigError(f"database needs the driver {driver!r}: install it. {_EXPECTED}") from error
        raise MissingExtraError(driver, _EXTRAS[driver]) from error
    if dialect.is_async and importlib.util.find_spec("greenlet") is None:
        raise MissingExtraError("greenlet", _EXTRAS.get(driver, "aiosqlite"))


def _absolute(url: URL) -> URL:
    """Fix the path now: the process may change its directory before the first operation."""
    if url.get_backend_name() != "sqlite" or is_in_memory(url) or _is_file_uri(url):
        return url
    return url.set(database=str(Path(str(url.database)).absolute()))


def _is_file_uri(url: URL) -> bool:
    return str(url.database).startswith("file:")
