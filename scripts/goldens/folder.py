"""The folder of golden graphs: which files it holds, how they differ from what we emit now."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import torch

from bert_export.bundle.program import PROGRAM_SUFFIX
from bert_export.targets import TARGETS
from bert_export.tasks import TASKS
from scripts.goldens.programs import program_text
from scripts.goldens.recipes import distinct_recipes
from scripts.goldens.text import graph_text
from scripts.goldens.tiny import TinyTrace

__all__ = [
    "GRAPHS",
    "ONE_GRAPH",
    "UPDATE",
    "diff",
    "expected_files",
    "golden_name",
    "stale_files",
    "traced_elsewhere",
]

GRAPHS = Path(__file__).parents[2] / "graphs"
UPDATE = "python scripts/goldens/update_graphs.py"
ONE_GRAPH = tuple(name for name, task in TASKS.items() if not task.has_encoder)
"""The tasks whose graphs are kept as text: an encoder-decoder is written as two graphs, which
:mod:`bert_export.passes.split_halves` cuts from forms that other tasks' graphs have too."""

_SUFFIX = ".onnx.txt"


def golden_name(task: str, target: str, precision: str) -> str:
    """Name of the file of a target's graph, or of its program."""
    return f"{task}.{target}.{precision}{TARGETS[target].suffix}.txt"


def expected_files(trace: TinyTrace) -> Iterator[tuple[str, str]]:
    """Name, below the folder, and text of every golden graph of a task."""
    task = trace.task
    torch_version = ".".join(torch.__version__.split(".")[:2])
    yield (
        f"traced/{task.name}{_SUFFIX}",
        graph_text(trace.traced(), f"{task.name}, as traced by torch {torch_version}"),
    )
    for target, precision in distinct_recipes():
        title = f"{task.name} for {target} in {precision}"
        write = program_text if TARGETS[target].suffix == PROGRAM_SUFFIX else graph_text
        yield (
            golden_name(task.name, target, precision),
            write(trace.emitted(target, precision), title),
        )


def stale_files(folder: Path) -> list[Path]:
    """Golden graphs of tasks, targets or precisions that are no more."""
    known = {
        folder / name
        for task in ONE_GRAPH
        for name in (
            f"traced/{task}{_SUFFIX}",
            *(golden_name(task, target, precision) for target, precision in distinct_recipes()),
        )
    }
    return sorted(set(folder.rglob("*.txt")) - known)


def traced_elsewhere(old: str, new: str) -> bool:
    """Whether two texts of a trace come from other releases of torch, which may write it so."""
    return "as traced by" in new and old.partition("\n")[0] != new.partition("\n")[0]


def diff(name: str, old: str, new: str) -> str:
    """The change of a file, as a unified diff; empty where there is none."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True),
        new.splitlines(keepends=True),
        f"graphs/{name}",
        f"graphs/{name} (as emitted now)",
    )
    return "".join(lines)
