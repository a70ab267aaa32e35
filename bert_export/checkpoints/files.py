"""The files of a checkpoint folder: JSON objects, and tensors in one file or in shards."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bert_export.checkpoints import flax, tensorflow_h5
from bert_export.checkpoints.own_files import is_file, refuse_outside, refuse_pointer
from bert_export.errors import BertExportError, CheckpointError, plain, shown
from bert_export.foreign_errors import panics_as_errors
from bert_export.regular_files import read_regular

__all__ = [
    "MOST_BYTES",
    "WEIGHTS",
    "first_line",
    "read_json",
    "read_json_list",
    "read_tensor_file",
    "read_weights",
    "refuse_adapter",
    "refuse_other_formats",
]

T = TypeVar("T")

MOST_BYTES = 1 << 28
"""That a file beside the weights may have: configs, vocabularies, indexes of shards."""


_ADAPTER = "adapter_config.json"
_HALF_A_PAIR = re.compile(r"\\u[dD][89a-fA-F]")


def first_line(error: Exception) -> str:
    """The first line of what a library says, without its final stop; at most 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(". ")[:200]


def read_json(path: Path, *, error: type[BertExportError] = CheckpointError) -> dict[str, Any]:
    """Parse a file that must hold one JSON object.

    Args:
        path: The file.
        error: Class of the error to raise.

    Raises:
        BertExportError: The file is missing, or holds something else; of the class ``error``.
    """
    return _parse(path, dict, "a JSON object", error)


def read_json_list(path: Path) -> list[Any]:
    """Parse a file that must hold one JSON list.

    Raises:
        CheckpointError: The file is missing, or holds something else.
    """
    return _parse(path, list, "a JSON list", CheckpointError)


def _parse(path: Path, kind: type[T], expected: str, error: type[BertExportError]) -> T:
    """A file's JSON, which must be of a kind that ``expected`` tells in words."""
    try:
        data = read_regular(path, most=MOST_BYTES)
        text = data.decode(json.detect_encoding(data))
        parsed: object = json.loads(text)
        if _HALF_A_PAIR.search(text):  # an escape may stand for what no tokenizer can hold
            json.dumps(parsed, ensure_ascii=False).encode()
    except FileNotFoundError as cause:
        raise error(f"checkpoint {path.parent} has no {path.name}") from cause
    except OSError as cause:
        raise error(f"file {path} cannot be read", got=cause.strerror) from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"file {path} is malformed", expected="JSON", got=cause) from cause
    if not isinstance(parsed, kind):
        raise error(f"file {path} is malformed", expected=expected, got=type(parsed).__name__)
    return parsed


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the first file of :data:`WEIGHTS` that the folder has.

    Returns:
        Tensors by the file's names for them.

    Raises:
        CheckpointError: There is no such file, or it cannot be read.
    """
    for name, read in WEIGHTS:
        if is_file(folder / name):
            return read(folder / name)
    refuse_other_formats(folder)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    raise CheckpointError(
        f"checkpoint {folder} has no weights",
        expected=f"one of {', '.join(name for name, _ in WEIGHTS)}",
        got=", ".join(files) or "an empty folder",
    )


_OTHER_FORMATS: Mapping[str, str] = {
    "model.weights.h5": "weights of KerasHub",
    "task.weights.h5": "weights of KerasHub",
    "*.keras": "a Keras model",
    "*.h5": "a model of another library, such as keras-bert",
    "saved_model.pb": "a SavedModel without config.json, such as TensorFlow Hub's",
    "model.*.safetensors": "a variant of the weights",
    "pytorch_model.*.bin": "a variant of the weights",
    "*.gguf": "a GGUF file",
    "*.onnx": "an ONNX graph",
    "openvino_model.xml": "an OpenVINO graph",
    "*.ckpt": "a file of Lightning",
    "rust_model.ot": "weights of rust-bert",
}
"""What people take for a checkpoint too, by the names of its files."""


def refuse_adapter(folder: Path) -> None:
    """Refuse what changes the answers of the weights beside it, or of some that are elsewhere.

    Raises:
        CheckpointError: The folder holds an adapter.
    """
    if is_file(folder / _ADAPTER):
        raise CheckpointError(
            f"checkpoint {folder} holds an adapter of PEFT",
            expected="weights of the whole model",
            got=_ADAPTER,
            fix="Merge it: model.merge_and_unload().save_pretrained(folder)",
        )


def refuse_other_formats(folder: Path) -> None:
    """Refuse by name what is no checkpoint of ``transformers`` or Google.

    Raises:
        CheckpointError: A file of the folder is of such a format.
    """
    refuse_adapter(folder)
    for pattern, what in _OTHER_FORMATS.items():
        for path in sorted(folder.glob(pattern)):
            raise CheckpointError(
                f"checkpoint {folder} is in another format",
                expected=f"config.json and one of {', '.join(name for name, _ in WEIGHTS)}",
                got=f"{path.name}, {what}",
                fix="Load it with its own library and save it with model.save_pretrained",
            )


def read_tensor_file(path: Path) -> dict[str, Tensor]:
    """Read one file of tensors, by its suffix.

    Raises:
        CheckpointError: The file is truncated, corrupt or holds more than tensors.
        MissingExtraError: Its format needs a library that is not installed.
    """
    refuse_pointer(path)
    return _READERS.get(path.suffix, _read_pickle)(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors as views of the mapped file, or copies where their names say that they are changed.

    Each copy lets go of the file's memory before the next one is made.
    """
    try:
        with panics_as_errors(), safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not any("/" in name or name.endswith(flax.ENDINGS) for name in names):
                return {name: file.get_tensor(name) for name in names}
        return {name: _copied(path, name) for name in names}
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _copied(path: Path, name: str) -> Tensor:
    with panics_as_errors(), safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor.clone()


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``torch.save`` file; mapped if the file is a zip, as all new ones are."""
    try:
        state = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except Exception as error:  # unpickling damaged bytes may raise anything
        raise _unreadable(path, error) from error
    for key in _STATES:
        if isinstance(state, dict) and _is_state(state.get(key)):
            state = state[key]
            break
    if not _is_state(state):
        kind = type(state).__name__
        keys = f" with {', '.join(map(str, state))}" if isinstance(state, dict) else ""
        raise CheckpointError(
            f"file {path} holds no weights",
            expected="a mapping of names to tensors",
            got=plain(f"{kind}{keys}")[:200],
            fix="Save the model's state_dict()",
        )
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_meta:
            raise CheckpointError(
                f"file {path} tensor {name} is stored in an unsupported form",
                expected="a dense tensor with its values",
                got="no values" if tensor.is_meta else str(tensor.layout).removeprefix("torch."),
                fix="Save the model with model.save_pretrained",
            )
    return {name: tensor.detach() for name, tensor in state.items()}


_STATES = ("state_dict", "model_state_dict", "model")
"""Where scripts of training keep the weights, beside the state of an optimizer."""


def _is_state(value: object) -> bool:
    """Whether a value is a mapping of names to tensors."""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"file {path} cannot be read",
        expected="a complete weights file",
        got=first_line(error),
        fix="Download or copy it again",
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    """Tensors of all files that an index names."""
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict):
        raise CheckpointError(
            f"file {index} is malformed", expected="a weight_map of tensor names to file names",
            got=type(shard_of).__name__,
        )  # fmt: skip
    for name, shard in shard_of.items():
        if (
            not isinstance(shard, str)
            or Path(shard).name != shard
            or Path(shard).suffix not in (suffix, ".safetensors")
        ):
            raise CheckpointError(
                f"file {index} tensor {plain(name)} is in no file of its folder",
                expected=f"a name that ends in {suffix}",
                got=shown(shard),
            )
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(shard_of.values())):
        path = index.parent / shard
        if not is_file(path):
            raise CheckpointError(
                f"checkpoint {index.parent} lacks the shard {plain(shard)}",
                expected=f"every file that {index.name} names",
                got="no such file",
                fix="Download or copy it again",
            )
        refuse_outside(path)
        tensors |= read_tensor_file(path)
    for name, shard in shard_of.items():
        if name.endswith(_BUFFERS):  # which nobody misses
            continue
        if _NAMES.get(Path(shard).suffix, str)(name) not in tensors:
            raise CheckpointError(
                f"checkpoint {index.parent} shard {plain(shard)} lacks the tensor {plain(name)}",
                expected=f"what {index.name} names",
                fix="Download or copy it again",
            )
    return tensors


_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")
"""Endings of names in old indices that shards of newer versions do not have."""

_READERS: Mapping[str, Callable[[Path], dict[str, Tensor]]] = {
    ".safetensors": _read_safetensors,
    ".h5": tensorflow_h5.read_h5,
    ".msgpack": flax.read_msgpack,
}
"""By ending; every other file is read as ``torch.save`` writes it."""

_NAMES: Mapping[str, Callable[[str], str]] = {
    ".h5": tensorflow_h5.own_name,
    ".msgpack": flax.own_name,
}
"""By a shard's ending: a tensor's name in it, where the index spells it otherwise."""

WEIGHTS: tuple[tuple[str, Callable[[Path], dict[str, Tensor]]], ...] = (
    ("model.safetensors", read_tensor_file),
    ("model.safetensors.index.json", _read_shards),
    ("pytorch_model.bin", read_tensor_file),
    ("pytorch_model.bin.index.json", _read_shards),
    ("tf_model.h5", read_tensor_file),
    ("tf_model.h5.index.json", _read_shards),
    ("flax_model.msgpack", read_tensor_file),
    ("flax_model.msgpack.index.json", _read_shards),
)
"""Files of weights and how they are read, in the order in which they are preferred."""
