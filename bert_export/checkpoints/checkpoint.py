"""The value that every checkpoint format is read into."""

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
    """A trained model as it is stored.

    Args:
        source: The directory, hub id or ``demo:<name>`` that was asked for.
        config: ``config.json``, parsed and not yet checked.
        tensors: By canonical name: ``bert.`` before encoder tensors, ``weight`` and ``bias`` in
            layer norms, heads as ``cls.*``, ``classifier.*``, ``qa_outputs.*``. In the stored
            dtype, those of TensorFlow and Flax in float32. They are usually views of the file: read
            them, never write them.
        tokenizer: The tokenizer.
        sentence: Pooling and the modules after it; ``None`` unless sentence-transformers wrote the
            checkpoint.
        activation_fn: What a cross-encoder of sentence-transformers applies to its logits, as the
            checkpoint spells it, such as ``torch.nn.modules.linear.Identity``; ``None`` where it
            does not say.
        is_of_google: Whether Google's code of TensorFlow 1 wrote it, which leaves open what
            ``transformers`` settles.
        attribution: Who made the weights and the training data; ``None`` if not recorded.
        generation: How an encoder-decoder generates its answers, by the names of
            ``generation_config.json``; ``None`` for other models.
        weights: The file that the tensors were read from, or the index of several.
    """

    source: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    tokenizer: TokenizerFiles
    sentence: SentenceModules | None = None
    activation_fn: str | None = None
    is_of_google: bool = False
    attribution: str | None = None
    generation: dict[str, Any] | None = None
    weights: str | None = None

    @property
    def name(self) -> str:
        """What messages about its tensors call it: its source, and the file of its weights."""
        return self.source if self.weights is None else f"{self.source} ({self.weights})"

    @property
    def architectures(self) -> tuple[str, ...]:
        """``architectures`` of the config, without the prefixes ``TF`` and ``Flax``."""
        names = self.config.get("architectures")
        if not isinstance(names, list):
            return ()
        return tuple(
            name.removeprefix("TF").removeprefix("Flax") for name in names if isinstance(name, str)
        )

    def hash_tensors(self) -> str:
        """The sha256 of all tensors, sentence modules included; see :func:`hash_tensors`."""
        sentence = {} if self.sentence is None else self.sentence.tensors
        return hash_tensors(self.tensors | sentence)


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hash the names, dtypes, shapes and bytes of tensors, in the order of the names.

    Args:
        tensors: By name; any shapes and dtypes.

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
