"""Names that are imported when they are first used, and packages that may be missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from bert_export.errors import MissingExtraError

__all__ = ["import_on_use", "needs_extra"]


def import_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names cost seconds to import.

    Args:
        package: Its name.
        homes: The module of each name.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return find


@contextmanager
def needs_extra(feature: str, *, extra: str) -> Iterator[None]:
    """Say which extra to install where an import inside fails.

    Args:
        feature: What the user asked for.
        extra: The extra that brings what it needs.

    Raises:
        MissingExtraError: A package is not installed.
        ImportError: A module of this package itself cannot be imported.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        own = __name__.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] == own:
            raise
        raise MissingExtraError(f"{feature} ({error.name})", extra=extra) from error
