"""What a worker of a product does behind a pooler of connections."""

from __future__ import annotations

from databases import some_database

from otel_posthog.errors import StoreError
from otel_posthog.store import SettingsStore

ROUNDS = 8  # psycopg prepares a statement when it runs for the sixth time


def work(kind: str, url: str) -> list[str]:
    """Change and read the row, and return the failures."""
    failures = []
    with some_database(kind, url) as database:
        store = SettingsStore(database.target)
        for number in range(ROUNDS):
            try:
                store.update(enable_telemetry=bool(number % 2))
                store.settle()
            except StoreError as error:
                failures.append(str(error))
        store.close()
    return failures
