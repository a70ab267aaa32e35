"""The table in ``bert_export/demonstrations/README.md``, written from the cards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_export.checkpoints.demo import ADAPTER, CARD

__all__ = ["update_table"]

_START, _END = "<!-- table: written by scripts/demonstrations/train.py -->", "<!-- end of table -->"
_HEADING = (
    "| adapter | task | data (licence) | score on the test set | adapter's licence | size |\n"
    "|---|---|---|---|---|---|\n"
)


def update_table(folder: Path) -> None:
    """Put the scored cards of a folder into its README's table, where there is a README.

    Args:
        folder: Of the adapters.
    """
    readme = folder / "README.md"
    if not readme.is_file():
        return
    before, _, rest = readme.read_text(encoding="utf-8").partition(_START)
    after = rest.partition(_END)[2]
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"*/{CARD}")]
    scored = sorted(card["name"] for card in cards if "score" in card)
    rows = "".join(_row(folder / name) for name in scored)
    readme.write_text(f"{before}{_START}\n{_HEADING}{rows}{_END}{after}", encoding="utf-8")


def _row(folder: Path) -> str:
    card: Mapping[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    data = "; ".join(f"{entry['name']} ({entry['licence']})" for entry in card["data"])
    size = (folder / ADAPTER).stat().st_size / 1e6
    cells = (f"`{card['name']}`", card["task"], data, _score(card), card["licence"])
    return f"| {' | '.join(cells)} | {size:.2f} MB |\n"


def _score(card: Mapping[str, Any]) -> str:
    """Every figure of every test set, the headline first."""
    score = card["score"]
    cells = []
    for part, figures in score["all"].items():
        metrics = [metric for metric, value in figures.items() if -1 <= value <= 1]
        for metric in sorted(metrics, key=lambda name: name != score["metric"]):
            prefix = f"{part}: " if len(score["all"]) > 1 else ""
            cells.append(f"{prefix}{metric} {figures[metric]:.3f}")
    return ", ".join(cells)
