"""Checkpoints: config, tensors and tokenizer of every format, read into one value.

A format is one row of :data:`FORMATS` and one file beside this one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bert_export.checkpoints import demo as demonstrations
from bert_export.checkpoints import huggingface, sentence_transformers, tensorflow_v1
from bert_export.checkpoints.checkpoint import Checkpoint, hash_tensors
from bert_export.checkpoints.files import refuse_other_formats
from bert_export.checkpoints.hub import fetch_snapshot, is_hub_id
from bert_export.checkpoints.own_files import is_file
from bert_export.checkpoints.sentence_transformers import Dense, SentenceModules
from bert_export.checkpoints.settle import Assumption, settle
from bert_export.checkpoints.tokenizer_files import TokenizerFiles
from bert_export.errors import CheckpointError, TaskError, shown

__all__ = [
    "FORMATS",
    "Assumption",
    "Checkpoint",
    "Dense",
    "Format",
    "SentenceModules",
    "TokenizerFiles",
    "hash_tensors",
    "load_checkpoint",
    "settle",
]

_DEMO = "demo"


@dataclass(frozen=True)
class Format:
    """A format of checkpoint folders.

    Args:
        name: Name, for messages.
        marker: A file that tells the format, for messages.
        recognize: Whether a folder is of this format.
        read: Reads a folder. Its second argument is what the user asked for.
    """

    name: str
    marker: str
    recognize: Callable[[Path], bool]
    read: Callable[[Path, str], Checkpoint]


def _read_sentence_checkpoint(folder: Path, source: str) -> Checkpoint:
    transformer, modules = sentence_transformers.read_sentence_modules(folder)
    checkpoint = huggingface.read_checkpoint(transformer, source)
    if modules is None:
        activation = sentence_transformers.read_activation(folder, checkpoint.config)
        return replace(checkpoint, activation_fn=activation)
    tokenizer = checkpoint.tokenizer
    if modules.do_lower_case:
        tokenizer = tokenizer.with_lower_case()
    return replace(checkpoint, tokenizer=tokenizer, sentence=modules)


def _has(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds a file of one of those names."""
    return lambda folder: any(is_file(folder / name) for name in names)


# The first format that recognizes a folder reads it.
FORMATS: tuple[Format, ...] = (
    Format(
        "sentence-transformers",
        sentence_transformers.MODULES,
        _has(sentence_transformers.MODULES),
        _read_sentence_checkpoint,
    ),
    Format(
        "TensorFlow 1",
        tensorflow_v1.CONFIGS[0],
        tensorflow_v1.is_checkpoint,
        tensorflow_v1.read_checkpoint,
    ),
    Format(
        "Hugging Face",
        huggingface.CONFIG,
        _has(huggingface.CONFIG, huggingface.OLD_CONFIG),
        huggingface.read_checkpoint,
    ),
)


def load_checkpoint(model: str | Path, *, demo: str | None = None) -> Checkpoint:
    """Read a checkpoint.

    Args:
        model: A folder, ``demo`` (the task's demonstration), ``demo:<name>``, or a hub id such as
            ``owner/name``. A folder comes before a hub id of the same name.
        demo: Name of the task's demonstration, for ``model="demo"``.

    Returns:
        The checkpoint. Where the format allows, weights stay in their file until they are used.

    Raises:
        CheckpointError: There is no such checkpoint, or it cannot be read.
        ConfigError: The checkpoint is of another architecture.
        MissingExtraError: Reading it needs an optional dependency.
        TaskError: ``model`` is ``demo`` and the task has no demonstration.
        TokenizerError: The tokenizer is missing or malformed.
    """
    model = os.fspath(model)
    if model == _DEMO or model.startswith(f"{_DEMO}:"):
        return _load_demo(model, demo)
    try:
        folder = Path(model).expanduser()
        is_folder, exists = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, unknown user, a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(
            f"checkpoint {shown(model)} is no path", expected="a folder", got=reason
        ) from error
    if is_folder:
        return _read_folder(folder, model)
    if exists:
        raise CheckpointError(
            f"checkpoint {model} is a file",
            expected="the folder that holds it",
            fix=f"Try {folder.parent}",
        )
    if not is_hub_id(model):
        raise CheckpointError(
            f"checkpoint {model if model.isprintable() else shown(model)} does not exist",
            expected="a folder, a hub id such as owner/name, or demo",
            got="no such folder",
        )
    return _read_folder(fetch_snapshot(model), model)


def _load_demo(model: str, task_demo: str | None) -> Checkpoint:
    name = task_demo if model == _DEMO else model.removeprefix(f"{_DEMO}:")
    if name is None:
        raise TaskError(
            "task has no demonstration checkpoint",
            expected="a folder or a hub id",
            got=repr(model),
        )
    if name != demonstrations.BASE:
        return demonstrations.load_adapter(name)
    base = _read_folder(demonstrations.find_base(name), f"{_DEMO}:{name}")
    return replace(base, attribution=demonstrations.BASE_ATTRIBUTION)


def _read_folder(folder: Path, source: str) -> Checkpoint:
    for format_ in FORMATS:
        if format_.recognize(folder):
            return format_.read(folder, source)
    refuse_other_formats(folder)
    names = sorted(path.name for path in folder.iterdir())
    raise CheckpointError(
        f"checkpoint {source} is of no known format",
        expected=f"a folder with {' or '.join(format_.marker for format_ in FORMATS)}",
        got=", ".join(names[:12]) or "an empty folder",
    )
