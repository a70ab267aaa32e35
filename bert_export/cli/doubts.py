"""What a bundle's proof does not cover, as lines of the command line."""

from __future__ import annotations

from collections.abc import Sequence

from bert_export.bundle import EngineRecord
from bert_export.cli.console import stderr

__all__ = ["doubts_of", "print_doubts"]


def doubts_of(engines: Sequence[EngineRecord]) -> tuple[str, ...]:
    """The warnings of the engines' parity checks and accuracy budgets, each once."""
    doubts: dict[str, None] = {}
    for engine in engines:
        if engine.parity is not None:
            doubts |= dict.fromkeys(engine.parity.warnings)
        if engine.quantization is not None and engine.quantization.search is not None:
            doubts |= dict.fromkeys(engine.quantization.search.warnings)
    return tuple(doubts)


def print_doubts(engines: Sequence[EngineRecord]) -> None:
    """Print the warnings of the engines on standard error."""
    for warning in doubts_of(engines):
        stderr.print(f"warning: {warning}", style="yellow")
