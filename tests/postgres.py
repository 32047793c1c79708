"""A real PostgreSQL for tests: started once on a free loopback port, a fresh database per test.

Without the server's binaries its tests are skipped, and fail where the environment variable CI is set.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ports import free_port
from waiting import wait_until

PASSWORD = "not-in-any-message"
_USER = "product"
_START_TIMEOUT_S = 60
_START_ATTEMPTS = 3  # another process may take the free port first
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "16MB",
    "synchronous_commit": "off",
}
_ABSENT = "PostgreSQL is not installed: neither on PATH nor in /usr/lib/postgresql/*/bin"
# Two connections for all clients, so that they meet each other's prepared statements.
_POOLER = """
[databases]
* = host={server.hostname} port={server.port} user={server.username} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_url():
    """Return the administrator's URL of a running server."""
    binaries = postgres_binaries()
    if binaries is None:
        _give_up(_ABSENT)
    with _temporary_folder() as folder, _server(binaries, folder) as url:
        yield url


@pytest.fixture
def postgres_primary():
    """Return the URL and the data folder of a server of its own, which may be stopped."""
    binaries = postgres_binaries()
    if binaries is None:
        _give_up(_ABSENT)
    with _temporary_folder() as folder, _server(binaries, folder) as url:
        yield url, folder / "data"


@pytest.fixture
def postgres_replica(postgres_primary):
    """Return the URL and the data folder of a replica of that server."""
    binaries, primary = postgres_binaries(), postgres_primary[0]
    with _temporary_folder() as folder:
        data = folder / "data"
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream"]
        _run(binaries / "pg_basebackup", "-D", data, "-d", primary, *options)
        with _started(binaries, data, folder) as url:
            yield url, data


def control(data: Path, *command: str) -> None:
    """Run pg_ctl on the server in this folder."""
    _run(postgres_binaries() / "pg_ctl", "-D", data, "-w", *command)


@pytest.fixture(scope="session")
def _pooler_address(postgres_url):
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        _give_up("PgBouncer is not installed")
    with _temporary_folder() as folder:
        port, server = free_port(), urlsplit(postgres_url)
        settings = folder / "pgbouncer.ini"
        settings.write_text(_POOLER.format(server=server, port=port, password=PASSWORD))
        with _running(program, settings, port):
            yield f"127.0.0.1:{port}"


@pytest.fixture
def pooled_database(postgres_database, _pooler_address):
    """Return the URL of a new, empty database behind PgBouncer in transaction mode."""
    address = urlsplit(postgres_database).netloc.rpartition("@")[2]
    return postgres_database.replace(address, _pooler_address)


@pytest.fixture
def postgres_database(postgres_url):
    """Return the URL of a new, empty database."""
    import psycopg  # noqa: PLC0415 - most tests need no PostgreSQL

    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    yield postgres_url.rpartition("/")[0] + f"/{name}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _give_up(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def postgres_binaries() -> Path | None:
    """Return the folder that holds initdb, pg_ctl and postgres."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "pg_ctl").exists()), None)


@contextmanager
def _temporary_folder():
    folder = Path(tempfile.mkdtemp(prefix="otel-posthog-pg-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_account())
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _server(binaries: Path, folder: Path):
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORD)
    options = ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--no-locale", "--no-sync"]
    _run(binaries / "initdb", "-D", data, "-U", _USER, *options)
    with (data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
        file.write(f"unix_socket_directories = '{folder}'\n")
    with _started(binaries, data, folder) as url:
        yield url


@contextmanager
def _started(binaries: Path, data: Path, folder: Path):
    port = _start(binaries, data, folder / "log")
    try:
        yield f"postgresql://{_USER}:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        if (data / "postmaster.pid").exists():
            _run(binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@contextmanager
def _running(program: str, settings: Path, port: int):
    process = subprocess.Popen([*_as_account(), program, str(settings)], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port))
        yield
    finally:
        process.terminate()
        process.wait(_START_TIMEOUT_S)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _start(binaries: Path, data: Path, log: Path) -> int:
    error = None
    for _ in range(_START_ATTEMPTS):
        port = free_port()
        try:
            _run(binaries / "pg_ctl", "-D", data, "-l", log, "-o", f"-p {port}", "-w", "start")
        except subprocess.CalledProcessError as failed:
            error = failed
        else:
            return port
    raise RuntimeError(f"PostgreSQL did not start: {log.read_text() if log.exists() else error}")


def _run(*command: object) -> None:
    """Run as a user that PostgreSQL accepts: it refuses to be root."""
    arguments = [*_as_account(), *map(str, command)]
    # pg_ctl's server keeps inherited streams open, so none of ours may be given.
    subprocess.run(
        arguments,
        check=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_START_TIMEOUT_S,
    )


def _as_account() -> list[str]:
    return ["runuser", "-u", _account(), "--"] if os.geteuid() == 0 else []


def _account() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
