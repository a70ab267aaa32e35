"""What a target is, and what its module offers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:  # a row is read where onnx_ir may be absent
    import onnx_ir as ir

    from bert_export.bundle import EngineRecord
    from bert_export.quantization.quantizer import Scheme
    from bert_export.runtime.sessions.session import Session

__all__ = ["Target", "TargetModule"]


class TargetModule(Protocol):
    """The functions of ``bert_export/targets/<name>.py``."""

    def check_installed(self) -> None:
        """Make sure that what the target needs to write and verify a graph is there.

        Raises:
            MissingExtraError: It is not; says what to install.
        """
        ...

    def scheme(self, processor: str) -> Scheme:
        """Number formats of INT8 on a kind of processor."""
        ...

    def check_graph(self, model: ir.Model) -> None:
        """Refuse what the engine cannot take, before it is written.

        Raises:
            TargetError: Names the node and what is wrong with it.
        """
        ...

    def open_written(self, folder: Path, engine: EngineRecord, *, threads: int | None) -> Session:
        """Open the written graph for verification: in the engine itself where it runs here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One row of :data:`bert_export.targets.TARGETS`.

    Args:
        name: As typed after ``--target``.
        summary: One line for tables.
        precisions: That it has, in the order in which tables show them.
        extra: Of this package that it needs; ``None`` where the package itself is enough.
        module: That holds its functions.
        gpu: Whether its engine runs on an NVIDIA GPU, and its graph is verified elsewhere.
    """

    name: str
    summary: str
    precisions: tuple[str, ...]
    extra: str | None
    module: str
    gpu: bool = False

    @property
    def graph_file(self) -> str:
        """Name of its graph in a bundle."""
        return f"{self.name}.onnx"

    def load(self) -> TargetModule:
        """Import the target's module."""
        return cast("TargetModule", import_module(self.module))
