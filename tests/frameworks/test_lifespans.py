"""Starts and ends of applications in six frameworks: failures are reported before the process ends."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from frameworks import client
from frameworks.products import PRODUCTS

WITH_LIFESPAN = {name: product for name, product in PRODUCTS.items() if name != "django"}
every_product = pytest.mark.parametrize("product", WITH_LIFESPAN.values(), ids=WITH_LIFESPAN)


@asynccontextmanager
async def fails_to_start(_app):
    """Fail where the application starts."""
    raise OSError("no room on the device")
    yield


@asynccontextmanager
async def fails_to_end(_app):
    """Fail where the application ends."""
    yield
    raise OSError("no room on the device")


@asynccontextmanager
async def goes_well(_app):
    """Start and end."""
    yield


@every_product
@pytest.mark.parametrize("lifespan", [fails_to_start, fails_to_end])
def test_with_lifespan_is_one_report(fresh_reports, product, lifespan):
    """An application that fails to start or to end is one event (R12)."""
    client.lifespan(fresh_reports.wrap(product.with_lifespan(lifespan)))

    [report] = fresh_reports.all()
    assert ("OSError", "no room on the device") in report.chain  # Litestar has it in a group


@every_product
@pytest.mark.parametrize("lifespan", [fails_to_start, fails_to_end, goes_well])
def test_server_gets_what_it_would_get_without_us(fresh_reports, product, lifespan):
    """Messages and what is raised are the same."""
    with fresh_reports.closed():
        bare = client.lifespan(product.with_lifespan(lifespan))

    wrapped = client.lifespan(fresh_reports.wrap(product.with_lifespan(lifespan)))

    assert _types(wrapped) == _types(bare)
    assert (type(wrapped.raised), str(wrapped.raised)) == (type(bare.raised), str(bare.raised))


@every_product
def test_lifespan_that_goes_well_is_none(fresh_reports, product):
    """Start and end of a healthy application are not reported."""
    client.lifespan(fresh_reports.wrap(product.with_lifespan(goes_well)))

    assert fresh_reports.all() == []


def test_refusal_of_the_lifespan_protocol_is_none(fresh_reports):
    """Django raises where a server asks for a lifespan: that is its way to say that it has none."""
    answer = client.lifespan(fresh_reports.wrap(PRODUCTS["django"].app))

    assert fresh_reports.all() == []
    assert isinstance(answer.raised, ValueError)


def _types(exchange):
    """Return what was sent; a failure's message holds the traceback, and so our frames as well."""
    return [message["type"] for message in exchange.messages]
