"""The reference heads in PyTorch, and loading a checkpoint's weights into them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.errors import CheckpointError, ConfigError, TaskError
from bert_export.models.config import BertConfig, entailment_id
from bert_export.models.heads import (
    HEADS,
    BertForSentenceEmbedding,
    BertHead,
    BertModel,
    EncoderDecoderModel,
)

__all__ = ["HEADS", "BertConfig", "BertHead", "entailment_id", "has_pooler", "load_head"]

_LAYER = re.compile(r"(bert|encoder|decoder\.bert)\.encoder\.layer\.(\d+)\.")
_WORDS = "bert.embeddings.word_embeddings.weight"
_POOLER = ("bert.pooler.dense.weight", "bert.pooler.dense.bias")
_DECODER = "cls.predictions.decoder.weight"
_DECODER_BIAS = "cls.predictions.decoder.bias"
_DECODER_BIAS_ALIAS = "cls.predictions.bias"
# The weights of these three have the same names: only `architectures` tells them apart.
_CLASSIFIERS = (
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
)


def load_head(name: str, checkpoint: Checkpoint) -> BertHead:
    """Build a head and load the checkpoint's weights into it.

    Weights that are float32 already are shared with the checkpoint, not copied.

    Args:
        name: A key of :data:`bert_export.models.heads.HEADS`.
        checkpoint: The config and the tensors.

    Returns:
        The head, in evaluation mode, float32, without gradients. Its ``inputs`` and ``outputs`` are
        the names of what it takes and gives. :class:`BertModel` has no ``pooler_output`` if the
        checkpoint has no pooler.

    Raises:
        CheckpointError: Encoder tensors are missing or left over, or a tensor has a wrong shape.
        ConfigError: The config has a value that the head does not implement.
        TaskError: The checkpoint does not have this head.
    """
    config = BertConfig.from_dict(checkpoint.config)
    _refuse_other_classifier(name, checkpoint)
    _refuse_other_halves(name, checkpoint, config)
    _refuse_other_depth(checkpoint, config)
    with torch.device("meta"):
        head = _build(name, config, checkpoint)
    parameters = head.state_dict()
    tensors = _under_head_names(checkpoint, config, parameters)
    _refuse_left_overs(checkpoint, config, parameters)
    state: dict[str, Tensor] = {}
    for key, parameter in parameters.items():
        words = key.removesuffix(_DECODER) + _WORDS
        is_words = key.endswith(_DECODER) and tensors.get(key) is tensors.get(words)
        state[key] = (
            state[words] if is_words else _fitting(checkpoint, name, key, parameter, tensors)
        )
    head.load_state_dict(state, assign=True)
    if config.tie_word_embeddings:
        for key in parameters:
            if key.endswith(_DECODER):
                table = head.get_parameter(key.removesuffix(_DECODER) + _WORDS)
                head.get_submodule(key.removesuffix(".weight")).weight = table
    return head.eval().requires_grad_(requires_grad=False)


def has_pooler(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint has the pooler, the layer over the first token."""
    return _POOLER[0] in checkpoint.tensors


def _build(name: str, config: BertConfig, checkpoint: Checkpoint) -> BertHead:
    if name == "BertModel":
        return BertModel(config, add_pooling_layer=has_pooler(checkpoint))
    if name == "BertForSentenceEmbedding":
        if checkpoint.sentence is None:
            raise TaskError(
                f"checkpoint {checkpoint.source} does not say how to pool a sentence",
                expected="modules.json as sentence-transformers writes it",
                got="none",
                fix="Export it with --task feature-extraction, or choose another checkpoint",
            )
        _refuse_other_widths(checkpoint.source, config, checkpoint.sentence)
        return BertForSentenceEmbedding(config, checkpoint.sentence)
    if name == "BertLMHeadModel" and not config.is_decoder:
        raise ConfigError(
            f"checkpoint {checkpoint.source} is no causal language model",
            expected="is_decoder true in config.json",
            got="is_decoder false",
            fix="Set is_decoder to true if it was trained to predict the next token",
        )
    if name not in HEADS:
        raise TaskError(f"head {name!r} is unknown", expected=f"one of {', '.join(HEADS)}")
    return HEADS[name](config)  # type: ignore[call-arg]


def _refuse_other_widths(source: str, config: BertConfig, modules: SentenceModules) -> None:
    width = len(modules.pooling) * config.hidden_size
    for index, layer in enumerate(modules.dense):
        if layer.in_features != width:
            raise CheckpointError(
                f"checkpoint {source} dense layer {index} takes vectors of another width",
                expected=width,
                got=layer.in_features,
            )
        width = layer.out_features


def _refuse_other_classifier(name: str, checkpoint: Checkpoint) -> None:
    """Refuse another classifier's weights: their names and shapes fit, their meaning does not."""
    architectures = checkpoint.architectures
    others = [other for other in architectures if other in _CLASSIFIERS]
    if name in _CLASSIFIERS and others and name not in architectures:
        raise TaskError(
            f"checkpoint {checkpoint.source} has no head for {name}",
            expected=f"architectures with {name} in config.json",
            got=", ".join(others),
            fix="Choose the task that the checkpoint was trained for",
        )


def _refuse_other_halves(name: str, checkpoint: Checkpoint, config: BertConfig) -> None:
    """Refuse an encoder-decoder for a head over one BERT, and the other way round."""
    needs = name == EncoderDecoderModel.__name__
    if needs and config.encoder is None:
        raise TaskError(
            f"checkpoint {checkpoint.source} has no head for {name}",
            expected="an encoder-decoder, model_type 'encoder-decoder' in config.json",
            got="a single BERT",
            fix="Choose the task that the checkpoint was trained for",
        )
    if config.encoder is not None and not needs:
        raise TaskError(
            f"checkpoint {checkpoint.source} has no head for {name}",
            expected="a single BERT",
            got="an encoder-decoder",
            fix="Choose the task that the checkpoint was trained for",
        )


def _refuse_other_depth(checkpoint: Checkpoint, config: BertConfig) -> None:
    if checkpoint.config.get("tie_encoder_decoder"):
        return  # one half's tensors may stand for both; a layer that lacks some is seen later
    halves = {"bert": config}
    if config.encoder is not None:
        halves = {"encoder": config.encoder, "decoder.bert": config}
    layers = [layer for key in checkpoint.tensors if (layer := _LAYER.match(key))]
    for half, own in halves.items():
        stored = 1 + max((int(layer[2]) for layer in layers if layer[1] == half), default=-1)
        if stored != own.num_hidden_layers:
            raise CheckpointError(
                f"checkpoint {checkpoint.name} has another depth than its config"
                + ("" if config.encoder is None else f", in its {half.removesuffix('.bert')}"),
                expected=f"{own.num_hidden_layers} layers, the config's num_hidden_layers",
                got=stored,
                fix="Check that config.json belongs to these weights",
            )


def _under_head_names(
    checkpoint: Checkpoint, config: BertConfig, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The checkpoint's tensors under the head's names for them; tied weights are one tensor."""
    tensors = dict(checkpoint.tensors)
    if checkpoint.config.get("tie_encoder_decoder"):
        tensors |= _tied_halves(tensors, parameters)
    for prefix in ("", "decoder."):
        if prefix + _DECODER_BIAS_ALIAS in tensors:
            tensors[prefix + _DECODER_BIAS] = tensors[prefix + _DECODER_BIAS_ALIAS]
        decoder, words = prefix + _DECODER, prefix + _WORDS
        if config.tie_word_embeddings and decoder in parameters and words in tensors:
            tensors[decoder] = tensors[words]
    if checkpoint.sentence is not None:
        tensors |= checkpoint.sentence.tensors
    return tensors


def _tied_halves(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """What one half of a tied encoder-decoder stores for both, by the other half's names.

    Transformers lets the encoder share the decoder's parameters, and stores one of the two.
    """
    tied = {}
    for key in parameters:
        if key.startswith("encoder."):
            twin = f"decoder.bert.{key.removeprefix('encoder.')}"
            for name, other in ((key, twin), (twin, key)):
                if name not in tensors and other in tensors and twin in parameters:
                    tied[name] = tensors[other]
    return tied


def _refuse_left_overs(
    checkpoint: Checkpoint, config: BertConfig, parameters: Mapping[str, Tensor]
) -> None:
    """Refuse encoder tensors that the head has no parameter for: the config is another model's."""
    unused = set(_POOLER)
    if config.position_embedding_type != "absolute":
        unused.add("bert.embeddings.position_embeddings.weight")
    unused |= {f"decoder.{key}" for key in unused}
    if config.encoder is not None and config.encoder.position_embedding_type != "absolute":
        unused.add("encoder.embeddings.position_embeddings.weight")
    encoders = ("bert.", "encoder.", "decoder.bert.", "enc_to_dec_proj.")
    for key in checkpoint.tensors:
        if key.startswith(encoders) and key not in parameters and key not in unused:
            raise CheckpointError(
                f"checkpoint {checkpoint.name} tensor {key} has no place in the model",
                expected=f"what config.json says: {config.position_embedding_type} positions",
                got=f"shape {tuple(checkpoint.tensors[key].shape)}",
                fix="Check that config.json belongs to these weights",
            )


def _fitting(
    checkpoint: Checkpoint,
    name: str,
    key: str,
    parameter: Tensor,
    tensors: Mapping[str, Tensor],
) -> Tensor:
    """The checkpoint's tensor for a parameter, as float32.

    Args:
        checkpoint: The checkpoint, for errors.
        name: The head, for errors.
        key: Name of the parameter.
        parameter: The parameter, which has the right shape.
        tensors: The checkpoint's tensors, by the head's names.
    """
    if key not in tensors:
        is_of_head = not key.startswith(("bert.", "encoder.", "decoder.bert.")) or key in _POOLER
        error = TaskError if is_of_head else CheckpointError
        raise error(
            f"checkpoint {checkpoint.name} has no "
            + (f"head for {name}" if is_of_head else "complete encoder"),
            expected=f"tensor {key} of shape {tuple(parameter.shape)}",
            got="none of that name",
            fix="Choose a task that the checkpoint was trained for"
            if is_of_head
            else "Check that config.json belongs to these weights",
        )
    tensor = tensors[key]
    if tensor.shape != parameter.shape:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} tensor {key} has the wrong shape",
            expected=tuple(parameter.shape),
            got=tuple(tensor.shape),
            fix="Check that config.json (sizes, id2label) belongs to these weights",
        )
    if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
        raise CheckpointError(
            f"checkpoint {checkpoint.name} tensor {key} has an unsupported dtype",
            expected="float32, float16 or bfloat16",
            got=str(tensor.dtype).removeprefix("torch."),
            fix="Export the checkpoint before it was quantized",
        )
    tensor = tensor.to(torch.float32)
    if not all(map(torch.isfinite, tensor.aminmax())):  # isfinite of all takes a copy of the tensor
        raise CheckpointError(
            f"checkpoint {checkpoint.name} tensor {key} holds values that are not finite",
            expected="numbers of float32",
            got=f"{int((~tensor.isfinite()).sum())} of {tensor.numel()} that are not",
            fix="Choose a checkpoint from before the training diverged",
        )
    return tensor
