"""What the file of a target offers."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from bert_export.errors import TargetError
from bert_export.target_table import Target

if TYPE_CHECKING:  # this module is read where onnx_ir may be absent
    import onnx_ir as ir

    from bert_export.bundle import EngineRecord
    from bert_export.passes.recipe import Recipes
    from bert_export.quantization.quantizer import Scheme
    from bert_export.runtime.sessions.session import Session

__all__ = ["TargetModule", "load_target"]


class TargetModule(Protocol):
    """The names of ``bert_export/targets/<name>.py``."""

    @property
    def RECIPES(self) -> Recipes:  # noqa: N802  a constant of the module
        """The steps that bring a prepared, perhaps quantized graph to the target's form."""
        ...

    def check_installed(self) -> None:
        """Make sure that what the target needs to write and verify a graph is there.

        Raises:
            MissingExtraError: It is not; says what to install.
        """
        ...

    def scheme(self, processor: str) -> Scheme:
        """Number formats of INT8 on a kind of processor.

        Raises:
            QuantizationError: The target has no INT8.
        """
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


def load_target(target: Target) -> TargetModule:
    """Import the file of a target.

    Raises:
        TargetError: Its recipes are not those of the precisions that its row names.
    """
    module = cast("TargetModule", import_module(target.module))
    if tuple(module.RECIPES) != target.precisions:
        raise TargetError(
            f"target {target.name} has recipes for other precisions than its row names",
            expected=", ".join(target.precisions),
            got=", ".join(module.RECIPES) or "none",
            fix=f"Let the keys of RECIPES in {target.module} follow the row",
        )
    return module
