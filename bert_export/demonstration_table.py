"""The demonstration checkpoints by name: light, for whoever lists or checks names.

How one is read stands in :mod:`bert_export.checkpoints.demo`.
"""

from __future__ import annotations

from pathlib import Path

from bert_export.errors import CheckpointError, one_of, shown

__all__ = [
    "BASE",
    "BASE_LICENCE",
    "CARD",
    "DEMONSTRATIONS",
    "demonstration_names",
    "find_demonstration",
]

BASE = "minilm"
"""The model that every demonstration but this one adapts."""

BASE_LICENCE = "apache-2.0"

CARD = "card.json"
DEMONSTRATIONS = Path(__file__).parent / "demonstrations"


def demonstration_names(demonstrations: Path = DEMONSTRATIONS) -> tuple[str, ...]:
    """The base model's name, then those of the adapters, sorted."""
    adapters = sorted(path.parent.name for path in demonstrations.glob(f"*/{CARD}"))
    return BASE, *adapters


def find_demonstration(name: str, demonstrations: Path = DEMONSTRATIONS) -> Path:
    """The folder of a demonstration's adapter; the base model has none, so none of that name is.

    Raises:
        CheckpointError: No demonstration is called so.
    """
    names = demonstration_names(demonstrations)
    if name not in names:
        raise CheckpointError(
            f"demonstration checkpoint {shown(name)} is unknown", **one_of(name, names)
        )
    return demonstrations / name
