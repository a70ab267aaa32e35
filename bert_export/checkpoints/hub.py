"""Checkpoints of the Hugging Face hub, by the optional package ``huggingface_hub``."""

from __future__ import annotations

import re
from pathlib import Path

from bert_export.errors import CheckpointError, MissingExtraError
from bert_export.foreign_errors import what_a_hub_says

__all__ = ["fetch_snapshot", "is_hub_id", "weight_files"]

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_TEXTS = ("*.json", "*.txt")
_SHARD = r"(-\d+-of-\d+)?"
# In the order in which a folder's weights are preferred; the patterns match shards too.
_WEIGHTS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(0_\w+/)?model{_SHARD}\.safetensors",
        rf"(0_\w+/)?pytorch_model{_SHARD}\.bin",
        rf"(0_\w+/)?tf_model{_SHARD}\.h5",
        rf"(0_\w+/)?flax_model{_SHARD}\.msgpack",
        # TensorFlow's bundles: of a SavedModel, and beside the config with the latest one's name.
        r"(saved_model/1/)?variables/variables\.(index|data-\d+-of-\d+)",
        r"checkpoint|[^/]+\.(index|data-\d+-of-\d+)",
    )
)
_DENSE = re.compile(r"\d+_Dense/(model\.safetensors|pytorch_model\.bin)")


def is_hub_id(model: str) -> bool:
    """Whether a text has the form ``name`` or ``owner/name``."""
    return _ID.fullmatch(model) is not None


def fetch_snapshot(model: str) -> Path:
    """Download a model's config, tokenizer and weights, or find them in the hub's cache.

    Args:
        model: A hub id.

    Returns:
        The folder of the files.

    Raises:
        CheckpointError: The id is unknown, or the hub cannot be reached and its cache has none.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtraError(
            f"checkpoint {model} of the Hugging Face hub", extra="hub"
        ) from error
    try:
        names = huggingface_hub.list_repo_files(model)
        weights = weight_files(names)
        return Path(huggingface_hub.snapshot_download(model, allow_patterns=[*_TEXTS, *weights]))
    except Exception as error:  # each HTTP library below has its own tree
        cached = _find_cached(model)
        if cached is not None:
            return cached
        raise CheckpointError(
            f"checkpoint {model} is no folder here and cannot be fetched from the Hugging Face hub",
            got=what_a_hub_says(error),
            fix="Give a folder, check the name, or log in if the model is private",
        ) from error


def weight_files(names: list[str]) -> list[str]:
    """Choose the weights to download: of one format, and of dense modules.

    Args:
        names: All files of a repository.

    Returns:
        The files of ``names`` that hold the weights.
    """
    dense = [name for name in names if _DENSE.fullmatch(name)]
    for pattern in _WEIGHTS:
        transformer = [name for name in names if pattern.fullmatch(name)]
        if transformer:
            return transformer + dense
    return dense


def _find_cached(model: str) -> Path | None:
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):
        return None
