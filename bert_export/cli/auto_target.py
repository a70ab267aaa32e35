"""How the figures that chose the fastest target are shown."""

from __future__ import annotations

from rich.table import Table

from bert_export.bundle import AutoTargetRecord, Manifest
from bert_export.cli.tables import print_table

__all__ = ["print_auto_target"]


def print_auto_target(manifest: Manifest) -> None:
    """Print the figures, where the default target was found by measurement."""
    if manifest.auto_target is not None:
        fastest = manifest.engine(manifest.auto_target.chosen)
        print_table(_table(manifest.auto_target, fastest.precision))


def _table(auto_target: AutoTargetRecord, precision: str) -> Table:
    """Milliseconds of every target at every shape, the chosen one in bold."""
    chosen = (auto_target.chosen, precision)
    threads = f"{auto_target.threads} thread{'s' if auto_target.threads > 1 else ''}"
    table = Table(
        title=f"fastest: {' '.join(chosen)} (medians in ms, {threads}, taking turns)",
        title_justify="left",
        show_edge=False,
    )
    table.add_column("target", overflow="fold")
    table.add_column("precision")
    for shape in auto_target.shapes:
        table.add_column(shape, justify="right")
    refused = any(candidate.refusal for candidate in auto_target.candidates)
    if refused:
        table.add_column("left out because", overflow="fold")
    for candidate in auto_target.candidates:
        times = (candidate.milliseconds.get(shape) for shape in auto_target.shapes)
        table.add_row(
            candidate.target,
            candidate.precision,
            *("-" if time is None else f"{time:.3g}" for time in times),
            *([candidate.refusal or ""] if refused else []),
            style="bold" if (candidate.target, candidate.precision) == chosen else None,
        )
    return table
