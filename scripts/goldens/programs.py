"""A program as text that a person reviews and a diff compares: one line per operation.

Values are called after their operation and counted; tensors of the checkpoint keep their names, and
what was made on the way is numbered. Offsets are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import onnx_ir as ir

from bert_export.bundle.program import (
    Interface,
    Operation,
    Program,
    ProgramTensor,
    ProgramValue,
    tensors_of,
)
from bert_export.errors import TargetError
from bert_export.targets.graph_interface import tensor_spec
from bert_export.targets.native.translation import translate

__all__ = ["program_text"]

_NAME_WIDTH, _TENSOR_WIDTH = 24, 58
_WORDS = ("activation", "index", "mask", "mode")
"""Fields that name neither a value nor a tensor."""


def program_text(model: ir.Model, title: str) -> str:
    """Write the program that a graph becomes, or why it becomes none.

    Args:
        model: The graph; it is not changed.
        title: The first line.

    Returns:
        Lines, each with its end.
    """
    try:
        translation = translate(model)
    except TargetError as error:
        return f"# {title}\nrefused: {error}\n"
    tensors = {
        name: ProgramTensor(dtype=stored.dtype, shape=stored.shape, offset=0)
        for name, stored in translation.tensors.items()
    }
    interface = Interface(
        inputs=tuple(map(tensor_spec, model.graph.inputs)),
        outputs=tuple(map(tensor_spec, model.graph.outputs)),
    )
    program = translation.program(interface, tensors, "")
    made = {str(value.name) for node in model.graph for value in node.outputs}
    lines = _Writer(program, made).lines(title)
    return "".join(f"{line.rstrip()}\n" for line in lines)


class _Writer:
    """Names for values and tensors, and the lines that use them."""

    def __init__(self, program: Program, made: set[str]) -> None:
        self._program = program
        self._names: dict[str, str] = {}
        counts: Counter[str] = Counter()
        for operation in program.operations:
            kind = operation.__struct_config__.tag
            counts[str(kind)] += 1
            for name in operation.outputs:
                dtype = program.values[name].dtype
                self._names[name] = f"{kind}_{counts[str(kind)]}" + (
                    "" if dtype == "float32" else f".{dtype}"
                )
            for _, name in tensors_of(operation):
                root, dot, _rest = name.rpartition(".")
                if (not dot or root in made) and name not in self._names:
                    counts["constant"] += 1
                    self._names[name] = f"constant_{counts['constant']}"

    def lines(self, title: str) -> Iterator[str]:
        program = self._program
        yield f"# {title}"
        yield f"inputs  {', '.join(program.inputs)}"
        for output in program.outputs:
            column = "" if output.column is None else f"[{output.column}]"
            yield f"output  {output.name:<{_NAME_WIDTH}} = {self._named(output.value)}{column}"
        for place, cache in enumerate(program.caches):
            past = f"{cache.past_key}, {cache.past_value}"
            present = f"{cache.present_key}, {cache.present_value}"
            yield f"cache   {place:<{_NAME_WIDTH}} = {past} to {present}"
        yield ""
        for name, tensor in program.tensors.items():
            shape = ", ".join(map(str, tensor.shape))
            yield f"weight  {self._named(name):<{_TENSOR_WIDTH}} {tensor.dtype} ({shape})"
        yield ""
        for operation in program.operations:
            yield from self._operation(operation)

    def _operation(self, operation: Operation) -> Iterator[str]:
        fields = msgspec.structs.asdict(operation)
        outputs = fields.pop("outputs")
        given = ", ".join(
            f"{field}={value if field in _WORDS else self._shown(value)}"
            for field, value in fields.items()
            if value is not None
        )
        call = f"= {operation.__struct_config__.tag}({given})"
        for name in outputs:
            kind = _kind(self._program.values[name])
            yield f"{self._named(name):<{_NAME_WIDTH}} {kind:<{_NAME_WIDTH}} {call}"
            call = "  likewise"

    def _named(self, name: str) -> str:
        return self._names.get(name, name)

    def _shown(self, value: Any) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(map(self._named, value))})"
        return self._named(value) if isinstance(value, str) else f"{value:g}"


def _kind(value: ProgramValue) -> str:
    quantized = "" if value.scale is None else f" {value.scale:.6g} {value.zero_point}"
    return f"{value.rows} ({value.width}){quantized}"
