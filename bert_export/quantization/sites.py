"""The linear layers that INT8 covers, grouped by the activation that they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.bundle import LayerPlan
from bert_export.errors import QuantizationError
from bert_export.passes.editing import constant
from bert_export.tracing import linear_layers

__all__ = ["LinearSite", "find_sites", "group_sites", "set_constant", "weight_of"]

QUANTIZED_PREFIXES = ("bert.encoder.", "bert.pooler.")


@dataclass(frozen=True, slots=True)
class LinearSite:
    """A linear layer of the graph: its module's name, its MatMul and its input's name."""

    layer: str
    node: ir.Node
    activation: str


def find_sites(
    model: ir.Model, float_layers: Mapping[str, str] | None = None
) -> tuple[list[LinearSite], list[LayerPlan]]:
    """Linear layers that INT8 covers, and a plan entry with a reason for each that stays float.

    Args:
        model: The prepared float graph.
        float_layers: Layers to leave in float, with the reason.

    Raises:
        QuantizationError: The graph has no linear layer inside the encoder, or none of the name
            that is to stay float.
    """
    wanted = dict(float_layers or {})
    covered = 0
    sites: list[LinearSite] = []
    kept: list[LayerPlan] = []
    for layer, node in linear_layers(model.graph):
        inside = layer.startswith(QUANTIZED_PREFIXES)
        covered += inside
        reason = wanted.pop(layer, None if inside else "outside the encoder and pooler")
        if reason is None:
            activation = cast("ir.Value", node.inputs[0])
            sites.append(LinearSite(layer, node, str(activation.name)))
        else:
            kept.append(LayerPlan(layer=layer, precision="fp32", reason=reason))
    if not covered:
        raise QuantizationError(
            "graph has no linear layer to quantise",
            expected="MatMul nodes named after bert.encoder or bert.pooler modules",
            got="none",
        )
    if wanted:
        raise QuantizationError(
            f"layer {next(iter(wanted))} cannot be left in float",
            expected="the name of a linear layer of the graph",
            got=", ".join(wanted),
        )
    return sites, kept


def group_sites(sites: Sequence[LinearSite]) -> dict[str, list[LinearSite]]:
    """Sites by the activation that they share, in graph order."""
    groups: dict[str, list[LinearSite]] = {}
    for site in sites:
        groups.setdefault(site.activation, []).append(site)
    return groups


def weight_of(site: LinearSite) -> NDArray[np.float32]:
    """The weight of a float linear layer, float32 (K, N)."""
    weight = constant(site.node.inputs[1])
    assert weight is not None, "find_sites saw it"
    return weight


def set_constant(value: ir.Value, array: NDArray[np.floating[Any]]) -> None:
    """Let an initializer hold another array, as float32; the old one, which clones share, stays."""
    content = np.ascontiguousarray(array, dtype=np.float32)
    value.const_value = ir.tensor(content, name=value.name)
    value.shape = ir.Shape(array.shape)
