"""The files of words and patterns by which the scrubber judges."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files

import pytest
from programs import run_python

WORDS = files("otel_posthog.scrubbing").joinpath("word_lists")
FILES = sorted(WORDS.iterdir(), key=lambda file: file.name)
PATTERNS = sorted(
    files("otel_posthog.scrubbing").joinpath("pattern_lists").iterdir(), key=lambda file: file.name
)
IMPORT = """
import sys
reads = []
sys.addaudithook(lambda name, args: reads.append(args[0]) if name == "open" else None)
import otel_posthog.scrubbing
print([path for path in reads if str(path).endswith(".txt")])
"""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_entries_are_spelled_as_names_are_compared(file):
    """An entry with a capital, a stray blank or a twin would never match, or match by chance."""
    entries = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert entries
    assert entries == [" ".join(entry.casefold().split()) for entry in entries]
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("file", PATTERNS, ids=lambda file: file.name)
def test_each_line_is_a_pattern_of_its_own(file):
    """A line that is no pattern, matches nothing at all, or comes twice would spoil the whole list."""
    entries = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    plain = [re.sub(r"\{[A-Z]+\}", "x", entry) for entry in entries]

    assert entries
    assert len(entries) == len(set(entries))
    assert [entry for entry in plain if re.compile(entry).match("")] == []


def test_import_reads_no_list():
    """A program that scrubs nothing does not pay for the lists."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_scrubbing_imports_nothing():
    """A child that is forked during an import waits for it for ever, so the first text causes none."""
    program = """
        import sys
        from otel_posthog.scrubbing import Scrubber

        scrubber, before = Scrubber(), set(sys.modules)
        scrubber.text("mysql://root:hunter2@db.example/app card 4111 1111 1111 1111 in /home/anna/x.py")
        print(sorted(set(sys.modules) - before))
    """

    assert run_python(program).stdout == "[]\n"
