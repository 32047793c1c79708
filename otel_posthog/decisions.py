"""What was decided, and what is asked: the settings row together with the manifests that it names."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from ._otel import suppressed_instrumentation
from .config import Config
from .errors import OtelPosthogError, RegistryError, StoreError
from .registry import Kind, Registry
from .settings import Settings
from .status import KindStatus, Question, Reason, question_of, reason_of, status_of
from .store import AbsentError, DatabaseSource, SettingsStore

AUDIT_MAX_ENTRIES = 1000


class Decisions:
    """Read and change what the admin has decided; each call asks the database.

    The registry gets every manifest that the row names, since it judges by them what may leave.
    """

    def __init__(self, database: DatabaseSource, config: Config, registry: Registry) -> None:
        self.store = SettingsStore(
            database,
            timeout_s=config.database_timeout_s,
            manifests=lambda: {kind: registry.manifest(kind).text for kind in Kind},
        )
        self._registry = registry
        self._is_disabled = config.disabled
        self._has_created_row = False

    def row(self) -> Settings:
        """Return the row, creating it if need be."""
        with suppressed_instrumentation():
            row = self.store.read() if self._has_created_row else None
            return row or self.store.update()

    def settled_row(self) -> Settings | None:
        """Return the row as it counts for what is sent, with every manifest that it names at hand."""
        with suppressed_instrumentation():
            if not self._has_created_row:
                self.store.create()
                self._has_created_row = True
            row = self.store.settle()
            if row is not None:
                self._remember(row)
            return row

    def update(
        self,
        *,
        is_setup_completed: bool | None,
        enable_error_reporting: bool | None,
        enable_telemetry: bool | None,
        who: str | None,
    ) -> Settings:
        """Change the given flags and return the new row."""
        with suppressed_instrumentation():
            row = self.store.update(
                is_setup_completed=is_setup_completed,
                enable_error_reporting=enable_error_reporting,
                enable_telemetry=enable_telemetry,
                who=who,
            )
            return self._remembered(row)

    def answer(self, *, agreed: Collection[Kind], declined: Collection[Kind], who: str | None) -> Settings:
        """Note the answer to a wider manifest and return the new row."""
        with suppressed_instrumentation():
            return self._remembered(self.store.answer(agreed=agreed, declined=declined, who=who))

    def status(self, *, has_key: bool) -> dict[Kind, KindStatus]:
        """Return for each kind whether it is sent and why; makes nothing in the database."""
        row, reason = self.look()
        return {
            kind: status_of(
                kind,
                reason or (Reason.UNDECIDED if row is None else reason_of(kind, row, self._registry)),
                row,
                self._registry,
                has_key=has_key,
            )
            for kind in Kind
        }

    def look(self) -> tuple[Settings | None, Reason | None]:
        """Return the row, if it can be had, and what decides whatever it says; makes nothing there."""
        off = Reason.ENV if self._is_disabled else None
        try:
            with suppressed_instrumentation():
                row = self.store.read()
                if row is not None:
                    self._remember(row)
        except AbsentError:
            return None, off
        except OtelPosthogError:
            return None, off or Reason.STORE_UNREADABLE
        return row, off or (Reason.STORE_UNREADABLE if row is None else None)

    def questions(self, row: Settings) -> dict[Kind, Question]:
        """Return what this version would send beyond what was agreed to, by kind."""
        with suppressed_instrumentation():
            self._remember(row)
        found = ((kind, question_of(kind, row, self._registry)) for kind in Kind)
        return {kind: question for kind, question in found if question is not None}

    def audit(self, *, after_id: int, limit: int) -> list[dict[str, object]]:
        """Return who changed the decision when, oldest first, from the entry after `after_id` on."""
        with suppressed_instrumentation():
            return self.store.audit(after_id=after_id, limit=limit)

    def _remember(self, row: Settings) -> None:
        """Have at hand every manifest that the row names, or raise: consent is unknown without them."""
        for kind in Kind:
            for name in (row.manifest(kind), row.declined(kind)):
                if name is not None:
                    self._remember_one(name)

    def _remember_one(self, name: str) -> None:
        try:
            self._registry.remember(name, self.store.manifest)
        except RegistryError as error:
            raise StoreError(str(error)) from error

    def _remembered(self, row: Settings) -> Settings:
        """Return the row that was written; where a manifest is missing, nothing leaves until it is there."""
        with suppress(OtelPosthogError):
            self._remember(row)
        return row
