"""Checkpoints of ``sentence-transformers``: ``modules.json`` names the modules after BERT.

::

    modules.json                         the modules in order: transformer, pooling, dense ...
    sentence_bert_config.json            max_seq_length, do_lower_case; beside the transformer, and
                                         under other names in some versions
    config_sentence_transformers.json    prompts, similarity, truncate_dim; of a cross-encoder,
                                         which has no pooling, activation_fn
    1_Pooling/config.json                how token vectors become the sentence's vector
    2_Dense/config.json                  with model.safetensors or pytorch_model.bin
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from bert_export.checkpoints.files import read_json, read_json_list, read_weights
from bert_export.errors import CheckpointError
from bert_export.tasks.sentence_embedding import SIMILARITIES, Similarity

__all__ = [
    "MODULES",
    "POOLING_MODES",
    "Dense",
    "SentenceModules",
    "read_activation",
    "read_sentence_modules",
]

MODULES = "modules.json"
_PROMPTING = "config_sentence_transformers.json"
_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_OTHER_SETTINGS = ("tokenizer_args", "processor_kwargs", "processing_kwargs")
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")

# Flags of older versions, in the order in which pooled vectors are concatenated.
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_ACTIVATIONS = {
    "GELU": "gelu",
    "Identity": "identity",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}


@dataclass(frozen=True, kw_only=True)
class Dense:
    """A linear layer on the sentence's vector.

    Args:
        in_features: Width of its input.
        out_features: Width of its output.
        activation: One of gelu, identity, relu, sigmoid, silu, tanh.
        weight: (out_features, in_features), as stored.
        bias: (out_features,); ``None`` if the layer has none.
    """

    in_features: int
    out_features: int
    activation: str
    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True)
class SentenceModules:
    """How token vectors become one sentence vector.

    Args:
        pooling: Modes of :data:`POOLING_MODES`; their vectors are concatenated in this order.
        pooled_layers: A token's vector is the mean of its states behind the last so many layers.
        include_prompt: Whether a prompt's tokens are pooled too.
        dense: Linear layers after the pooling.
        normalize: Whether the result is scaled to length 1.
        max_seq_length: Longest row; ``None`` if the checkpoint does not say.
        do_lower_case: Whether text is lower-cased before it is tokenized.
        prompts: Texts to put in front of a text, by name.
        default_prompt_name: The prompt that is used if none is asked for.
        similarity_fn_name: How two vectors are compared, one of :data:`SIMILARITIES`; ``None`` if
            the checkpoint does not say.
        truncate_dim: Numbers that a vector keeps; all when ``None``.
    """

    pooling: tuple[str, ...] = ("mean",)
    pooled_layers: int = 1
    include_prompt: bool = True
    dense: tuple[Dense, ...] = ()
    normalize: bool = False
    max_seq_length: int | None = None
    do_lower_case: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: Similarity | None = None
    truncate_dim: int | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The dense layers' tensors by the head's names for them, such as ``dense.0.weight``."""
        named: dict[str, Tensor] = {}
        for index, layer in enumerate(self.dense):
            named[f"dense.{index}.weight"] = layer.weight
            if layer.bias is not None:
                named[f"dense.{index}.bias"] = layer.bias
        return named


def read_sentence_modules(folder: Path) -> tuple[Path, SentenceModules | None]:
    """Read ``modules.json`` and the modules that it names.

    Args:
        folder: The folder of ``modules.json``.

    Returns:
        The transformer's folder, and the modules after it. A cross-encoder has ``None``: its head
        is the transformer's own.

    Raises:
        CheckpointError: A file is missing or malformed, or a module is not supported.
    """
    rows = _read_rows(folder)
    kinds = [kind for kind, _ in rows]
    if kinds == ["Transformer"]:
        return rows[0][1], None
    _refuse_other_orders(folder, kinds)
    transformer = rows[0][1]
    settings = _read_settings(transformer)
    prompting = _optional_json(folder / _PROMPTING)
    pooling, include_prompt = _read_pooling(rows[1][1] / "config.json")
    prompts = _prompts(prompting, folder)
    default = _typed(prompting, "default_prompt_name", str, folder)
    if default is not None and default not in {"query", "document", *prompts}:
        raise CheckpointError(
            f"checkpoint {folder} default_prompt_name {default!r} is unknown",
            expected=f"one of its prompts: {', '.join(map(repr, prompts)) or 'none'}",
            got=repr(default),
        )
    return transformer, SentenceModules(
        pooling=pooling,
        include_prompt=include_prompt,
        dense=tuple(_read_dense(path) for kind, path in rows if kind == "Dense"),
        normalize="Normalize" in kinds,
        max_seq_length=_typed(settings, "max_seq_length", int, transformer),
        do_lower_case=bool(_typed(settings, "do_lower_case", bool, transformer)),
        prompts=prompts,
        default_prompt_name=default,
        similarity_fn_name=_read_similarity(prompting, folder),
        truncate_dim=_typed(prompting, "truncate_dim", int, folder),
    )


def read_activation(folder: Path, config: Mapping[str, Any]) -> str | None:
    """What a cross-encoder applies to its logits, by the name that its files have for it.

    Args:
        folder: Of ``config_sentence_transformers.json``, which newer versions write.
        config: ``config.json``, which holds it under two older names.

    Raises:
        CheckpointError: A field is of another type.
    """
    newer = _typed(_optional_json(folder / _PROMPTING), "activation_fn", str, folder)
    if newer is not None:
        return str(newer)
    own = _typed(config, "sentence_transformers", dict, folder) or {}
    older = _typed(config, "sbert_ce_default_activation_function", str, folder)
    stated = _typed(own, "activation_fn", str, folder) or older
    return None if stated is None else str(stated)


def _read_similarity(config: Mapping[str, Any], folder: Path) -> Similarity | None:
    name = _typed(config, "similarity_fn_name", str, folder)
    for known in SIMILARITIES:
        if name == known:
            return known
    if name is None:
        return None
    raise CheckpointError(
        f"checkpoint {folder} similarity_fn_name {name!r} is unknown",
        expected=f"one of {', '.join(SIMILARITIES)}",
        got=repr(name),
    )


def _read_rows(folder: Path) -> list[tuple[str, Path]]:
    """Class name and folder of every module, in order; without dropout, which only trains."""
    rows: list[tuple[str, Path]] = []
    for row in read_json_list(folder / MODULES):
        kind, path = (row.get("type"), row.get("path", "")) if isinstance(row, dict) else (None, "")
        if not isinstance(kind, str) or not isinstance(path, str) or ".." in Path(path).parts:
            raise CheckpointError(
                f"file {folder / MODULES} is malformed",
                expected="modules with a type and a path inside the folder",
                got=repr(row),
            )
        package, _, name = kind.rpartition(".")
        if package.split(".")[0] != "sentence_transformers" or name not in _SUPPORTED:
            raise CheckpointError(
                f"checkpoint {folder} module {kind} is not supported",
                expected=f"sentence-transformers' {', '.join(sorted(_SUPPORTED))}",
                fix="Export a checkpoint without it",
            )
        if name != "Dropout":
            rows.append((name, folder / path.lstrip("/")))
    return rows


_SUPPORTED = frozenset({"Dense", "Dropout", "Normalize", "Pooling", "Transformer"})


def _refuse_other_orders(folder: Path, kinds: list[str]) -> None:
    tail = kinds[2:]
    dense = [kind for kind in tail if kind == "Dense"]
    if kinds[:2] != ["Transformer", "Pooling"] or tail not in (dense, [*dense, "Normalize"]):
        raise CheckpointError(
            f"checkpoint {folder} has its modules in an unsupported order",
            expected="Transformer, Pooling, Dense ..., Normalize",
            got=", ".join(kinds) or "none",
        )


def _read_settings(transformer: Path) -> dict[str, Any]:
    """The transformer's settings; those that change its tokenization are refused."""
    path = next((transformer / name for name in _SETTINGS if (transformer / name).is_file()), None)
    settings = {} if path is None else read_json(path)
    for key in _OTHER_SETTINGS:
        if settings.get(key):
            raise CheckpointError(
                f"file {path} field {key} is not supported",
                expected="none",
                got=repr(settings[key]),
                fix="Put what it says into tokenizer_config.json",
            )
    return settings


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _read_pooling(path: Path) -> tuple[tuple[str, ...], bool]:
    config = read_json(path)
    stated = config.get("pooling_mode")
    if stated is None:
        modes = _read_flags(config, path) or ["mean"]
    else:
        modes = list(stated) if isinstance(stated, list) else [stated]
        modes = ["mean_sqrt_len" if mode == "mean_sqrt_len_tokens" else mode for mode in modes]
    unknown = [mode for mode in modes if mode not in POOLING_MODES]
    if unknown or not modes:
        raise CheckpointError(
            f"file {path} has an unsupported pooling_mode",
            expected=f"of {', '.join(POOLING_MODES)}",
            got=repr(stated),
        )
    include_prompt = _typed(config, "include_prompt", bool, path.parent)
    return tuple(modes), include_prompt is not False


def _read_flags(config: Mapping[str, Any], path: Path) -> list[str]:
    flags = {key: value for key, value in config.items() if key.startswith("pooling_mode_")}
    for key, value in flags.items():
        if key not in _FLAGS or not isinstance(value, bool):
            raise CheckpointError(
                f"file {path} field {key} is not supported",
                expected=f"true or false, of {', '.join(_FLAGS)}",
                got=repr(value),
            )
    return [mode for flag, mode in _FLAGS.items() if flags.get(flag)]


def _read_dense(folder: Path) -> Dense:
    path = folder / "config.json"
    config = read_json(path)
    function = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    ends = [config.get(key) for key in ("module_input_name", "module_output_name")]
    if any(end not in (None, "sentence_embedding") for end in ends):
        raise CheckpointError(
            f"file {path} does not work on the sentence's vector",
            expected="module_input_name and module_output_name 'sentence_embedding'",
            got=" and ".join(repr(end) for end in ends),
        )
    activation = _ACTIVATIONS.get(function.rpartition(".")[2])
    if not function.startswith("torch.nn.") or activation is None:
        raise CheckpointError(
            f"file {path} has an unsupported activation_function",
            expected=f"torch.nn's {', '.join(sorted(_ACTIVATIONS))}",
            got=function,
        )
    tensors = read_weights(folder)
    has_bias = _typed(config, "bias", bool, folder) is not False
    names = {"linear.weight", *(("linear.bias",) if has_bias else ())}
    if set(tensors) != names:
        raise CheckpointError(
            f"checkpoint {folder} has other tensors than a dense layer",
            expected=", ".join(sorted(names)),
            got=", ".join(sorted(tensors)),
        )
    return Dense(
        in_features=_width(config, "in_features", path),
        out_features=_width(config, "out_features", path),
        activation=activation,
        weight=tensors["linear.weight"],
        bias=tensors.get("linear.bias"),
    )


def _width(config: Mapping[str, Any], key: str, path: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(
            f"file {path} field {key} is malformed", expected="a width", got=repr(value)
        )
    return value


def _typed(config: Mapping[str, Any], key: str, kind: type, folder: Path) -> Any:
    """The value of a field of that type; ``None`` if it is absent or null."""
    value = config.get(key)
    is_other = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
    if value is not None and (is_other or (kind is int and value < 1)):
        raise CheckpointError(
            f"checkpoint {folder} field {key} is malformed",
            expected=f"a value of type {kind.__name__}",
            got=repr(value),
        )
    return value


def _prompts(config: Mapping[str, Any], folder: Path) -> dict[str, str]:
    prompts = _typed(config, "prompts", dict, folder) or {}
    if not all(isinstance(text, str) for text in prompts.values()):
        raise CheckpointError(
            f"checkpoint {folder} field prompts is malformed",
            expected="an object of name: text",
            got=repr(prompts),
        )
    return prompts
