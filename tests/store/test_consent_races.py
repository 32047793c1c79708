"""Many admins and workers at once: every change is whole, and the audit trail tells each of them in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from random import Random

import pytest
from thoroughness import IS_FULL

from otel_posthog.errors import StoreError
from otel_posthog.registry import Kind
from otel_posthog.registry.manifest import hash_of

THREADS = 6
CHANGES = 40 if IS_FULL else 8
VERSIONS = (
    {Kind.ERRORS: "errors 1", Kind.TELEMETRY: "telemetry 1"},
    {Kind.ERRORS: "errors 1", Kind.TELEMETRY: "telemetry 2"},
)
HASHES = {None, *(hash_of(text) for version in VERSIONS for text in version.values())}


def _act(store, random):
    """Do what an admin or a worker of this version does."""
    kinds = random.choice([[Kind.ERRORS], [Kind.TELEMETRY], list(Kind)])
    match random.randrange(6):
        case 0:
            return store.update(enable_telemetry=True, who="a")
        case 1:
            return store.update(enable_error_reporting=random.random() < 0.5, who="b")
        case 2:
            return store.answer(agreed=kinds, who="c")
        case 3:
            return store.answer(declined=kinds, who="d")
        case 4:
            return store.update(enable_telemetry=False, who="e")
        case _:
            return store.settle()


def _work(store, seed):
    random = Random(seed)
    rows = []
    for _ in range(CHANGES):
        with suppress(StoreError):  # SQLite gives no turn to each in time; then nothing has changed
            rows.append(_act(store, random))
    return rows


@pytest.fixture
def two_versions(plain_database, open_store):
    """Return a store of each of two versions of the product, on one database."""
    stores = [
        open_store(plain_database.target, timeout_s=30, manifests=lambda version=version: version)
        for version in VERSIONS
    ]
    stores[0].create()
    return stores


def test_audit_trail_has_no_gap(two_versions):
    """Each entry begins where the one before it ended, and the last one ends where things stand."""
    with ThreadPoolExecutor(THREADS) as threads:
        works = threads.map(lambda seed: _work(two_versions[seed % 2], seed), range(THREADS))
        rows = [row for work in works for row in work]

    assert rows
    entries, row = two_versions[0].audit(), two_versions[0].read()
    assert entries[0]["old_state"] == _all_off()
    assert all(before["new_state"] == after["old_state"] for before, after in pairwise(entries))
    assert entries[-1]["new_state"] == _state(row)
    assert all(_is_whole(row) for row in rows)


def test_withdrawal_beats_an_answer_under_way(two_versions):
    """However answers and a withdrawal fall together, what is off is bound to no manifest afterwards."""
    for seed in range(CHANGES):
        two_versions[0].update(enable_telemetry=True)
        with ThreadPoolExecutor(THREADS) as threads:
            answers = [threads.submit(two_versions[1].answer, agreed=[Kind.TELEMETRY]) for _ in range(3)]
            off = threads.submit(two_versions[seed % 2].update, enable_telemetry=False)
            rows = [work.result() for work in (*answers, off)]

        last = two_versions[0].read()
        assert (last.enable_telemetry, last.telemetry_manifest, last.instance_id) == (False, None, None)
        assert all(_is_whole(row) for row in rows)


def _is_whole(row):
    """Tell whether each kind that is on has a manifest that somebody knows, and each that is off none."""
    return all(
        (row.kinds[kind].manifest is not None) == row.kinds[kind].is_granted
        and {row.kinds[kind].manifest, row.kinds[kind].declined} <= HASHES
        and (row.kinds[kind].is_granted or row.kinds[kind].declined is None)
        for kind in Kind
    ) and (row.instance_id is not None) == (row.enable_telemetry or row.enable_error_reporting)


def _all_off():
    flags = dict.fromkeys(("is_setup_completed", "enable_error_reporting", "enable_telemetry"), False)
    names = ("errors_manifest", "telemetry_manifest", "errors_declined", "telemetry_declined")
    return {**flags, **dict.fromkeys(names)}


def _state(row):
    return {name: getattr(row, name) for name in _all_off()}
