"""What a bundle's proof does not cover, as lines of the command line."""

from __future__ import annotations

from collections.abc import Sequence

from bert_export.bundle import EngineRecord
from bert_export.cli.console import stderr

__all__ = ["parity_doubts", "print_doubts"]


def parity_doubts(engines: Sequence[EngineRecord]) -> tuple[str, ...]:
    """The warnings of the engines' parity checks, each once."""
    return tuple(
        dict.fromkeys(
            warning
            for engine in engines
            if engine.parity is not None
            for warning in engine.parity.warnings
        )
    )


def print_doubts(engines: Sequence[EngineRecord]) -> None:
    """Print the warnings of the engines on standard error."""
    for warning in parity_doubts(engines):
        stderr.print(f"warning: {warning}", style="yellow")
