"""The registry that the settings name."""

from __future__ import annotations

import sys

import pytest

from otel_posthog import Registry, Telemetry, event
from otel_posthog.config.declared_events import declared_events
from otel_posthog.config.settings import Config
from otel_posthog.errors import ConfigError
from otel_posthog.registry import Kind
from otel_posthog.registry.documents import manifest_file

MODULE = '''
from typing import Literal
from otel_posthog import Registry, event

@event("report_made", why="see which formats matter", since="1.0")
class ReportMade:
    """A report was made."""
    format: Literal["pdf", "html"]

Again = ReportMade
LISTED = [ReportMade]
REGISTRY = Registry(LISTED)
NUMBER = 3
'''


@event("report_made", why="see which formats matter", since="1.0")
class OtherReportMade:
    """A report was made, told otherwise than by the module."""

    is_pdf: bool


@pytest.fixture
def product(tmp_path, monkeypatch):
    """Return the folder of a product with a module of events; it is the current one."""
    (tmp_path / "report_events.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("report_events", None)


def _declared(**settings):
    return declared_events(Config.resolve(settings, {}))


def test_without_settings_nothing_is_declared():
    """While a product is tried out, the registry is empty."""
    assert len(_declared()) == 0


@pytest.mark.parametrize("place", ["report_events", "report_events:LISTED", "report_events:REGISTRY"])
def test_events_are_found(product, place):
    """A module, a list of classes or a registry: all declare the same."""
    assert _declared(events=place).names() == ["report_made"]


def test_manifest_declares_the_same_as_its_classes(product):
    """A registry read from a manifest has that manifest, gauges included, so consent counts for both."""
    telemetry = Telemetry(environ={"OTEL_POSTHOG_EVENTS": "report_events"})
    telemetry.heartbeat.gauge("total_pipelines")(lambda: 3)
    (product / "manifest.json").write_text(manifest_file(telemetry.registry))

    read = _declared(manifest="manifest.json")

    assert {kind: read.manifest(kind) for kind in Kind} == {
        kind: telemetry.registry.manifest(kind) for kind in Kind
    }


def test_manifest_and_module_go_together(product):
    """Where both declare the same event in the same way, each counts."""
    (product / "manifest.json").write_text(manifest_file(_declared(events="report_events")))

    assert _declared(events="report_events", manifest="manifest.json").names() == ["report_made"]


def test_manifest_and_module_must_agree(product):
    """An event that the two declare differently is an error, which says how to make them agree."""
    (product / "manifest.json").write_text(manifest_file(Registry([OtherReportMade])))

    with pytest.raises(ConfigError, match=r"class of 'report_made' differ. Run: otel-posthog docs"):
        _declared(events="report_events", manifest="manifest.json")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"events": "report_events:NUMBER"}, "events: report_events:NUMBER is not a module, Registry"),
        ({"events": "report_events:NOTHING"}, "events: report_events:NOTHING: report_events has no NOTHING"),
        ({"events": "broken_events"}, r"events: broken_events cannot be imported \(ZeroDivisionError"),
        (
            {"events": "report_events:REGISTRY", "manifest": "manifest.json"},
            "events: with a manifest, name a module or a list",
        ),
    ],
)
def test_what_is_no_declaration_is_told(product, settings, message):
    """A place that declares nothing, or cannot be imported, is an error that names the setting."""
    (product / "broken_events.py").write_text("1 / 0\n")

    with pytest.raises(ConfigError, match=f"^{message}"):
        _declared(**settings)
