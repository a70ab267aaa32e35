"""How the choice of a target by measurement is shown."""

from __future__ import annotations

from rich.table import Table

from bert_export.bundle import ChoiceRecord, Manifest
from bert_export.cli.console import stdout

__all__ = ["print_choice"]


def print_choice(manifest: Manifest) -> None:
    """Print the figures, where the default target was found by measurement."""
    if manifest.choice is not None:
        stdout.print(_table(manifest.choice))


def _table(choice: ChoiceRecord) -> Table:
    """Milliseconds of every target at every shape, the chosen one in bold."""
    threads = f"{choice.threads} thread{'s' if choice.threads > 1 else ''}"
    table = Table(
        title=f"fastest target: {choice.chosen} (medians in ms, {threads}, taking turns)",
        title_justify="left",
        show_edge=False,
    )
    table.add_column("target", overflow="fold")
    table.add_column("precision")
    for shape in choice.shapes:
        table.add_column(shape, justify="right")
    refused = any(candidate.refusal for candidate in choice.candidates)
    if refused:
        table.add_column("left out because", overflow="fold")
    for candidate in choice.candidates:
        times = (candidate.milliseconds.get(shape) for shape in choice.shapes)
        table.add_row(
            candidate.target,
            candidate.precision,
            *("-" if time is None else f"{time:.3g}" for time in times),
            *([candidate.refusal or ""] if refused else []),
            style="bold" if candidate.target == choice.chosen else None,
        )
    return table
