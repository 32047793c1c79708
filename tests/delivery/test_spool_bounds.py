"""Bounds of the spool's file: its size to the byte, and what is left of it once all is removed."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from random import Random

import pytest
from spools import World, some_batch

from otel_posthog._runtime.reporting import Counts, LogLimiter
from otel_posthog.delivery.database_files import PAGE_BYTES
from otel_posthog.delivery.spool_file import PromisedSpoolFile
from otel_posthog.delivery.stored_batch import encoded


@pytest.fixture
def world(tmp_path):
    with World(tmp_path / "spool") as made:
        yield made


def _noise(size_bytes):
    """Return a text that stays as large when it is compressed, the same each time."""
    return Random(size_bytes).randbytes(size_bytes).hex()


def _shown(spool):
    return [batch.oldest_ns for batch in spool.waiting()]


def _used_bytes(path):
    with closing(sqlite3.connect(path)) as connection:
        pages, free, page_bytes = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return (pages - free) * page_bytes


@pytest.fixture
def filled(tmp_path):
    """Return batches, and how many bytes of a file they take."""
    batches = [some_batch(number, text=_noise(4_000)) for number in range(1, 21)]
    measured = World(tmp_path / "measured")
    spool = measured.spool()
    for batch in batches:
        spool.put(batch)
    used = _used_bytes(measured.path)
    spool.close()
    return batches, used


def test_file_may_be_full_to_the_last_byte(world, filled):
    """Batches that fill the file exactly stay; with one byte less the oldest goes."""
    batches, used = filled
    spool = world.spool(max_bytes=used)

    assert [spool.put(batch) for batch in batches] == [(0, True)] * 20
    spool.delete()

    short = world.spool(max_bytes=used - 1)
    assert [short.put(batch) for batch in batches] == [(0, True)] * 19 + [(1, True)]
    assert _shown(short) == list(range(2, 21))


def test_promised_batches_fill_the_file_and_the_next_is_rejected(world, filled):
    """What was acknowledged stays; with one byte less the newest is rejected."""
    batches, used = filled
    used -= PAGE_BYTES  # it has no ledger, which takes a page

    def lost(max_bytes):
        spool = PromisedSpoolFile(
            world.folder,
            max_bytes=max_bytes,
            max_age_s=9,
            counts=Counts(),
            log_limiter=LogLimiter(),
        )
        world.made.append(spool)
        found = [spool.put(batch) for batch in batches], _shown(spool)
        spool.delete()
        return found

    assert lost(used) == ([(0, True)] * 20, list(range(1, 21)))
    assert lost(used - 1) == ([(0, True)] * 19 + [(1, False)], list(range(1, 20)))


def test_large_batch_takes_the_place_of_several(world):
    """All that had to go for one batch are counted."""
    spool = world.spool(max_bytes=260_000)
    for number in range(1, 5):
        spool.put(some_batch(number, number, text=_noise(10_000)))

    lost, is_kept = spool.put(some_batch(5, text=_noise(180_000)))

    assert (lost, is_kept, _shown(spool)) == (4, True, [3, 4, 5])


@pytest.mark.parametrize("spare_bytes", [20_000, 40_960], ids=["no room for tables", "no room for pages"])
def test_batch_that_fits_only_without_its_overhead_is_lost_alone(world, spare_bytes):
    """A batch is measured with the pages that it takes, and drives nothing else out for nothing."""
    large = some_batch(2, 3, text=_noise(600_000))
    spool = world.spool(max_bytes=len(encoded(large)) + spare_bytes)
    spool.put(some_batch(1))

    lost, is_kept = spool.put(large)

    assert (lost, is_kept, _shown(spool)) == (2, False, [1])


def test_deleted_file_does_not_come_back(world):
    """Neither a batch that is removed nor a claim makes a file again after all was withdrawn."""
    spool = world.spool()
    spool.put(some_batch(1))
    under_way = spool.first()
    spool.delete()

    spool.remove(under_way)
    with spool.claim() as is_ours:
        assert is_ours is False

    assert world.files() == ["file.lock"]


def test_claim_that_another_has_is_refused_at_once(world):
    """A drainer does not wait for the claim: memory is drained meanwhile."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    before_s = time.monotonic()

    with spool.claim():
        for _ in range(10):
            with other.claim() as is_ours:
                assert is_ours is False

    assert time.monotonic() - before_s < 5


def test_child_has_no_claim_and_may_take_it(world):
    """A child process holds nothing of what its parent claimed, once the parent has ended."""
    spool, other = world.spool(), world.spool()
    spool.put(some_batch(1))
    other.after_fork()
    with spool.claim(), closing(spool.open()):  # which a child never closes, since it is the parent's
        spool.after_fork()

        with other.claim() as is_free:
            assert is_free is True

    with spool.claim() as is_ours:
        assert is_ours is True
