"""Run operations on the product's database, whatever was given: URL, engine or async engine.

An operation is a plain function of a SQLAlchemy `Connection`; it gets one transaction, bounded in
time, and whatever goes wrong comes out as a `StoreError` that holds no password.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Protocol, TypeVar

from sqlalchemy import Engine, String, bindparam, create_engine, func, select
from sqlalchemy.pool import NullPool, QueuePool, SingletonThreadPool, StaticPool

from otel_posthog.errors import ConfigError, OtelPosthogError

from .failures import AbsentError, failure, shown
from .schema import TABLE_NAME
from .standstill import Standstill
from .urls import DatabaseSource, database_name, is_in_memory, sqlite_file, usable_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection, Pool
    from sqlalchemy.ext.asyncio import AsyncEngine

_T = TypeVar("_T")

_POOL_SIZE = 1
_POOL_OVERFLOW = 4
_MS_PER_S = 1000
# Within the transaction, not at connect: works on a host's engine too, and through PgBouncer.
_LIMIT_POSTGRESQL = select(
    func.set_config("statement_timeout", bindparam("limit", type_=String), True),
    func.set_config("lock_timeout", bindparam("limit", type_=String), True),
)


class Database:
    """The product's database; opened at the first operation, and again after `close`."""

    def __init__(self, database: DatabaseSource, *, timeout_s: float) -> None:
        if not (math.isfinite(timeout_s) and timeout_s > 0):
            raise ConfigError(f"timeout_s must be a number of seconds above 0, not {timeout_s!r}.")
        self._url = usable_url(database)
        self.file = sqlite_file(self._url)
        self.name = database_name(self._url)
        self._file_identity: tuple[int, int] | None = None
        self._connector = _connector(database, self._url, timeout_s)
        self._standstill = Standstill()

    def run(self, doing: str, operation: Callable[[Connection], _T], *, table: str = TABLE_NAME) -> _T:
        """Return the operation's result, committed; `doing` and `table` stand in the error's message."""
        try:
            with self._standstill.working():
                self._check_file()
                return self._connector.run(operation)
        except OtelPosthogError:
            raise
        except Exception as error:  # each driver raises its own, asyncpg also bare ones
            raise failure(error, doing, self._url, table=table) from error

    @property
    def kind(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._url.get_backend_name()

    def prepare(self) -> None:
        """Make the SQLite file and its folder if they are absent and may be made."""
        if self.file is None or self._url.query.get("mode", "rwc") != "rwc" or self.file.exists():
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.touch()
        except OSError as error:
            raise failure(error, "create", self._url) from error

    def close(self) -> None:
        """Close the connections that are ours."""
        self._connector.close()

    def before_fork(self) -> None:
        """Let no thread be inside the database, and let a child inherit no open SQLite file.

        SQLite in a child would take the parent's locks on an inherited file for its own: with a
        write-ahead log, what the child commits is lost once the parent closes the file.
        """
        if self._standstill.begin() and self.file is not None:
            self._connector.close_idle()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._standstill.end()

    def after_fork(self) -> None:
        """Forget, in a child process, the connections that belong to the parent."""
        self._standstill.after_fork()
        self._connector.after_fork()

    def _check_file(self) -> None:
        """Refuse what SQLite would answer with a new empty file, or from a file that was replaced."""
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


class _Connector(Protocol):
    def run(self, operation: Callable[[Connection], _T]) -> _T: ...
    def close_idle(self) -> None: ...
    def close(self) -> None: ...
    def after_fork(self) -> None: ...


class _OwnEngine:
    """A small pool of our own."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._inherited: list[Pool] = []

    def run(self, operation: Callable[[Connection], _T]) -> _T:
        engine = self._engine or self._open()
        pool = engine.pool
        try:
            with engine.begin() as connection:
                return _bounded(connection, operation, self._timeout_s)
        finally:
            if self._engine is not engine or engine.pool is not pool:  # closed while this was under way
                pool.dispose()
                engine.dispose()

    def close_idle(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def close(self) -> None:
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def after_fork(self) -> None:
        self._lock = threading.Lock()
        engine, self._engine = self._engine, None
        if engine is not None:
            self._inherited.append(_abandon_pool(engine))

    def _open(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = create_engine(self._url, **_engine_options(self._url, self._timeout_s))
            return self._engine


class _HostEngine:
    """The host's engine, in its own pool; what is in use there is never closed by us."""

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._host = engine
        self._timeout_s = timeout_s
        self._inherited: list[Pool] = []
        is_postgresql = engine.dialect.name == "postgresql"
        # Simultaneous updates wait for each other only at this level; stricter ones refuse them.
        self._engine = engine.execution_options(isolation_level="READ COMMITTED") if is_postgresql else engine

    def run(self, operation: Callable[[Connection], _T]) -> _T:
        with self._engine.begin() as connection:
            return _bounded(connection, operation, self._timeout_s)

    def close_idle(self) -> None:
        if not self._holds_state:
            self._host.dispose()

    def close(self) -> None:
        """Leave it open: it is the host's."""

    def after_fork(self) -> None:
        if not self._holds_state:
            self._inherited.append(_abandon_pool(self._host))

    @property
    def _holds_state(self) -> bool:
        return isinstance(self._host.pool, StaticPool | SingletonThreadPool)  # those hold :memory:


class _PrivateLoop:
    """A new connection and event loop for each operation: nothing of the host's loop is touched."""

    def __init__(self, url: URL, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._engine: AsyncEngine | None = None

    def run(self, operation: Callable[[Connection], _T]) -> _T:
        if _has_running_loop():
            return _in_thread(lambda: self._run_here(operation))
        return self._run_here(operation)

    def close_idle(self) -> None:
        """Do nothing: each operation closes its own."""

    def close(self) -> None:
        self._engine = None  # its pool holds nothing

    def after_fork(self) -> None:
        self._engine = None

    def _run_here(self, operation: Callable[[Connection], _T]) -> _T:
        # Given a factory, the runner leaves the thread's current event loop as it is.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            return runner.run(self._transact(operation))

    async def _transact(self, operation: Callable[[Connection], _T]) -> _T:
        engine = self._engine
        if engine is None:
            engine = self._engine = _create_private_engine(self._url, self._timeout_s)
        async with engine.begin() as connection:
            return await connection.run_sync(_bounded, operation, self._timeout_s)


def _connector(database: DatabaseSource, url: URL, timeout_s: float) -> _Connector:
    if isinstance(database, Engine):
        return _HostEngine(database, timeout_s)
    if url.get_dialect().is_async:
        return _PrivateLoop(url, timeout_s)
    return _OwnEngine(url, timeout_s)


def _bounded(connection: Connection, operation: Callable[[Connection], _T], timeout_s: float) -> _T:
    if connection.dialect.name == "postgresql":
        connection.execute(_LIMIT_POSTGRESQL, {"limit": str(max(1, round(timeout_s * _MS_PER_S)))})
    return operation(connection)


def _abandon_pool(engine: Engine) -> Pool:
    """Give the engine a new pool and return the old one: collecting it would close the parent's sockets."""
    pool = engine.pool
    engine.dispose(close=False)
    return pool


def _engine_options(url: URL, timeout_s: float) -> dict[str, object]:
    options: dict[str, object] = {
        "connect_args": _connect_args(url, timeout_s),
        "hide_parameters": True,
        "max_overflow": 0 if is_in_memory(url) else _POOL_OVERFLOW,
        "pool_size": _POOL_SIZE,
        "pool_timeout": timeout_s,
        "poolclass": QueuePool,
    }
    if url.get_backend_name() == "postgresql":
        options |= {"isolation_level": "READ COMMITTED", "pool_pre_ping": True}
    return options


def _create_private_engine(url: URL, timeout_s: float) -> AsyncEngine:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 - costs the ORM's import

    options: dict[str, object] = {
        "connect_args": _connect_args(url, timeout_s),
        "hide_parameters": True,
        "poolclass": NullPool,
    }
    if url.get_backend_name() == "postgresql":
        options["isolation_level"] = "READ COMMITTED"
    return create_async_engine(url, **options)


def _connect_args(url: URL, timeout_s: float) -> dict[str, object]:
    """Return the driver's own limits in time; what the URL says itself goes first."""
    driver = url.get_dialect().driver
    arguments: dict[str, object]
    if url.get_backend_name() == "sqlite":
        arguments = {"timeout": timeout_s, "check_same_thread": False}
    elif driver == "asyncpg":
        # The server's own limit goes first, since it says what was waited for.
        arguments = {"timeout": timeout_s, "command_timeout": 2 * timeout_s}
    else:
        arguments = {
            "connect_timeout": math.ceil(timeout_s),
            "tcp_user_timeout": round(timeout_s * _MS_PER_S),
            "keepalives_idle": math.ceil(timeout_s),
            "keepalives_interval": 1,
            "keepalives_count": 3,
        }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _has_running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(call: Callable[[], _T]) -> _T:
    """Return what the call returns in a thread of its own, in this context; the caller waits."""
    outcome: Future[_T] = Future()

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            outcome.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="otel-posthog-store", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()
