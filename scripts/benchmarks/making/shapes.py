"""Graph inputs of the measured shapes, the same for all contenders of a table."""

from __future__ import annotations

from pathlib import Path

from bert_export.measuring.child import call_apart
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.places import WORKERS

__all__ = ["LABELS", "SHAPES", "shape_workloads"]

SHAPES: tuple[tuple[int, int], ...] = ((1, 16), (1, 128), (8, 128), (32, 64))
"""Rows and tokens of each: a query, a long text, and two batches."""

LABELS = tuple(f"{batch}x{sequence}" for batch, sequence in SHAPES)


def shape_workloads(
    bundle: Path, work: Path, name: str, *, ragged: bool, masked: bool
) -> list[Workload]:
    """Write a file of feeds for each shape.

    Args:
        bundle: Ours, whose pipeline makes them, further inputs of its graph included.
        work: The folder of all work.
        name: Of the table, that the files are called by.
        ragged: Whether rows are of unequal length.
        masked: Whether each row has a mask.
    """
    folder = work / "feeds"
    folder.mkdir(exist_ok=True)
    files = [str(folder / f"{name}-{label}.npz") for label in LABELS]
    request = {
        "bundle": str(bundle),
        "shapes": SHAPES,
        "files": files,
        "ragged": ragged,
        "masked": masked,
    }
    call_apart(WORKERS / "feeds.py", "write_feeds", request, threads=1)
    return [
        Workload(label=label, rows=shape[0], request={"feeds": file})
        for label, shape, file in zip(LABELS, SHAPES, files, strict=True)
    ]
