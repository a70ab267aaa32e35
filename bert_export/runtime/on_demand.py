"""Attributes that are made when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["make_all", "on_demand"]

Value = TypeVar("Value")


class _Attribute:
    """An attribute that is made when it is asked for, and then kept in the instance."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make, self._name = make, make.__name__

    def __get__(self, instance: Any, _: type) -> Any:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._make(instance)
        return value


def on_demand(make: Callable[[Any], Value]) -> Value:
    """Turn a method into an attribute that is made once.

    As :class:`functools.cached_property`, which takes a lock in Python 3.11 that costs more than
    what is read. Two threads at worst make it twice.
    """
    return cast("Value", _Attribute(make))


def make_all(instance: object) -> None:
    """Make every such attribute of an instance, so that what shares its attributes has them."""
    for own in type(instance).__mro__:
        for name, value in vars(own).items():
            if isinstance(value, _Attribute):
                getattr(instance, name)
