"""``config.json`` as a value: the fields that change the forward pass, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bert_export.checkpoints.encoder_decoder import halves_of, is_encoder_decoder
from bert_export.errors import ConfigError

__all__ = [
    "ACTIVATIONS",
    "POSITION_EMBEDDING_TYPES",
    "PROBLEM_TYPES",
    "BertConfig",
    "entailment_id",
]

ACTIVATIONS = (
    "gelu",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "swish",
    "tanh",
)
POSITION_EMBEDDING_TYPES = ("absolute", "relative_key", "relative_key_query")
PROBLEM_TYPES = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)


# Far above every real checkpoint. A damaged file cannot ask for all memory.
_LARGEST = 1 << 24


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The config of the reference model; defaults are the original's.

    Fields for dropout, initialization and chunking are left out: they change no answer.

    Args:
        vocab_size: V, rows of the word table.
        hidden_size: H, width of a token's vector.
        num_hidden_layers: Encoder layers.
        num_attention_heads: N; divides H.
        intermediate_size: Width of the feed-forward layer.
        hidden_act: One of :data:`ACTIVATIONS`.
        max_position_embeddings: Tokens of the longest sequence.
        type_vocab_size: Rows of the segment table.
        layer_norm_eps: Added to the variance in every layer norm.
        pad_token_id: Id of the padding token.
        position_embedding_type: One of :data:`POSITION_EMBEDDING_TYPES`.
        is_decoder: Whether a token sees only itself and those before it.
        tie_word_embeddings: Whether the vocabulary decoder shares the word table.
        problem_type: One of :data:`PROBLEM_TYPES`; ``None`` if the checkpoint does not say.
        labels: Names of the labels, in id order.
        encoder: Of the encoder to whose states every layer attends too; ``None`` without one.

    Source: Devlin 2018, section 3 (sizes); Shaw 2018 and Huang 2020, method 4 (relative
    positions).
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    pad_token_id: int | None = 0
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    tie_word_embeddings: bool = True
    problem_type: str | None = None
    labels: tuple[str, ...] = ("LABEL_0", "LABEL_1")
    encoder: BertConfig | None = None

    @property
    def attention_layers(self) -> int:
        """How many layers attend to their own tokens, the encoder's included."""
        return self.num_hidden_layers + (self.encoder.num_hidden_layers if self.encoder else 0)

    @property
    def source_positions(self) -> int:
        """Tokens of the longest text that is read, by the encoder where there is one."""
        return (self.encoder or self).max_position_embeddings

    @property
    def head_size(self) -> int:
        """D, the width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        """L, how many labels the head scores."""
        return len(self.labels)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BertConfig:
        """Check a parsed ``config.json``.

        Args:
            raw: The file's fields; unknown ones are ignored. Of an encoder-decoder it is the
                decoder's config that is returned, with the encoder's in it.

        Returns:
            The config.

        Raises:
            ConfigError: A field has a wrong type or a value that the model does not implement.
        """
        if is_encoder_decoder(raw):
            return _both_halves(raw)
        _refuse_other_models(raw)
        config = cls(
            vocab_size=_size(raw, "vocab_size", 30522),
            hidden_size=_size(raw, "hidden_size", 768),
            num_hidden_layers=_size(raw, "num_hidden_layers", 12, least=0),
            num_attention_heads=_size(raw, "num_attention_heads", 12),
            intermediate_size=_size(raw, "intermediate_size", 3072),
            hidden_act=_choice(raw, "hidden_act", "gelu", ACTIVATIONS),
            max_position_embeddings=_size(raw, "max_position_embeddings", 512),
            type_vocab_size=_size(raw, "type_vocab_size", 2),
            layer_norm_eps=_epsilon(raw, "layer_norm_eps", 1e-12),
            pad_token_id=_padding(raw),
            position_embedding_type=_choice(
                raw, "position_embedding_type", "absolute", POSITION_EMBEDDING_TYPES
            ),
            is_decoder=_flag(raw, "is_decoder", default=False),
            tie_word_embeddings=_flag(raw, "tie_word_embeddings", default=True),
            problem_type=(
                None
                if raw.get("problem_type") is None
                else _choice(raw, "problem_type", "", PROBLEM_TYPES)
            ),
            labels=_labels(raw),
        )
        if config.hidden_size % config.num_attention_heads:
            raise ConfigError(
                "config field num_attention_heads does not divide hidden_size",
                expected=f"a divisor of {config.hidden_size}",
                got=config.num_attention_heads,
            )
        return config


def entailment_id(raw: Mapping[str, Any]) -> int | None:
    """The id that ``label2id`` gives to the first label that starts with "entail".

    Args:
        raw: A parsed ``config.json``. Its names may be generic ones in ``id2label``, and those of
            the training in ``label2id`` alone.

    Returns:
        ``None`` where ``label2id`` names no such label, or there is no ``id2label`` beside it.

    Raises:
        ConfigError: ``label2id`` is no object of ids, or the id is none of ``id2label``.
    """
    ids, names = raw.get("label2id"), raw.get("id2label")
    if ids is None or names is None:
        return None
    if not isinstance(ids, Mapping):
        raise ConfigError(
            "config field label2id is malformed",
            expected="an object of label name: id",
            got=type(ids).__name__,
        )
    for name, index in ids.items():
        if name.lower().startswith("entail"):
            if isinstance(index, bool) or index not in range(len(names)):
                raise ConfigError(
                    f"config field label2id gives {name} an id that is none",
                    expected=f"0 to {len(names) - 1}",
                    got=repr(index),
                )
            return int(index)
    return None


def _both_halves(raw: Mapping[str, Any]) -> BertConfig:
    """The decoder's config, with the encoder's in it.

    Raises:
        ConfigError: A half is missing, no BERT, or not what its place asks for.
    """
    encoder_config, decoder = halves_of(raw)
    for field in ("is_decoder", "add_cross_attention"):
        if not _flag(decoder, field, default=False):
            raise ConfigError(
                f"decoder of the encoder-decoder has {field} false",
                expected="true: it attends to the encoder",
                got="false",
                fix="Correct the decoder's part of config.json",
            )
    if _flag(encoder_config, "is_decoder", default=False):
        raise ConfigError(
            "encoder of the encoder-decoder has is_decoder true",
            expected="false: it reads the whole text",
            got="true",
            fix="Correct the encoder's part of config.json",
        )
    encoder = BertConfig.from_dict(encoder_config)
    crossed = decoder.get("cross_attention_hidden_size")
    if crossed is not None and crossed != _size(decoder, "hidden_size", 768):
        raise ConfigError(
            "decoder of the encoder-decoder has a cross_attention_hidden_size of its own",
            expected="null, or its hidden_size: a BERT's layers take no other",
            got=repr(crossed),
        )
    own = BertConfig.from_dict({**decoder, "add_cross_attention": False})
    return replace(own, encoder=encoder)


def _refuse_other_models(raw: Mapping[str, Any]) -> None:
    if raw.get("model_type", "bert") != "bert":
        raise ConfigError(
            "config field model_type names another architecture",
            expected="'bert'",
            got=repr(raw["model_type"]),
            fix="Export a BERT checkpoint",
        )
    if _flag(raw, "add_cross_attention", default=False):
        raise ConfigError(
            "decoder is there without the encoder that it attends to (add_cross_attention)",
            expected="an encoder-decoder checkpoint, with the configs and weights of both",
            got="a decoder alone",
            fix="Export the whole encoder-decoder",
        )
    quantized = raw.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, Mapping) else quantized
        raise ConfigError(
            "config field quantization_config is not supported",
            expected="weights of float32, float16 or bfloat16",
            got=repr(method),
            fix="Export the checkpoint before it was quantized",
        )
    pruned = raw.get("pruned_heads")
    if any(pruned.values()) if isinstance(pruned, Mapping) else pruned:
        raise ConfigError(
            "config field pruned_heads is not supported", expected="no pruned heads", got=pruned
        )


def _size(raw: Mapping[str, Any], name: str, default: int, *, least: int = 1) -> int:
    value = raw.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise ConfigError(
            f"config field {name} is not a size",
            expected=f"an integer from {least} to {_LARGEST}",
            got=repr(value),
        )
    return value


def _choice(raw: Mapping[str, Any], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = raw.get(name, default)
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(
            f"config field {name} has an unsupported value",
            expected=f"one of {', '.join(choices)}",
            got=repr(value),
        )
    return value


def _epsilon(raw: Mapping[str, Any], name: str, default: float) -> float:
    value = raw.get(name, default)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1 or not math.isfinite(value):
        raise ConfigError(
            f"config field {name} is not a small positive number", expected="0 <= x < 1",
            got=repr(value),
        )  # fmt: skip
    return float(value)


def _flag(raw: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = raw.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(
            f"config field {name} is not a flag", expected="true or false", got=repr(value)
        )
    return value


def _padding(raw: Mapping[str, Any]) -> int | None:
    return None if raw.get("pad_token_id", 0) is None else _size(raw, "pad_token_id", 0, least=0)


def _labels(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in id order: those of ``id2label``, or else ``num_labels`` times ``LABEL_<id>``."""
    names = raw.get("id2label")
    if names is None:
        count = 2 if raw.get("num_labels") is None else _size(raw, "num_labels", 2)
        return tuple(f"LABEL_{index}" for index in range(count))
    if not isinstance(names, Mapping) or not all(
        isinstance(name, str | int | float) for name in names.values()
    ):
        raise ConfigError(
            "config field id2label is malformed",
            expected="an object of id: label name",
            got=repr(names),
        )
    try:
        by_id = {int(key): str(name) for key, name in names.items()}  # a name may be a number
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "config field id2label has a key that is no id", expected="integers", got=error
        ) from error
    if not names or sorted(by_id) != list(range(len(names))):
        raise ConfigError(
            "config field id2label does not number its labels",
            expected="ids 0, 1, ... without gaps",
            got=sorted(by_id),
        )
    return tuple(by_id[index] for index in range(len(by_id)))
