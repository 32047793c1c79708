"""Store the manifests that were answered, each kind's grant and its time, and the audit trail.

The functions run inside the transaction of the change that they belong to, so that there is no grant
without its manifest and no change without its entry.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, text

from otel_posthog.consent.state import FLAGS
from otel_posthog.registry import Kind
from otel_posthog.registry.manifest import hash_of

from .schema import WHO_MAX_CHARS, consent_audit, consent_manifest

if TYPE_CHECKING:
    from sqlalchemy import Connection, RowMapping

_STATE = (*FLAGS, *(f"{kind}_{name}" for name in ("manifest", "declined") for kind in Kind))
# As text, since SQLAlchemy has these clauses per database only, and both understand them.
_KEEP = text(
    "INSERT INTO consent_manifest (hash, kind, content) VALUES (:hash, :kind, :content) "
    "ON CONFLICT DO NOTHING"
)
_GRANT = text(
    "INSERT INTO consent_grant (kind, manifest, declined) VALUES (:kind, :manifest, :declined) "
    "ON CONFLICT (kind) DO UPDATE SET manifest = excluded.manifest, declined = excluded.declined"
)
# The database's clock in milliseconds since 1970, read when the statement runs.
NOW_MS = {
    "sqlite": "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
}
_DATE = (
    "INSERT INTO consent_moment (kind, granted_ms) VALUES (:kind, {}) "
    "ON CONFLICT (kind) DO UPDATE SET granted_ms = excluded.granted_ms"
)
_CONTENT = select(consent_manifest.c.content).where(consent_manifest.c.hash == bindparam("hash"))
_ENTRIES = (
    select(consent_audit)
    .where(consent_audit.c.id > bindparam("after_id"))
    .order_by(consent_audit.c.id)
    .limit(bindparam("limit"))
)


def keep(connection: Connection, kind: str, content: str) -> str:
    """Keep the manifest for good and return its hash."""
    name = hash_of(content)
    connection.execute(_KEEP, {"hash": name, "kind": kind, "content": content})
    return name


def grant(connection: Connection, kind: str, manifest: str | None, declined: str | None) -> None:
    """Record to which manifest the kind's consent is given from now on."""
    connection.execute(_GRANT, {"kind": kind, "manifest": manifest, "declined": declined})


def date(connection: Connection, kind: str, *, is_on: bool) -> None:
    """Record that the kind is switched on now, or has no time of a grant."""
    now_ms = NOW_MS[connection.dialect.name] if is_on else "NULL"
    connection.execute(text(_DATE.format(now_ms)), {"kind": kind})


def content_of(connection: Connection, name: str) -> str | None:
    """Return the manifest of this hash, or None if it is not there."""
    return connection.execute(_CONTENT, {"hash": name}).scalar_one_or_none()


def record(
    connection: Connection, before: RowMapping | None, after: RowMapping | None, who: str | None
) -> None:
    """Add an entry, unless nothing has changed."""
    old, new = _state(before), _state(after)
    if old == new:
        return
    if who is not None:  # without what PostgreSQL cannot store: no id may prevent a withdrawal
        who = who.replace("\0", "").encode(errors="replace").decode()[:WHO_MAX_CHARS]
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    connection.execute(consent_audit.insert(), {"at": at, "who": who, "old_state": old, "new_state": new})


def entries(connection: Connection, after_id: int, limit: int) -> list[dict[str, object]]:
    """Return the entries that follow this one, oldest first."""
    rows = connection.execute(_ENTRIES, {"after_id": after_id, "limit": limit}).mappings().all()
    states = ("old_state", "new_state")
    return [{**row, **{name: json.loads(str(row[name])) for name in states}} for row in rows]


def _state(row: RowMapping | None) -> str:
    """Return the decision as JSON; SQLite stores booleans as 0 and 1, and any value set by hand."""
    if row is None:
        return "null"
    state = {name: row[name] for name in _STATE}
    plain = {name: bool(state[name]) if state[name] in (0, 1) else state[name] for name in FLAGS}
    return json.dumps({**state, **plain}, default=str)
