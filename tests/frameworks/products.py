"""The products by the name of their framework."""

from __future__ import annotations

from types import ModuleType

import pytest

from . import (
    product_bare,
    product_django,
    product_fastapi,
    product_litestar,
    product_quart,
    product_starlette,
)

PRODUCTS: dict[str, ModuleType] = {
    "bare": product_bare,
    "django": product_django,
    "fastapi": product_fastapi,
    "litestar": product_litestar,
    "quart": product_quart,
    "starlette": product_starlette,
}


def each(behaviours):
    """Parametrise a test over every product and behaviour; a skip says what a framework has not."""
    return pytest.mark.parametrize(
        ("product", "behaviour"),
        [
            pytest.param(
                product,
                behaviour,
                id=f"{name}{behaviour.path}",
                marks=[pytest.mark.skip(f"{name}: {lack}")] if (lack := _lack(product, behaviour)) else [],
            )
            for name, product in PRODUCTS.items()
            for behaviour in behaviours
        ],
    )


def _lack(product, behaviour):
    return product.LACKS.get(behaviour.path)
