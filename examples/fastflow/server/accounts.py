"""Accounts, roles and sign-ins.

The providers are stand-ins: they believe the name that is typed in. A real product puts GitHub's and
Google's OAuth in the place of `sign_in`, and keeps the rest.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import delete, func, select

from otel_posthog import track

from .database import Database, Invitation, SignIn, User
from .events import UserLoggedIn, UserRegistered

Provider = Literal["github", "google"]

SIGN_IN_S = 12 * 3600
INVITATION_S = 7 * 24 * 3600
TOKEN_BYTES = 32


class InvalidInvitationError(Exception):
    """Raised for a code that was never given away, has been used, or is too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request, and what an unsafe request of theirs must carry."""

    user: User
    csrf_token: str


class Accounts:
    """Everybody who may use this installation; the first to come is its administrator."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        self._registering = threading.Lock()

    def sign_in(self, provider: Provider, name: str, *, invitation: str | None = None) -> str:
        """Return the token of a new sign-in, for the cookie; an account is made at the first one."""
        with self._registering:
            user, is_new = self._find_or_register(provider, name, invitation)
        track(UserLoggedIn(provider=provider, is_new_user=is_new))
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._database.begin() as session:
            session.execute(delete(SignIn).where(SignIn.expires_at < self._clock()))
            session.add(
                SignIn(
                    token_hash=_hash(token),
                    user_id=user.id,
                    csrf_token=secrets.token_urlsafe(TOKEN_BYTES),
                    expires_at=self._clock() + SIGN_IN_S,
                )
            )
        return token

    def sign_out(self, token: str) -> None:
        """End the sign-in with this token, wherever the cookie has been copied to."""
        with self._database.begin() as session:
            session.execute(delete(SignIn).where(SignIn.token_hash == _hash(token)))

    def caller(self, token: str) -> Caller | None:
        """Return who holds this token, or None where it is unknown or too old."""
        with self._database.begin() as session:
            sign_in = session.get(SignIn, _hash(token))
            if sign_in is None or sign_in.expires_at < self._clock():
                return None
            user = session.get_one(User, sign_in.user_id)
            return Caller(user=user, csrf_token=sign_in.csrf_token)

    def invite(self) -> str:
        """Return a code that lets one person in."""
        code = secrets.token_urlsafe(TOKEN_BYTES)
        with self._database.begin() as session:
            session.add(Invitation(code_hash=_hash(code), expires_at=self._clock() + INVITATION_S))
        return code

    def use_language(self, user: User, language: str) -> None:
        """Show the product in this language to this user from now on."""
        with self._database.begin() as session:
            session.get_one(User, user.id).language = language

    def count(self) -> int:
        """Return how many accounts there are; it leaves the installation as a bucket only."""
        with self._database.begin() as session:
            return session.scalar(select(func.count(User.id))) or 0

    def _find_or_register(self, provider: Provider, name: str, invitation: str | None) -> tuple[User, bool]:
        with self._database.begin() as session:
            found = session.scalar(select(User).where(User.provider == provider, User.name == name))
            if found is not None:
                return found, False
            if invitation is not None:
                code = session.get(Invitation, _hash(invitation))
                if code is None or code.expires_at < self._clock():
                    raise InvalidInvitationError
                session.delete(code)
            is_first = session.scalar(select(User.id).limit(1)) is None
            user = User(provider=provider, name=name, role="admin" if is_first else "user")
            session.add(user)
        track(UserRegistered(provider=provider, invitation=invitation is not None, initial_admin=is_first))
        return user, True


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
