"""What the commands that export share: what they need installed, and how their stages are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from bert_export.bundle import SearchRecord
from bert_export.cli.console import stderr
from bert_export.cli.search import search_table
from bert_export.cli.stages import DrawnStages
from bert_export.errors import BudgetError, MissingExtraError

__all__ = ["drawn_export", "needs_export_extra"]


@contextmanager
def needs_export_extra(command: str) -> Iterator[None]:
    """The block imports what needs the extra ``export``, which brings PyTorch.

    Args:
        command: Name of the command, for the error.

    Raises:
        MissingExtraError: The extra is not installed.
    """
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"{command} ({error.name})", extra="export") from error


@contextmanager
def drawn_export(*, quiet: bool) -> Iterator[DrawnStages]:
    """The stages of the block's export, drawn; of a budget that could not be kept, the path too."""
    try:
        with DrawnStages(quiet=quiet) as listener:
            yield listener
    except BudgetError as error:
        if not quiet:
            stderr.print(search_table(cast("SearchRecord", error.search)))
        raise
