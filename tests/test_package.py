"""The shop-front of the package."""

from __future__ import annotations

import importlib.util
import re

import pytest
from programs import ROOT

import otel_posthog

VERSIONING = (ROOT / "docs" / "versioning.md").read_text(encoding="utf-8")
FIRST_NAMES = {
    *("Buckets", "ConfigError", "Expires", "MaxChars", "MissingExtraError", "OtelPosthogError", "Range"),
    *("Registry", "RegistryError", "ScrubRule", "ScrubRules", "SecurityHeaders", "Sensitivity"),
    *("SpanRule", "StoreError", "Telemetry", "TelemetryMiddleware", "Version"),
    *("bucket", "capture_exception", "csp_nonce", "event", "settings_api", "track"),
}
SHOP_FRONTS = ["otel_posthog", "otel_posthog.mapping", "otel_posthog.scrubbing", "otel_posthog.store"]


@pytest.mark.parametrize("name", SHOP_FRONTS)
def test_shop_fronts_are_complete(name):
    """What a shop-front promises is there."""
    module = importlib.import_module(name)

    assert module.__all__
    assert all(getattr(module, promised) is not None for promised in module.__all__)


def test_unknown_name_is_an_attribute_error():
    """A name that is not there fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Telemetri'"):
        _ = otel_posthog.Telemetri


def test_no_public_name_disappears():
    """What the first version offered is still there; a new name needs no entry here."""
    assert set(otel_posthog.__all__) >= FIRST_NAMES


def test_documented_names_can_be_imported():
    """Each name that docs/versioning.md promises of a module is there."""
    rows = re.findall(r"^\| `(otel_posthog\.[\w.]+)` \| ([^|;]+)", VERSIONING, re.MULTILINE)
    promised = {(module, name) for module, names in rows for name in re.findall(r"`(\w+)`", names)}

    assert len(promised) >= 10
    assert [each for each in sorted(promised) if not _is_there(*each)] == []


def _is_there(module, name):
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None
