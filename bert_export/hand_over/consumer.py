"""What every consumer is: who it is, what it can read, how its folder is written and tried."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_export.bundle import MANIFEST, EngineRecord, Manifest
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["TARGET", "Bundle", "Consumer", "Trial", "Written"]

TARGET = "onnxruntime"
"""Whose graph is handed over."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that is handed over, open.

    Args:
        folder: Its folder.
        manifest: What it says.
        pipeline: That answers from its ONNX Runtime graph.
    """

    folder: Path
    manifest: Manifest
    pipeline: Pipeline[Any, Any, Any]

    @property
    def engine(self) -> EngineRecord:
        """What the manifest says of the engine for ONNX Runtime."""
        return self.manifest.engine(TARGET)

    @property
    def graph(self) -> Path:
        """That engine's graph file."""
        return self.folder / self.engine.graph.file

    @property
    def width(self) -> int | str:
        """Numbers of a vector, which is all that a sentence embedding's graph gives."""
        (output,) = self.engine.graph.outputs
        return output.shape[-1]

    def copy_to(self, folder: Path) -> None:
        """Copy the bundle's files into a folder, which is made."""
        folder.mkdir(parents=True)
        for name in (*self.manifest.files, MANIFEST):
            shutil.copyfile(self.folder / name, folder / name)


@dataclass(frozen=True, slots=True)
class Written:
    """What a consumer's writer wrote.

    Args:
        graph: The graph file, in the folder; ``None`` where the folder holds the bundle itself.
        opset: The graph's; ``None`` as above.
        use: How the consumer loads the folder, lines of its language.
        notes: What its user must know, a sentence each.
    """

    graph: Path | None = None
    opset: int | None = None
    use: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trial:
    """A program that loads a folder in the consumer and answers from it.

    It gets the folder, the task and a JSON list of inputs as arguments, and prints one JSON list of
    answers, its last line.

    Args:
        needs: Modules that must be installed for it, or the packages of Node.
        program: Its text.
        node: Whether Node runs it, rather than this Python.
    """

    needs: tuple[str, ...]
    program: str
    node: bool = False


@dataclass(frozen=True, slots=True)
class Consumer:
    """A tool that people run already.

    Args:
        name: One of :data:`bert_export.hand_over.names.CONSUMER_NAMES`.
        tasks: Tasks whose bundles it can read.
        write: Writes its folder, which is there and empty; the graph's opset is not above the
            number, where there is one.
        trial: Tries the folder in the consumer; ``None`` where that cannot be done from here.
        call: The bundle's own answer to the inputs of the trial, in the form of the trial's.
        why_not: By task, why the consumer cannot read it, where there is more to say than that.
    """

    name: str
    tasks: Collection[str]
    write: Callable[[Bundle, Path, int | None], Written]
    trial: Trial | None = None
    call: Callable[[Bundle, Sequence[Any]], list[Any]] | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)
