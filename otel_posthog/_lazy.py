"""An attribute that is made when it is first asked for, without a lock.

Up to Python 3.11 `functools.cached_property` holds one for all instances while it makes the value. A
process that forks at that moment leaves a child that waits for it for ever. Here two threads may make
the value at once, and one of both equal values stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar, overload

_T = TypeVar("_T")


class lazy(Generic[_T]):  # noqa: N801 - reads as `property` does
    """Like `functools.cached_property` of Python 3.12."""

    def __init__(self, make: Callable[..., _T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | _T:
        """Return the value, which stands in the instance from then on."""
        if instance is None:
            return self
        value: _T = instance.__dict__.setdefault(self._name, self._make(instance))
        return value
