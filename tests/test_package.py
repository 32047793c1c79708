"""The shop-front of the package."""

from __future__ import annotations

import importlib

import pytest

import otel_posthog

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
