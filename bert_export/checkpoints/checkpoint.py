"""What every checkpoint format is read into."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.checkpoints.tokenizer_files import TokenizerFiles

__all__ = ["Checkpoint", "hash_tensors"]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained model as it was stored.

    Args:
        source: The directory, hub id or ``demo:<name>`` that was asked for.
        config: ``config.json``, parsed and not yet checked.
        tensors: By canonical name (``bert.`` before encoder tensors, ``weight`` and ``bias`` in
            layer norms, heads as ``cls.*``, ``classifier.*``, ``qa_outputs.*``), in the stored
            dtype; usually views of the file, so read them and write none.
        tokenizer: What the runtime needs of the tokenizer.
        sentence: Pooling and what follows it, where sentence-transformers wrote the checkpoint.
        attribution: Whom weights and training data are owed to, where that is recorded.
    """

    source: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: TokenizerFiles
    sentence: SentenceModules | None = None
    attribution: str | None = None

    @property
    def architectures(self) -> tuple[str, ...]:
        """``architectures`` of the config, without the ``TF`` and ``Flax`` of other frameworks."""
        names = self.config.get("architectures")
        if not isinstance(names, list):
            return ()
        return tuple(
            name.removeprefix("TF").removeprefix("Flax") for name in names if isinstance(name, str)
        )

    def hash_tensors(self) -> str:
        """The sha256 of every tensor, those of the sentence modules included."""
        sentence = {} if self.sentence is None else self.sentence.tensors
        return hash_tensors(self.tensors | sentence)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Digest names, dtypes, shapes and bytes, in the order of the names.

    Args:
        tensors: Any shapes and dtypes.

    Returns:
        The sha256 in hex.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
