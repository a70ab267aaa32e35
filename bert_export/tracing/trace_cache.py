"""Traced graphs without weights, kept in a folder that several processes share.

A trace takes seconds and reads no value of any weight (see :mod:`bert_export.tracing.trace`). So
two heads of one class and configuration have the same graph, and the second can take the first's.

Nothing has to be cleaned up: a graph takes some ten kilobytes, its name is the hash of everything
it depends on, and the folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from bert_export.bundle import write_whole
from bert_export.errors import one_line

__all__ = ["CACHE_VARIABLE", "TraceCache", "trace_key"]

CACHE_VARIABLE = "BERT_EXPORT_TRACE_CACHE"
"""Environment variable: the folder of the cache. Without it nothing is cached."""

_TOOLS = ("torch", "onnx", "onnx-ir", "onnxscript")
_DIGEST_BYTES = hashlib.sha256().digest_size
_MODELS = "bert_export.models."
_TENSORS_AND_CHILDREN = frozenset({"_parameters", "_buffers", "_modules"})


def _hash_source() -> str:
    """Hash of the source that makes a graph: the models and the tracing (hex)."""
    tracing = Path(__file__).parent
    files = (*tracing.glob("*.py"), *tracing.parent.joinpath("models").glob("*.py"))
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.parent.name}/{path.name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


_SOURCE = _hash_source()  # early, so that it is the source that runs


class TraceCache:
    """A folder of traced graphs. Readers and writers of several processes may share it.

    Args:
        folder: Made when the first graph is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def from_environment(cls) -> Self | None:
        """The cache in the folder that :data:`CACHE_VARIABLE` names; ``None`` without one."""
        folder = os.environ.get(CACHE_VARIABLE)
        return cls(Path(folder)) if folder else None

    def read(self, key: str) -> bytes | None:
        """The graph of a key; ``None`` where there is none or its file is damaged."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, graph = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        return graph if digest == hashlib.sha256(graph).digest() else None

    def write(self, key: str, graph: bytes) -> None:
        """Keep a graph. Readers see the whole file or none.

        Warns:
            RuntimeWarning: The folder cannot be written; the graph itself is not affected.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(key), hashlib.sha256(graph).digest() + graph)
        except OSError as error:
            warnings.warn(
                f"trace cache {self.folder} cannot be written: got {one_line(error)}. The next "
                f"trace takes as long. Name another folder with {CACHE_VARIABLE}.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.trace"


def trace_key(head: nn.Module, **interface: Any) -> str | None:
    """Hash of everything that a traced graph depends on (hex).

    Args:
        head: In evaluation mode.
        interface: What else :func:`bert_export.tracing.trace` was called with, as JSON values.

    Returns:
        ``None`` where the head holds something that the key cannot describe, such as a hook, a
        tensor that is no parameter, or a module whose source is not ours or PyTorch's. Such a
        head is traced anew each time.
    """
    modules = {}
    for path, module in head.named_modules():
        description = _describe_module(module)
        if description is None:
            return None
        modules[path] = description
    facts = {
        "modules": modules,
        "parameters": _describe_parameters(head),
        "interface": interface,
        "default_dtype": str(torch.get_default_dtype()),
        "tools": {tool: version(tool) for tool in _TOOLS},
        "source": _SOURCE,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _describe_module(module: nn.Module) -> dict[str, Any] | None:
    """Class and settings of one module without its children; ``None`` where that is not all."""
    cls = type(module)
    if not cls.__module__.startswith(("torch.nn.modules.", _MODELS)):
        return None
    settings = {}
    untouched = vars(nn.Module())
    for name, value in vars(module).items():
        if name in _TENSORS_AND_CHILDREN:
            continue
        if name in untouched and name != "training":
            # PyTorch's own: hooks and the like, which a plain module has none of.
            if value != untouched[name]:
                return None
        elif _is_plain(value):
            settings[name] = value
        else:
            return None
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "settings": settings}


def _is_plain(value: object) -> bool:
    """Whether JSON holds a value whole."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or type(value) in {bool, int, float, str}


def _describe_parameters(head: nn.Module) -> dict[str, Any]:
    """Shape, strides and dtype by name; tensors that stand under two names say the first."""
    first_name: dict[int, str] = {}
    tensors = (
        *head.named_parameters(remove_duplicate=False),
        *head.named_buffers(remove_duplicate=False),
    )
    return {
        name: {
            "shape": list(tensor.shape),
            "stride": list(tensor.stride()),
            "dtype": str(tensor.dtype),
            "same_as": first_name.setdefault(id(tensor), name),
        }
        for name, tensor in tensors
    }
