"""Commands that need more than the package itself."""

from __future__ import annotations

from contextlib import AbstractContextManager

from bert_export.importing import needs_extra

__all__ = ["export_extra"]


def export_extra(command: str) -> AbstractContextManager[None]:
    """Say that the extra ``export`` is to be installed where an import inside fails.

    Args:
        command: That needs what the extra brings.

    Raises:
        MissingExtraError: A package is not installed.
        ImportError: A module of this package itself cannot be imported.
    """
    return needs_extra(command, extra="export")
