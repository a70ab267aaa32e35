"""Programs of tiny heads, and padded batches as the ragged rows that a program takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bert_export.passes.round_to_bfloat16 import RoundToBfloat16
from bert_export.passes.share_initializers import ShareInitializers
from bert_export.quantization.int8_calibration import Int8Calibration
from bert_export.quantization.quantizer import SCHEMES, find_linear_layers, quantize_graph
from bert_export.targets.weights import WeightStore
from tests.targets.emitted import prepared

__all__ = ["PROGRAM", "lowered", "ragged", "same_rows", "written_program"]

PROGRAM = "native.json"

Arrays = Mapping[str, NDArray[Any]]


def lowered(task: str, precision: str = "int8", **fields: Any) -> ir.Model:
    """The graph of a tiny head in the form that becomes a program."""
    model = prepared(task, **fields)
    if precision == "int8":
        sites, _ = find_linear_layers(model)
        ranges = {site.activation: (-4.0, 4.5) for site in sites}
        quantize_graph(
            model, Int8Calibration.from_ranges(ranges, {}), scheme=SCHEMES["x86-64-vnni"]
        )
    if precision != "fp32":
        RoundToBfloat16(linear_layers=precision == "bf16")(model)
    ShareInitializers(standard=True)(model)
    return model


def written_program(model: ir.Model, folder: Path) -> Path:
    """The program of a graph, with its weights beside it."""
    with WeightStore(folder) as store:
        store.save(model, PROGRAM)
    return folder / PROGRAM


def ragged(feeds: Arrays) -> tuple[NDArray[Any], tuple[Any, ...]]:
    """The mask (rows, S) of a batch padded on the right, and the batch as a program takes it."""
    flat = {
        name: array.reshape(-1, array.shape[-1])
        for name, array in feeds.items()
        if name != "masked_positions"
    }
    mask = flat["attention_mask"].astype(bool)
    further = {}
    if "masked_positions" in feeds:
        further["masked_positions"] = (np.cumsum(mask) - 1)[feeds["masked_positions"]]
    return mask, (
        flat["input_ids"][mask],
        flat["token_type_ids"][mask],
        mask.sum(axis=1),
        further,
    )


def same_rows(padded: NDArray[Any], like: NDArray[Any], mask: NDArray[Any]) -> NDArray[Any]:
    """What a graph gives for a padded batch, in the rows that a program gives."""
    per_token = len(like) == mask.sum() and padded.shape[:2] == mask.shape
    return (padded[mask] if per_token else padded).reshape(like.shape)
