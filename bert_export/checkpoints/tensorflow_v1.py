"""Checkpoints of TensorFlow 1: Google's ``bert_model.ckpt``, and what its scripts fine-tuned.

::

    bert_config.json                        sizes; config.json is read too
    vocab.txt                               and no word on its case
    checkpoint                              which of several is the latest; it may be absent
    bert_model.ckpt.index                   a tensor bundle
    bert_model.ckpt.data-00000-of-00001
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.checkpoints.files import WEIGHTS, read_json
from bert_export.checkpoints.names import NameTable
from bert_export.checkpoints.own_files import is_file
from bert_export.checkpoints.tensor_bundle import INDEX, TensorBundle, find_bundle
from bert_export.checkpoints.tokenizer_files import read_tokenizer
from bert_export.errors import CheckpointError

__all__ = ["CONFIGS", "NAMES", "is_checkpoint", "read_checkpoint"]

CONFIGS = ("bert_config.json", "config.json")
"""Where the sizes stand: the first that is there."""

NAMES = NameTable("""
bert.embeddings = bert/embeddings
    word_embeddings.weight        word_embeddings
    position_embeddings.weight    position_embeddings
    token_type_embeddings.weight  token_type_embeddings
    LayerNorm.weight              LayerNorm/gamma
    LayerNorm.bias                LayerNorm/beta
bert.encoder.layer.{layer} = bert/encoder/layer_{layer}
    attention.self.query.weight        attention/self/query/kernel  T
    attention.self.query.bias          attention/self/query/bias
    attention.self.key.weight          attention/self/key/kernel  T
    attention.self.key.bias            attention/self/key/bias
    attention.self.value.weight        attention/self/value/kernel  T
    attention.self.value.bias          attention/self/value/bias
    attention.output.dense.weight      attention/output/dense/kernel  T
    attention.output.dense.bias        attention/output/dense/bias
    attention.output.LayerNorm.weight  attention/output/LayerNorm/gamma
    attention.output.LayerNorm.bias    attention/output/LayerNorm/beta
    intermediate.dense.weight          intermediate/dense/kernel  T
    intermediate.dense.bias            intermediate/dense/bias
    output.dense.weight                output/dense/kernel  T
    output.dense.bias                  output/dense/bias
    output.LayerNorm.weight            output/LayerNorm/gamma
    output.LayerNorm.bias              output/LayerNorm/beta
bert.pooler.dense = bert/pooler/dense
    weight  kernel  T
    bias    bias
cls.predictions = cls/predictions
    transform.dense.weight      transform/dense/kernel  T
    transform.dense.bias        transform/dense/bias
    transform.LayerNorm.weight  transform/LayerNorm/gamma
    transform.LayerNorm.bias    transform/LayerNorm/beta
    bias                        output_bias
heads
    cls.seq_relationship.weight  cls/seq_relationship/output_weights
    cls.seq_relationship.bias    cls/seq_relationship/output_bias
    classifier.weight            output_weights
    classifier.bias              output_bias
    qa_outputs.weight            cls/squad/output_weights
    qa_outputs.bias              cls/squad/output_bias
""")
"""Tensors of Google's BERT and of its scripts ``run_pretraining``, ``run_classifier`` and
``run_squad``. Scripts for tagging name their classifier as ``run_classifier`` does."""

# Counters of training; an optimizer's slots stand below the name of their weight.
_COUNTERS = re.compile(
    r"(.*/)?(global_step|beta[12]_power|good_steps|bad_steps|(current_)?loss_scale)"
)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder's weights are of TensorFlow 1, by Google's name of its config.

    Where ``transformers`` finds weights of its own, they come first.
    """
    if any(is_file(folder / name) for name, _ in WEIGHTS):
        return False
    if is_file(folder / CONFIGS[1]):
        return any(map(_is_of_version_1, folder.glob(f"*{INDEX}")))
    return is_file(folder / CONFIGS[0])


def _is_of_version_1(index: Path) -> bool:
    """Whether a bundle's keys are variables' names, not places in a graph of objects."""
    try:
        return not TensorBundle(index.with_suffix("")).holds_objects
    except CheckpointError:
        return False


def read_checkpoint(folder: Path, source: str) -> Checkpoint:
    """Read a folder that holds sizes, a vocabulary and a tensor bundle.

    Args:
        folder: Where the files are.
        source: What the user asked for, kept in the result.

    Returns:
        The checkpoint, in PyTorch's shapes, float32. Its ``architectures`` are those that the
        tensors tell; a classifier's are left to the task.

    Raises:
        CheckpointError: A file is missing, damaged, of the format before bundles, or of another
            model; or several bundles are there and nothing says which is meant.
        MissingExtraError: The library for checksums is not installed.
        TokenizerError: The vocabulary is missing or malformed.
    """
    config = _read_config(folder, source)
    bundle = TensorBundle(find_bundle(folder))
    tensors = _read_tensors(bundle, source)
    classifier = tensors.get("classifier.weight")
    if classifier is not None and classifier.ndim == 2:
        config.setdefault("num_labels", classifier.shape[0])
    return Checkpoint(
        source=source,
        config={"architectures": _architectures(tensors)} | config,
        tensors=tensors,
        weights=bundle.index.name,
        is_of_google=True,
        tokenizer=read_tokenizer(
            folder,
            vocab_size=config.get("vocab_size", 30522),
            class_name=config.get("tokenizer_class"),
        ),
    )


def _read_config(folder: Path, source: str) -> dict[str, Any]:
    for name in CONFIGS:
        if is_file(folder / name):
            return read_json(folder / name)
    raise CheckpointError(
        f"checkpoint {source} has no config", expected=" or ".join(CONFIGS), got="neither"
    )


def _read_tensors(bundle: TensorBundle, source: str) -> dict[str, Tensor]:
    """The tensors of the encoder and its heads; those of the optimizer are not read."""
    names = (name for name in bundle.names if not _is_of_training(name))
    return NAMES.rename(
        ((name, bundle.read(name)) for name in names), f"TensorFlow checkpoint {source}"
    )


def _is_of_training(name: str) -> bool:
    """Whether a tensor is a counter, or an optimizer's beside a weight: below the weight's name."""
    return (
        _COUNTERS.fullmatch(name) is not None or NAMES.to_ours(name.rpartition("/")[0]) is not None
    )


def _architectures(tensors: Mapping[str, Tensor]) -> list[str]:
    """The head that the tensors are of; none where only the task tells."""
    if "classifier.weight" in tensors:
        return []
    if "qa_outputs.weight" in tensors:
        return ["BertForQuestionAnswering"]
    if "cls.seq_relationship.weight" in tensors:
        return ["BertForPreTraining"]
    return ["BertForMaskedLM"] if "cls.predictions.bias" in tensors else ["BertModel"]
