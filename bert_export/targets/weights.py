"""The one file of weights of a bundle: every distinct tensor once, for all its graphs.

Graphs of several targets hold mostly the same tensors: the same INT8 weights behind other
operators, the same tables and norms. A tensor is found again by the hash of its content, and every
graph refers to its offset in the file by ONNX's external data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir

from bert_export.bundle import WEIGHTS_FILE
from bert_export.bundle.program import (
    PROGRAM_SUFFIX,
    Interface,
    Program,
    ProgramTensor,
    encode_program,
    read_program,
)
from bert_export.bundle.program_check import check_program
from bert_export.runtime.closing import Closing
from bert_export.targets.graph_interface import tensor_spec
from bert_export.targets.native.translation import translate

__all__ = ["WEIGHTS_FILE", "WeightStore"]

_EXTERNAL_FROM_BYTES = 1024
_PAGE, _LINE = 4096, 64
"""Offsets are multiples of these: of a page for large tensors, so that they can be mapped, and of a
cache line for small ones."""
_LARGE = 1 << 20


class WeightStore(Closing):
    """Writes graphs whose weights share one file.

    Args:
        folder: The bundle that is being written.
        graphs: Graph files in it whose weights are stored already and stay where they are.

    Example::

        with WeightStore(folder) as store:
            store.save(model, "onnxruntime.onnx")
    """

    def __init__(self, folder: Path, *, graphs: Sequence[str] = ()) -> None:
        self._folder = folder
        self._offsets: dict[bytes, int] = {}
        for name in graphs:
            for tensor in _stored_tensors(folder / name):
                self._offsets.setdefault(_key(tensor.tobytes()), tensor.offset or 0)
                tensor.release()
        self._file = (folder / WEIGHTS_FILE).open("ab" if graphs else "wb")

    @property
    def size(self) -> int:
        """Bytes of weights so far."""
        return self._file.tell()

    def save(self, model: ir.Model, name: str) -> None:
        """Write a graph file; its larger tensors go to the shared file, a program's all do.

        Args:
            model: The graph; it is unchanged afterwards.
            name: Name of the graph file, or of the program's.

        Raises:
            TargetError: A program cannot hold the graph.
        """
        if name.endswith(PROGRAM_SUFFIX):
            self._save_program(model, name)
            return
        moved: list[tuple[ir.Value, ir.TensorProtocol]] = []
        try:
            for value in _initializers(model):
                tensor = value.const_value
                if tensor is not None and tensor.nbytes >= _EXTERNAL_FROM_BYTES:
                    moved.append((value, tensor))
                    value.const_value = self._store(str(value.name), tensor)
            self._file.flush()
            ir.save(model, self._folder / name)
        finally:
            for value, tensor in moved:
                value.const_value = tensor

    def copy(self, folder: Path, name: str) -> None:
        """Write a graph file of another folder once more, or a program's.

        Args:
            folder: Where it lies with its weights.
            name: Name of the file.
        """
        if not name.endswith(PROGRAM_SUFFIX):
            self.save(ir.load(folder / name), name)
            return
        program = read_program(folder / name)
        places = zip(program.tensors.items(), _program_tensors(folder, program), strict=True)
        tensors = {
            label: msgspec.structs.replace(record, offset=self._place(tensor.tobytes()))
            for (label, record), tensor in places
        }
        self._file.flush()
        moved = msgspec.structs.replace(program, weights=WEIGHTS_FILE, tensors=tensors)
        (self._folder / name).write_bytes(encode_program(moved))

    def _save_program(self, model: ir.Model, name: str) -> None:
        translation = translate(model)
        tensors = {
            label: ProgramTensor(
                dtype=stored.dtype,
                shape=stored.shape,
                offset=self._place(stored.tensor.tobytes()),
            )
            for label, stored in translation.tensors.items()
        }
        self._file.flush()
        interface = Interface(
            inputs=tuple(map(tensor_spec, model.graph.inputs)),
            outputs=tuple(map(tensor_spec, model.graph.outputs)),
        )
        program = translation.program(interface, tensors, WEIGHTS_FILE)
        check_program(program, self._folder / WEIGHTS_FILE, where=f"program {name}")
        (self._folder / name).write_bytes(encode_program(program))

    def _place(self, data: bytes) -> int:
        """The offset of some bytes in the shared file, to which they are added once."""
        key = _key(data)
        if key not in self._offsets:
            step = _PAGE if len(data) >= _LARGE else _LINE
            self._file.write(bytes(-self._file.tell() % step))
            self._offsets[key] = self._file.tell()
            self._file.write(data)
        return self._offsets[key]

    def _store(self, name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        data = tensor.tobytes()
        return ir.ExternalTensor(
            WEIGHTS_FILE,
            self._place(data),
            len(data),
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
            base_dir=self._folder,
        )

    def close(self) -> None:
        """Close the file of weights."""
        self._file.close()


def _key(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _stored_tensors(path: Path) -> Iterator[ir.ExternalTensor]:
    """What a graph file or a program reads from its file of weights."""
    if path.suffix == PROGRAM_SUFFIX:
        yield from _program_tensors(path.parent, read_program(path))
        return
    for value in _initializers(ir.load(path)):
        if isinstance(value.const_value, ir.ExternalTensor):
            yield value.const_value


def _program_tensors(folder: Path, program: Program) -> Iterator[ir.ExternalTensor]:
    """A program's tensors, in its order."""
    for name, tensor in program.tensors.items():
        dtype = ir.DataType.from_numpy(np.dtype(tensor.dtype))
        yield ir.ExternalTensor(
            program.weights,
            tensor.offset,
            math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize,
            dtype,
            shape=ir.Shape(tensor.shape),
            name=name,
            base_dir=folder,
        )


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Initializers of the graph and of the branches inside it."""
    for graph in model.graphs():
        yield from graph.initializers.values()
