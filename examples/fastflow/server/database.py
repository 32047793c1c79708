"""What Fast-Flow keeps: accounts, sessions, invitations, runs and schedules.

The tables of otel_posthog stand beside these in the same database, and are made by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import ForeignKey, String, UniqueConstraint, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """All tables of Fast-Flow."""


class User(Base):
    """Somebody who has signed in at least once."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("provider", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(16))
    language: Mapped[str | None] = mapped_column(String(8))

    @property
    def is_admin(self) -> bool:
        """Whether this user administers the installation."""
        return self.role == "admin"


class SignIn(Base):
    """One browser that is signed in. The cookie's value itself is not kept, only its hash."""

    __tablename__ = "sign_ins"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    csrf_token: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[float]


class Invitation(Base):
    """A code that an admin has given away; it is deleted when it is used."""

    __tablename__ = "invitations"

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    expires_at: Mapped[float]


class Run(Base):
    """One run of a pipeline. Times are seconds since 1970."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    pipeline: Mapped[str] = mapped_column(String(200), index=True)
    triggered_by: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]


class Schedule(Base):
    """A pipeline that runs by itself."""

    __tablename__ = "schedules"

    pipeline: Mapped[str] = mapped_column(String(200), primary_key=True)
    every_minutes: Mapped[int]
    next_at: Mapped[float]


class Database:
    """One database, SQLite or PostgreSQL; nothing is opened before `create`."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self._file = parsed.database if parsed.drivername == "sqlite" else None
        self._engine = create_engine(parsed)

    def create(self) -> None:
        """Make the tables that are not there yet."""
        if self._file:
            Path(self._file).parent.mkdir(parents=True, exist_ok=True)
        Base.metadata.create_all(self._engine)

    @contextmanager
    def begin(self) -> Iterator[Session]:
        """Yield a session whose changes are kept when the block ends without an error."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()
