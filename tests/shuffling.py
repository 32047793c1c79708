"""Run the tests in another order each time: `pytest --seed 7` repeats one.

pytest-randomly loads every library of random data that is installed, which takes longer than most tests.
"""

from __future__ import annotations

import random
from itertools import groupby

import pytest


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, help="shuffle the test files, and the tests in each, by this number")


def pytest_report_header(config):
    return f"shuffled with --seed {config.option.seed}" if config.option.seed is not None else None


@pytest.hookimpl(tryfirst=True)  # pytest groups by shared fixtures afterwards
def pytest_collection_modifyitems(config, items):
    if config.option.seed is None:
        return
    chance = random.Random(config.option.seed)
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    for file in files:
        chance.shuffle(file)
        # A browser keeps an event loop running in the main thread until its module ends, and asynchronous
        # tests need that thread.
        file.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))
    chance.shuffle(files)
    items[:] = [item for file in files for item in file]
