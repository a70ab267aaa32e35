"""What every consumer is: who it is, what it can read, how its folder is written and tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_export.bundle import Manifest
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["Bundle", "Consumer", "Trial", "Written"]


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
    def graph(self) -> Path:
        """The ONNX Runtime graph's file."""
        return self.folder / self.manifest.engine("onnxruntime").graph.file

    @property
    def precision(self) -> str:
        """Of the ONNX Runtime engine."""
        return self.manifest.engine("onnxruntime").precision


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
        tasks: Tasks whose bundles it can read, and what it calls each.
        write: Writes its folder, which is there and empty.
        opset: The latest that its usual ONNX Runtime reads; ``None`` for any.
        trial: Tries the folder in the consumer; ``None`` where that cannot be done from here.
        call: The bundle's own answer to the inputs of the trial, in the form of the trial's.
        why_not: By task, why the consumer cannot read it, where there is more to say than that.
    """

    name: str
    tasks: Mapping[str, str]
    write: Callable[[Bundle, Path, int | None], Written]
    opset: int | None = None
    trial: Trial | None = None
    call: Callable[[Bundle, Sequence[Any]], list[Any]] | None = None
    why_not: Mapping[str, str] = field(default_factory=dict)
