"""Commands that need more than the package itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bert_export.errors import MissingExtraError

__all__ = ["export_extra"]


@contextmanager
def export_extra(command: str) -> Iterator[None]:
    """Say which extra to install where an import inside fails.

    Args:
        command: That needs what the extra ``export`` brings.

    Raises:
        MissingExtraError: A package is not installed.
        ImportError: A module of this package itself cannot be imported.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] == __name__.partition(".")[0]:
            raise
        raise MissingExtraError(f"{command} ({error.name})", extra="export") from error
