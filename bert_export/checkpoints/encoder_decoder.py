"""Checkpoints of transformers' ``EncoderDecoderModel``: two BERTs in one folder.

``config.json`` holds the configs of both, the weights are named ``encoder.*`` and ``decoder.*``,
and how an answer is generated stands in ``generation_config.json``, or in the configs of
checkpoints that are older than that file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bert_export.checkpoints.files import read_json
from bert_export.checkpoints.own_files import is_file
from bert_export.errors import CheckpointError, ConfigError, plain

__all__ = ["GENERATION", "halves_of", "is_encoder_decoder", "read_generation", "rename_halves"]

GENERATION = "generation_config.json"

_WRAPPERS = re.compile(r"^((model|module|_orig_mod)\.)+")
_ENCODER, _DECODER, _PROJECTION = "encoder.", "decoder.", "enc_to_dec_proj."
_POOLER = "encoder.pooler."

_GENERATION_FIELDS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "repetition_penalty",
    "sequence_bias",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
)


def is_encoder_decoder(config: Mapping[str, Any]) -> bool:
    """Whether a parsed ``config.json`` is of two models."""
    return config.get("model_type") == "encoder-decoder"


def halves_of(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The configs of encoder and decoder, both of a BERT.

    Raises:
        ConfigError: A half is missing or no BERT.
    """
    halves = []
    for half in ("encoder", "decoder"):
        own = config.get(half)
        if not isinstance(own, Mapping):
            raise ConfigError(
                f"config of an encoder-decoder has no {half}",
                expected=f"the {half}'s config, an object",
                got="none" if own is None else type(own).__name__,
            )
        if own.get("model_type") != "bert":
            raise ConfigError(
                f"{half} of the encoder-decoder is no BERT",
                expected="model_type 'bert' in both halves",
                got=repr(own.get("model_type")),
                fix="Export a model whose encoder and decoder are both BERT",
            )
        halves.append(own)
    encoder, decoder = halves
    return encoder, decoder


def rename_halves(
    tensors: dict[str, Tensor],
    source: str,
    *,
    tied: bool,
    rename: Callable[[dict[str, Tensor], str], dict[str, Tensor]],
) -> dict[str, Tensor]:
    """Give the tensors of both halves their canonical names; the encoder's pooler is left out.

    Args:
        tensors: By the names that are stored.
        source: What the user asked for, for errors.
        tied: Whether both halves share their parameters, of which one set may be stored.
        rename: Gives the tensors of one BERT their canonical names, as
            :func:`bert_export.checkpoints.huggingface.canonical_tensors` does.

    Returns:
        ``encoder.embeddings.*`` and ``encoder.encoder.*``, ``decoder.bert.*`` and
        ``decoder.cls.*``, and ``enc_to_dec_proj.*``.

    Raises:
        CheckpointError: A half has no tensor, or a tensor belongs to neither.
    """
    halves: dict[str, dict[str, Tensor]] = {_ENCODER: {}, _DECODER: {}}
    renamed: dict[str, Tensor] = {}
    for stored, tensor in tensors.items():
        name = _WRAPPERS.sub("", stored)
        prefix = next((half for half in halves if name.startswith(half)), None)
        if prefix is not None:
            if not name.startswith(_POOLER):
                halves[prefix][name.removeprefix(prefix)] = tensor
        elif name.startswith(_PROJECTION):
            renamed[name] = tensor
        else:
            raise CheckpointError(
                f"checkpoint {source} tensor {plain(stored)} is of neither half",
                expected="names that begin with encoder., decoder. or enc_to_dec_proj.",
                got=f"shape {tuple(tensor.shape)}",
                fix="Remove the tensor, or export the model without what it adds",
            )
    for prefix, half in halves.items():
        own, other = prefix.rstrip("."), "decoder" if prefix == _ENCODER else "encoder"
        if not half and not tied:
            raise CheckpointError(
                f"checkpoint {source} has a {other} without its {own}",
                expected=f"tensors whose names begin with {prefix}",
                got="none",
                fix="Save the whole encoder-decoder",
            )
        for name, tensor in rename(half, f"{source} ({own})").items():
            renamed[prefix + (name.removeprefix("bert.") if prefix == _ENCODER else name)] = tensor
    return renamed


def read_generation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """How answers are generated where a call does not say otherwise.

    Args:
        folder: Of the checkpoint.
        config: Its ``config.json``, parsed.

    Returns:
        The fields of ``generation_config.json``; without that file, those of the config, and where
        it does not name one, of its decoder's config. Beside them ``task_specific_params`` and
        ``prefix`` of the config, which transformers' pipelines read.

    Raises:
        CheckpointError: The file is no JSON object.

    Source: transformers' ``GenerationConfig.from_model_config``.
    """
    if is_file(folder / GENERATION):
        fields = read_json(folder / GENERATION)
    else:
        decoder = config.get("decoder")
        inner = decoder if isinstance(decoder, Mapping) else {}
        fields = {
            name: value
            for name in _GENERATION_FIELDS
            if (value := config.get(name, inner.get(name))) is not None
        }
    of_pipelines = ("prefix", "task_specific_params")
    return fields | {name: config[name] for name in of_pipelines if config.get(name) is not None}
