"""Without consent to error reports no framework's failure leaves, and nothing is changed."""

from __future__ import annotations

import pytest
from frameworks import client
from frameworks.products import PRODUCTS


@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
@pytest.mark.parametrize("path", ["/raise/unhandled", "/thread", "/stream"])
def test_nothing_leaves(telemetry, sink, product, path):
    """With only the other flag granted no exception leaves (R2)."""
    telemetry.update_settings(enable_telemetry=True)

    wrapped = client.get(telemetry.wrap(product.app), path)

    bare = client.get(product.app, path)
    assert telemetry.flush()
    assert sink.requests == []
    assert wrapped.messages == bare.messages
    assert type(wrapped.raised) is type(bare.raised)
