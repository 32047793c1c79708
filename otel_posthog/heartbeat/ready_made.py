"""Gauges that many products want, by name.

A gigabyte has 1,000,000,000 bytes here and a megabyte 1,000,000; sizes and shares are rounded to one
decimal, so that they tell a size and not an installation.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeAlias, cast

from otel_posthog.errors import MissingExtraError, RegistryError
from otel_posthog.store import DatabaseMeasures

from .gauges import BUCKETS, Callback, Gauge, bucket, make_gauge

Counting: TypeAlias = Callable[[], int] | Callable[[], Awaitable[int]]
"""Returns how many there are, at once or soon."""

BYTES_PER_MB = 1_000_000
BYTES_PER_GB = 1_000_000_000
CPU_SAMPLE_S = 1.0  # a share of the CPU is one over some time
DECIMALS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What ready-made gauges measure."""

    measures: DatabaseMeasures
    folder: Path | None
    count: Counting | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    make: Callable[[Sources], Callback]
    unit: str
    description: str
    one_of: Collection[str] | None = None


def ready_made(name: str, sources: Sources) -> Gauge:
    """Return the gauge of that name; raise where there is none, or what it measures was not given."""
    recipe = _RECIPES.get(name)
    if recipe is None:
        raise RegistryError(
            f"There is no ready-made gauge {name!r}. There are: {', '.join(sorted(_RECIPES))}."
        )
    return make_gauge(
        recipe.make(sources),
        name=name,
        unit=recipe.unit,
        description=recipe.description,
        one_of=recipe.one_of,
    )


def _free_disk_gb(sources: Sources) -> Callback:
    folder = (sources.folder or Path()).resolve()
    return lambda: round(shutil.disk_usage(folder).free / BYTES_PER_GB, DECIMALS)


def _log_files_count(sources: Sources) -> Callback:
    folder = _folder(sources)
    return lambda: sum(1 for _ in _files(folder))


def _log_files_size_mb(sources: Sources) -> Callback:
    folder = _folder(sources)
    return lambda: round(sum(_files(folder)) / BYTES_PER_MB, DECIMALS)


def _database_size_mb(sources: Sources) -> Callback:
    return lambda: round(sources.measures.size_bytes() / BYTES_PER_MB, DECIMALS)


def _db_kind(sources: Sources) -> Callback:
    return sources.measures.kind


def _total_users_bucket(sources: Sources) -> Callback:
    """Return a callback that keeps the count to itself."""
    count = sources.count
    if count is None:
        raise RegistryError("total_users_bucket needs count=, a callable that returns the number of users.")
    if inspect.iscoroutinefunction(count):
        counted = cast("Callable[[], Awaitable[int]]", count)

        async def bucket_soon() -> str | None:
            return bucket(await counted())

        return bucket_soon
    at_once = cast("Callable[[], int]", count)
    return lambda: bucket(at_once())


def _of_system(measure: Callable[[ModuleType], float]) -> Callable[[Sources], Callback]:
    def make(_sources: Sources) -> Callback:
        if importlib.util.find_spec("psutil") is None:
            raise MissingExtraError("psutil", "system")
        return lambda: round(measure(importlib.import_module("psutil")), DECIMALS)

    return make


def _folder(sources: Sources) -> Path:
    if sources.folder is None:
        raise RegistryError("log_files_count and log_files_size_mb need folder=, where the logs are.")
    return sources.folder.resolve()


def _files(folder: Path) -> Iterator[int]:
    """Yield the size of each regular file in the folder and below; one that goes meanwhile is none."""
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):  # a link beside its file would count twice
                yield status.st_size


_RECIPES: Mapping[str, _Recipe] = {
    "free_disk_gb": _Recipe(make=_free_disk_gb, unit="GBy", description="Free space of the disk."),
    "log_files_count": _Recipe(make=_log_files_count, unit="{file}", description="Number of log files."),
    "log_files_size_mb": _Recipe(make=_log_files_size_mb, unit="MBy", description="Size of the log files."),
    "database_size_mb": _Recipe(make=_database_size_mb, unit="MBy", description="Size of the database."),
    "db_kind": _Recipe(
        make=_db_kind, unit="1", description="Kind of the database.", one_of=("sqlite", "postgresql")
    ),
    "total_users_bucket": _Recipe(
        make=_total_users_bucket, unit="1", description="Number of users, as a bucket.", one_of=BUCKETS
    ),
    "system_ram_total_mb": _Recipe(
        make=_of_system(lambda psutil: psutil.virtual_memory().total / BYTES_PER_MB),
        unit="MBy",
        description="Memory of the machine.",
    ),
    "system_ram_percent": _Recipe(
        make=_of_system(lambda psutil: psutil.virtual_memory().percent),
        unit="%",
        description="Share of the memory in use.",
    ),
    "system_cpu_percent": _Recipe(
        make=_of_system(lambda psutil: psutil.cpu_percent(interval=CPU_SAMPLE_S)),
        unit="%",
        description="Share of the CPU in use, over one second.",
    ),
}
