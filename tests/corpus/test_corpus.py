"""The corpus, planted everywhere and sent for real: nothing planted reaches any byte at the other end."""

from __future__ import annotations

import pytest
from corpus.figures import PAGE, figures, table
from corpus.innocents import INNOCENTS
from corpus.kinds import KINDS, planted
from corpus.making import encodings
from corpus.positions import POSITIONS, Place
from thoroughness import IS_FULL

from otel_posthog.scrubbing import Machine, Scrubber

SEEDS = 1000
FLUSH_TIMEOUT_S = 300  # texts of 10,000 characters, on a busy machine


def _cases(position):
    """Give each position every kind in a full run, else every tenth, a different tenth for each position."""
    place = list(POSITIONS).index(position)
    step, first = (1, 0) if IS_FULL else (10, place % 10)
    for number, kind in enumerate(KINDS[first::step]):
        yield kind, *planted(kind, SEEDS + place * 100 + number)


@pytest.mark.parametrize("position", list(POSITIONS))
def test_nothing_planted_arrives(make_telemetry, sink, tmp_path, position):
    """No planted secret is in any byte at the sink, raw or encoded, wherever it was planted (R21)."""
    place = Place(make_telemetry, tmp_path)
    telemetry = place.telemetry
    telemetry.start()
    telemetry.update_settings(enable_error_reporting=True, enable_telemetry=True)
    secrets = []

    for kind, text, secret in _cases(position):
        POSITIONS[position](place, text)
        secrets.append((kind, secret, text))

    assert telemetry.flush(timeout_s=FLUSH_TIMEOUT_S)
    received = b"\n".join(request.decoded + request.body for request in sink.requests)
    leaked = [
        (kind, text) for kind, secret, text in secrets if any(form in received for form in encodings(secret))
    ]
    assert leaked == []
    assert position in NEVER_SENT or sink.events


# What stands there is nothing that leaves; the sink may stay empty.
NEVER_SENT = {"span_name"}


@pytest.mark.parametrize(
    ("kind", "text", "secret"),
    [(kind, *planted(kind, seed)) for kind in KINDS for seed in range(20 if IS_FULL else 3)],
)
def test_nothing_planted_survives_in_a_nested_value(kind, text, secret):
    """Also as an item of a list within a mapping, as a key, and beside others, a secret is taken out."""
    scrubber = Scrubber(machine=Machine())
    value = {"a": [{"b": (text, {text: 1})}, [text, "x"]], "c": {"name": "n", "value": text}}

    scrubbed = repr(scrubber._value(value, 0)).encode()

    assert not any(form in scrubbed for form in encodings(secret))


def test_innocent_texts_are_unchanged():
    """At most one in a hundred innocent texts is altered (R21)."""
    scrubber = Scrubber(machine=Machine())

    altered = [text for text in INNOCENTS if scrubber.text(text) != text]

    assert len(altered) <= len(INNOCENTS) / 100, altered


def test_figures_in_the_documentation_are_those_of_the_corpus():
    """The table in docs/privacy.md is what `python tests/corpus/figures.py` writes."""
    assert table(figures()) in PAGE.read_text(encoding="utf-8")


def test_text_around_a_secret_stays_readable():
    """Of the innocent words around planted secrets at least nine in ten survive."""
    shares = [figure.words_kept / figure.words for figure in figures() if figure.words]

    assert sum(shares) / len(shares) > 0.9
