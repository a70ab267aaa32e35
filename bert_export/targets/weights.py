"""The one file of weights of a bundle: every distinct tensor once, for all its graphs.

Graphs of several targets hold mostly the same tensors: the same INT8 weights behind other
operators, the same tables and norms. A tensor is found again by the hash of its content, and every
graph refers to its offset in the file by ONNX's external data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import WEIGHTS_FILE
from bert_export.runtime.closing import Closing

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
            for value in _initializers(ir.load(folder / name)):
                tensor = value.const_value
                if isinstance(tensor, ir.ExternalTensor):
                    self._offsets.setdefault(_key(tensor.tobytes()), tensor.offset or 0)
                    tensor.release()
        self._file = (folder / WEIGHTS_FILE).open("ab" if graphs else "wb")

    @property
    def size(self) -> int:
        """Bytes of weights so far."""
        return self._file.tell()

    def save(self, model: ir.Model, name: str) -> None:
        """Write a graph file; its larger tensors go to the shared file.

        Args:
            model: The graph; it is unchanged afterwards.
            name: Name of the graph file.
        """
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

    def _store(self, name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        data = tensor.tobytes()
        key = _key(data)
        if key not in self._offsets:
            step = _PAGE if len(data) >= _LARGE else _LINE
            self._file.write(bytes(-self._file.tell() % step))
            self._offsets[key] = self._file.tell()
            self._file.write(data)
        return ir.ExternalTensor(
            WEIGHTS_FILE,
            self._offsets[key],
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


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Initializers of the graph and of the branches inside it."""
    for graph in model.graphs():
        yield from graph.initializers.values()
