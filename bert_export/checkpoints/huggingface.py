"""Checkpoints as ``transformers`` writes them: ``config.json`` beside the weights.

The weights are PyTorch's, TensorFlow's or Flax's; where a folder holds several, PyTorch's come
first. A ``model.safetensors`` of any of the three goes by that name: its tensors' names tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bert_export.checkpoints import encoder_decoder, flax, tensorflow_h5
from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.checkpoints.files import WEIGHTS, read_json, read_weights, refuse_adapter
from bert_export.checkpoints.own_files import is_file
from bert_export.checkpoints.sentence_transformers import read_activation
from bert_export.checkpoints.tensor_bundle import INDEX
from bert_export.checkpoints.tensorflow_objects import find_objects, read_objects
from bert_export.checkpoints.tokenizer_files import read_tokenizer
from bert_export.errors import CheckpointError, ConfigError, plain

__all__ = [
    "CONFIG",
    "OLD_CONFIG",
    "RENAMES",
    "canonical_name",
    "canonical_tensors",
    "half_tensors",
    "read_checkpoint",
    "read_config",
]

CONFIG, OLD_CONFIG = "config.json", "bert_config.json"

# Foreign name -> canonical name, applied in this order: what wrapped the model in training, old
# layer norms, then the missing prefix.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"^((model|module|_orig_mod)\.)+", ""),
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
    (r"^(embeddings|encoder|pooler)\.", r"bert.\1."),
)

# What never reaches an answer: buffers that old versions stored beside the parameters, which follow
# from the config, and the weights of a loss.
_UNUSED = re.compile(
    r"bert\.embeddings\.(position_ids|token_type_ids)"
    r"|(loss|loss_fct|loss_fn|criterion)\.(weight|pos_weight)"
)

_PARAMETER = r"(weight|bias)"
_KNOWN = re.compile(
    "|".join(
        (
            r"bert\.embeddings\.(word|position|token_type)_embeddings\.weight",
            rf"bert\.embeddings\.LayerNorm\.{_PARAMETER}",
            rf"bert\.encoder\.layer\.\d+\.attention\.self\.(query|key|value)\.{_PARAMETER}",
            r"bert\.encoder\.layer\.\d+\.attention\.self\.distance_embedding\.weight",
            rf"bert\.encoder\.layer\.\d+\.(attention\.)?output\.(dense|LayerNorm)\.{_PARAMETER}",
            rf"bert\.encoder\.layer\.\d+\.intermediate\.dense\.{_PARAMETER}",
            rf"bert\.pooler\.dense\.{_PARAMETER}",
            rf"cls\.predictions\.transform\.(dense|LayerNorm)\.{_PARAMETER}",
            rf"cls\.predictions\.decoder\.{_PARAMETER}",
            r"cls\.predictions\.bias",
            rf"(cls\.seq_relationship|classifier|qa_outputs)\.{_PARAMETER}",
        )
    )
)

_CROSS = re.compile(
    r"bert\.encoder\.layer\.\d+\.crossattention\."
    rf"(self\.(query|key|value)|output\.(dense|LayerNorm))\.{_PARAMETER}"
)


def read_checkpoint(folder: Path, source: str) -> Checkpoint:
    """Read a folder of ``config.json``, weights and tokenizer files.

    Args:
        folder: The folder.
        source: What the user asked for; becomes the checkpoint's ``source``.

    Returns:
        The checkpoint, without sentence modules.

    Raises:
        CheckpointError: A file is missing, unreadable or another model's.
        ConfigError: The config is of another architecture.
        TokenizerError: The tokenizer files are missing, malformed or too large for the model.
    """
    config = read_config(folder)
    refuse_adapter(folder)
    has_halves = encoder_decoder.is_encoder_decoder(config)
    if has_halves:
        tensors, weights = _read_halves(
            folder, source, tied=bool(config.get("tie_encoder_decoder"))
        )
    else:
        tensors, weights = _read_tensors(folder, source)
    reader = encoder_decoder.halves_of(config)[0] if has_halves else config  # of the text
    return Checkpoint(
        source=source,
        config=config,
        tensors=tensors,
        weights=weights,
        tokenizer=read_tokenizer(
            folder,
            vocab_size=reader.get("vocab_size", 30522),
            class_name=config.get("tokenizer_class"),
        ),
        activation_fn=read_activation(folder, config),
        generation=encoder_decoder.read_generation(folder, config) if has_halves else None,
    )


def _read_halves(folder: Path, source: str, *, tied: bool) -> tuple[dict[str, Tensor], str | None]:
    """The weights of an encoder-decoder, which PyTorch wrote, and their file's name."""
    weights = next((name for name, _ in WEIGHTS if is_file(folder / name)), None)
    tensors = encoder_decoder.rename_halves(
        read_weights(folder), source, tied=tied, rename=half_tensors
    )
    return tensors, weights


def half_tensors(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """A half's tensors by canonical names, those of cross-attention among them."""
    return _canonical(tensors, source, re.compile(f"{_KNOWN.pattern}|{_CROSS.pattern}"))


def _read_tensors(folder: Path, source: str) -> tuple[dict[str, Tensor], str | None]:
    """The first weights that are there, and their file's name.

    They are a bundle of TensorFlow's objects where there is no file.
    """
    weights = next((name for name, _ in WEIGHTS if is_file(folder / name)), None)
    if weights is None:
        objects = find_objects(folder)
        if objects is not None:
            return read_objects(objects, source), f"{objects.name}{INDEX}"
    return canonical_tensors(read_weights(folder), source), weights


def read_config(folder: Path) -> dict[str, Any]:
    """Parse ``config.json``, or else ``bert_config.json``, and check that it is a BERT's.

    Raises:
        CheckpointError: The file is missing or no JSON object.
        ConfigError: ``model_type`` is not ``bert``, and it is no encoder-decoder of two BERTs.
    """
    # Before transformers had its name, its checkpoints had Google's name of the config.
    name = CONFIG if is_file(folder / CONFIG) or not is_file(folder / OLD_CONFIG) else OLD_CONFIG
    config = read_json(folder / name)
    if encoder_decoder.is_encoder_decoder(config):
        encoder_decoder.halves_of(config)
        return config
    if config.get("model_type", "bert") != "bert":
        raise ConfigError(
            f"checkpoint {folder} is of another architecture",
            expected="model_type 'bert'",
            got=repr(config["model_type"]),
            fix="Export a BERT checkpoint",
        )
    if "model_type" not in config:
        _refuse_other_classes(folder, config)
    return config


def _refuse_other_classes(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a config without a type that names the classes of another model alone.

    Weights of a RoBERTa without prefix have the names and shapes of a BERT's, and count positions
    otherwise.
    """
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        return
    own = (str(name).removeprefix("TF").removeprefix("Flax") for name in names)
    if not any(name.startswith("Bert") for name in own):
        raise ConfigError(
            f"checkpoint {folder} does not say that it is a BERT",
            expected="model_type 'bert', or a class of BERT's in architectures",
            got=f"no model_type, and architectures {', '.join(map(str, names))}",
            fix="Write model_type into its config.json if it is one",
        )


def canonical_name(name: str) -> str:
    """The canonical name of a tensor that a checkpoint calls ``name``."""
    for pattern, replacement in RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def canonical_tensors(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename a checkpoint's tensors and drop those that no answer depends on.

    Args:
        tensors: By the names of PyTorch, TensorFlow or Flax; those of the latter two are taken out.
        source: What the user asked for, for errors.

    Returns:
        The tensors by canonical names.

    Raises:
        CheckpointError: A tensor belongs to no known head, or two have the same canonical name.
    """
    if any("/" in name for name in tensors):
        return tensorflow_h5.NAMES.rename(
            _taken(tensors, tensorflow_h5.own_name), f"TensorFlow checkpoint {source}"
        )
    if any(name.endswith(flax.ENDINGS) for name in tensors):
        return flax.NAMES.rename(_taken(tensors, flax.own_name), f"Flax checkpoint {source}")
    return _canonical(tensors, source, _KNOWN)


def _canonical(
    tensors: Mapping[str, Tensor], source: str, known: re.Pattern[str]
) -> dict[str, Tensor]:
    """PyTorch's tensors by canonical names, all of which must be known."""
    renamed: dict[str, Tensor] = {}
    for foreign, tensor in tensors.items():
        name = canonical_name(foreign)
        if _UNUSED.fullmatch(name):
            continue
        if not known.fullmatch(name):
            raise CheckpointError(
                f"checkpoint {source} tensor {plain(foreign)} is not of a BERT encoder or head",
                expected=f"names such as {_first_known(tensors)}",
                got=f"shape {tuple(tensor.shape)}",
                fix="Remove the tensor, or export the model without what it adds to BERT",
            )
        if name in renamed:
            raise CheckpointError(
                f"checkpoint {source} tensor {name} is stored twice",
                expected="one name per tensor",
                got=f"also {foreign}",
            )
        renamed[name] = tensor
    return renamed


def _taken(
    tensors: dict[str, Tensor], own_name: Callable[[str], str]
) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors, each taken out, so that two copies of all are never there at once."""
    while tensors:
        name = next(iter(tensors))
        yield own_name(name), tensors.pop(name)


def _first_known(names: Iterable[str]) -> str:
    known = (name for name in names if _KNOWN.fullmatch(canonical_name(name)))
    return next(known, "bert.embeddings.word_embeddings.weight")
