"""Run operations on the product's database, given as a URL, engine or async engine.

An operation is a plain function of a SQLAlchemy `Connection`. It gets one transaction, bounded in time,
and every failure is raised as a `StoreError` without passwords. None runs while the process forks.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import attach, detach, set_value
from sqlalchemy import String, bindparam, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool

from otel_posthog._runtime.process import follow_forks
from otel_posthog._runtime.threads import in_thread, running_loop
from otel_posthog.errors import ConfigError, OtelPosthogError
from otel_posthog.otel.api import SUPPRESS_INSTRUMENTATION_KEY

from .schema import TABLE_NAME
from .shared_connection import run_on_shared
from .urls import (
    AbsentError,
    DatabaseSource,
    ReplicaError,
    database_name,
    engine_of,
    is_in_memory,
    is_lost_on_the_way,
    shown,
    sqlite_file,
    store_error,
    usable_url,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection, Engine, Pool
    from sqlalchemy.ext.asyncio import AsyncEngine


_FORK_TIMEOUT_S = 1.0  # a fork must not hang on a slow database

_T = TypeVar("_T")

# One connection is kept; more are opened while threads overlap, and closed again.
_POOL_SIZE = 1
_POOL_OVERFLOW = 4
_MS_PER_S = 1000
_SIZES = {
    "sqlite": text("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"),
    "postgresql": text("SELECT pg_database_size(current_database())"),
}
# Within the transaction, not at connect: works on a host's engine too, and through PgBouncer.
_LIMIT_POSTGRESQL = select(
    func.set_config("statement_timeout", bindparam("limit", type_=String), True),
    func.set_config("lock_timeout", bindparam("limit", type_=String), True),
    func.pg_is_in_recovery().label("is_replica"),
)


class Database:
    """The product's database; opened at the first operation, and again after `close`."""

    def __init__(self, database: DatabaseSource, *, timeout_s: float) -> None:
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise ConfigError(f"timeout_s must be a number of seconds above 0, not {timeout_s!r}.")
        host = engine_of(database)
        self._url = usable_url(database if host is None else host)
        self.file = sqlite_file(self._url)
        self.name = database_name(self._url)
        self.kind = self._url.get_backend_name()
        self._file_identity: tuple[int, int] | None = None
        if host is not None and self.kind == "postgresql" and isinstance(host.pool, StaticPool):
            host = None  # its one connection may be within a transaction of the product
        is_private = host is None and self._url.get_dialect().is_async
        self._connector: _PrivateLoop | _Pooled
        self._connector = (
            _PrivateLoop(self._url, timeout_s) if is_private else _Pooled(self._url, timeout_s, host)
        )
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_forking = False
        follow_forks(self)

    def run(self, doing: str, operation: Callable[[Connection], _T], *, table: str = TABLE_NAME) -> _T:
        """Return the operation's result, committed; an error's message names `doing` and `table`.

        An operation that lost its connection runs once more, so it must be safe to repeat after a commit.
        """
        token = attach(set_value(SUPPRESS_INSTRUMENTATION_KEY, True))  # the host's traces are not about us
        try:
            with self._working():
                self._check_file()
                try:
                    return self._connector.run(operation)
                except DBAPIError as error:
                    if not is_lost_on_the_way(error):
                        raise
                return self._connector.run(operation)  # after a fail-over: on a new connection
        except OtelPosthogError:
            raise
        except Exception as error:  # each driver raises its own, asyncpg also bare ones
            raise store_error(error, doing, self._url, table=table) from error
        finally:
            detach(token)

    def size_bytes(self) -> int:
        """Return the size on disk that the database reports; raise `StoreError` if that fails."""
        size = _SIZES[self.kind]
        return int(self.run("measure the database of", lambda c: c.execute(size).scalar_one()))

    def prepare(self) -> None:
        """Create the SQLite file and its folder if they are absent and the URL permits it."""
        if self.file is None or self._url.query.get("mode", "rwc") != "rwc" or self.file.exists():
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.touch()
        except OSError as error:
            raise store_error(error, "create", self._url) from error

    def close(self) -> None:
        """Close the connections that are ours."""
        self._connector.close()

    def before_fork(self) -> None:
        """Wait for operations in progress, and close an idle SQLite file before a child inherits it."""
        # SQLite in a child takes inherited locks for its own: with a write-ahead log, what the child
        # commits is lost once the parent closes the file.
        with self._changed:
            self._is_forking = True
            is_idle = self._changed.wait_for(lambda: not self._under_way, _FORK_TIMEOUT_S)
        if is_idle and self.file is not None:
            self._connector.close_idle()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def after_fork(self) -> None:
        """Start afresh in a child: operations and lock are the parent's."""
        self._changed = threading.Condition()
        self._under_way, self._is_forking = 0, False

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Count the block as an operation; wait first for a fork in progress."""
        with self._changed:
            # A thread inside SQLite would leave its locks to the child, where nothing releases them, and each
            # write there would find the database locked.
            self._changed.wait_for(lambda: not self._is_forking, _FORK_TIMEOUT_S)
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _check_file(self) -> None:
        """Raise for an absent file, which SQLite would create empty; reopen a replaced one."""
        if self.file is None:
            return
        try:
            status = self.file.stat()
        except FileNotFoundError:
            raise AbsentError(
                f"there is no database file yet: {shown(self._url)}. Call create() to make it, or correct "
                "the path."
            ) from None
        identity = (status.st_dev, status.st_ino)
        if self._file_identity not in (None, identity):
            self._connector.close()
        self._file_identity = identity


class _Pooled:
    """The host's engine and pool, in which no connection in use is closed by us, or a small one of ours."""

    def __init__(self, url: URL, timeout_s: float, host: Engine | None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._host = host
        self._engine = host
        self._lock = threading.Lock()
        self._inherited: list[Pool] = []
        if host is not None and host.dialect.name == "postgresql":
            # Simultaneous updates wait for each other only at this level; stricter ones refuse them.
            self._engine = host.execution_options(isolation_level="READ COMMITTED")
        follow_forks(self)

    def run(self, operation: Callable[[Connection], _T]) -> _T:
        engine = self._engine or self._open()
        pool = engine.pool
        if isinstance(pool, StaticPool):
            return run_on_shared(engine, operation)
        try:
            with engine.begin() as connection:
                return _bounded(connection, operation, self._timeout_s)
        finally:
            is_closed = self._engine is not engine or engine.pool is not pool
            if is_closed and self._host is None:  # closed while this was under way
                pool.dispose()
                engine.dispose()

    def close_idle(self) -> None:
        if self._engine is not None and not self._holds_state:
            self._engine.dispose()

    def close(self) -> None:
        if self._host is not None:
            return
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        if self._engine is None or self._holds_state:
            return
        # Kept for good: collecting the old pool would close the parent's sockets.
        self._inherited.append(self._engine.pool)
        self._engine.dispose(close=False)
        if self._host is None:
            self._engine = None

    def _open(self) -> Engine:
        with self._lock:
            if self._engine is None:
                options = _engine_options(self._url, self._timeout_s)
                is_alone = is_in_memory(self._url)  # each connection would be to an empty database of its own
                options |= {"max_overflow": 0 if is_alone else _POOL_OVERFLOW, "pool_size": _POOL_SIZE}
                options |= {"pool_timeout": self._timeout_s, "poolclass": QueuePool}
                if self._url.get_backend_name() == "postgresql":
                    # A server that was restarted has closed the idle connection.
                    options["pool_pre_ping"] = True
                self._engine = create_engine(self._url, **options)
            return self._engine

    @property
    def _holds_state(self) -> bool:
        host = self._host
        return host is not None and isinstance(host.pool, StaticPool | SingletonThreadPool)  # of :memory:


class _PrivateLoop:
    """A new connection and event loop for each operation: the host's loop is not involved."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._engine: AsyncEngine | None = None
        follow_forks(self)

    def run(self, operation: Callable[[Connection], _T]) -> _T:
        if running_loop() is None:
            return self._run_here(operation)
        context = contextvars.copy_context()  # in which our calls are not traced
        return in_thread(partial(context.run, self._run_here, operation), "otel-posthog-store").result()

    def close_idle(self) -> None:
        """Do nothing: each operation closes its own."""

    def close(self) -> None:
        self._engine = None  # its pool holds nothing

    after_fork = close

    def _run_here(self, operation: Callable[[Connection], _T]) -> _T:
        # Given a factory, the runner leaves the thread's current event loop as it is.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(self._transact(operation))

    async def _transact(self, operation: Callable[[Connection], _T]) -> _T:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - costs the ORM's import

        engine = self._engine
        if engine is None:
            options = _engine_options(self._url, self._timeout_s)
            engine = self._engine = create_async_engine(self._url, poolclass=NullPool, **options)
        async with engine.begin() as connection:
            return await connection.run_sync(_bounded, operation, self._timeout_s)


def _bounded(connection: Connection, operation: Callable[[Connection], _T], timeout_s: float) -> _T:
    if connection.dialect.name != "postgresql":
        return operation(connection)
    with _unprepared(connection.connection.dbapi_connection):
        limit = {"limit": str(max(1, round(timeout_s * _MS_PER_S)))}
        if connection.execute(_LIMIT_POSTGRESQL, limit).one().is_replica:
            raise ReplicaError
        return operation(connection)


@contextmanager
def _unprepared(connection: Any) -> Iterator[None]:
    """Let psycopg prepare no statement: a pooler such as PgBouncer exchanges the connections behind it."""
    threshold = getattr(connection, "prepare_threshold", None)
    if threshold is not None:
        connection.prepare_threshold = None
    try:
        yield
    finally:
        if threshold is not None:
            connection.prepare_threshold = threshold


def _engine_options(url: URL, timeout_s: float) -> dict[str, object]:
    # `hide_parameters`, since SQLAlchemy's errors would show the values of the row.
    options: dict[str, object] = {"connect_args": _connect_args(url, timeout_s), "hide_parameters": True}
    if url.get_backend_name() == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    return options


def _connect_args(url: URL, timeout_s: float) -> dict[str, object]:
    """Return the driver's own time limits; those in the URL take precedence."""
    arguments: dict[str, object]
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": timeout_s, "check_same_thread": False}
    elif url.get_dialect().driver == "asyncpg":
        # The server's own limit comes first, since its message names what was waited for.
        arguments = {"timeout": timeout_s, "command_timeout": 2 * timeout_s}
        # Statements without a name, as in _unprepared: a name would remain on a pooler's connection.
        arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        arguments["prepared_statement_name_func"] = str
    else:
        arguments = {
            # Without these, a network that drops packets silently holds a query for minutes, up to two hours.
            "connect_timeout": math.ceil(timeout_s),
            "tcp_user_timeout": round(timeout_s * _MS_PER_S),
            "keepalives_idle": math.ceil(timeout_s),
            "keepalives_interval": 1,
            "keepalives_count": 3,
        }
    return {name: value for name, value in arguments.items() if name not in url.query}
