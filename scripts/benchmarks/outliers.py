"""Planted outliers: what INT8 makes of a head whose activations were spoilt on purpose.

Usage::

    python scripts/planted_outliers.py
    python scripts/planted_outliers.py --demo snips --factor 100 --channels 3

A few channels are made ``factor`` times larger, and the weights that read them smaller, so that the
float head answers as before: the projection of attention's values, which the output projection
reads, and the last normalization, which only the pooler reads. Any other place would change the
float answers: BERT normalizes after adding, so that every other normalized state is also the next
residual, and GELU does not scale. The script prints how far INT8 is from float, with plain ranges
and with the defaults, before and after planting.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from bert_export.checkpoints import load_checkpoint
from bert_export.exporter.manifest_records import longest_row, tokenizer_record
from bert_export.models import BertConfig, BertHead, load_head
from bert_export.passes.prepare import prepare
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import prepare_int8
from bert_export.quantization.quantizer import SCHEMES, quantize_graph
from bert_export.runtime.batching import Row, pad_rows, row_from_encoding
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.tokenization import Tokenizer
from bert_export.targets.lowering import lower
from bert_export.tasks import Task, find_task
from bert_export.tracing import trace

__all__ = ["PLAIN", "Distance", "Texts", "int8_distances", "plant", "read_head"]

PLAIN = QuantizationOptions(
    observer="min-max",
    channel_shifting=False,
    smoothquant=False,
    channel_splitting=False,
    gptq=False,
    bias_correction=False,
    embeddings=False,
)
"""Extremes as ranges and nothing else: what a stock static tool does."""

_TASK = find_task("text-classification")
_HELD_OUT = (
    "feature-extraction",
    "sentence-embedding",
    "token-classification",
    "zero-shot-classification",
)
"""Tasks whose built-in text is compared on: none of it is in the set that calibrates."""
_INPUTS = ("batch", "sequence")


@dataclass(frozen=True, slots=True)
class Distance:
    """How far INT8 is from float on texts that did not calibrate it.

    Args:
        agreement: Share of equal labels.
        error: Root of the logits' squared difference, relative to their own spread.
    """

    agreement: float
    error: float


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows of built-in text.

    Args:
        calibration: Of the classifier's own set.
        held_out: Of other tasks' sets, on which INT8 is compared with float.
    """

    calibration: Sequence[Row]
    held_out: Sequence[Row]


def read_head(demo: str) -> tuple[BertHead, Texts]:
    """A demonstration classifier and its rows."""
    checkpoint = load_checkpoint(f"demo:{demo}")
    config = BertConfig.from_dict(checkpoint.config)
    record = tokenizer_record(checkpoint, longest_row(_TASK, config, checkpoint))
    tokenizer = Tokenizer.from_json(checkpoint.tokenizer.json, record)
    texts = Texts(
        _rows(tokenizer, [_TASK]), _rows(tokenizer, [find_task(name) for name in _HELD_OUT])
    )
    return load_head(_TASK.head, checkpoint), texts


def _rows(tokenizer: Tokenizer, tasks: Sequence[Task]) -> list[Row]:
    records = [record for task in tasks for record in read_calibration(task).records]
    encoded = tokenizer.encode([str(record["text"]) for record in records if "text" in record])
    return [row_from_encoding(row[0]) for row in encoded]


def plant(head: BertHead, *, factor: float, channels: int, seed: int = 0) -> None:
    """Make some channels of every layer larger, in place; the head answers as before.

    Args:
        head: A classifier.
        factor: How much larger.
        channels: How many in each layer.
        seed: Of which ones.
    """
    rng = np.random.default_rng(seed)
    layers: Any = head.bert.encoder.layer
    size = layers[0].attention.self.value.weight.shape[0]
    with torch.no_grad():
        for layer in layers:
            chosen = torch.from_numpy(rng.choice(size, channels, replace=False))
            values = layer.attention.self.value
            values.weight[chosen] *= factor  # (H, H), a row an output
            values.bias[chosen] *= factor
            layer.attention.output.dense.weight[:, chosen] /= factor
        chosen = torch.from_numpy(rng.choice(size, channels, replace=False))
        layers[-1].output.LayerNorm.weight[chosen] *= factor
        layers[-1].output.LayerNorm.bias[chosen] *= factor
        pooler: Any = head.bert.pooler
        pooler.dense.weight[:, chosen] /= factor


def int8_distances(
    head: BertHead, texts: Texts, options: Sequence[QuantizationOptions]
) -> list[Distance]:
    """Calibrate in each of several ways, and compare on text that was held out."""
    logits = (("logits", ("batch", "labels")),)
    inputs = tuple((name, _INPUTS) for name in head.inputs)
    layers = len(head.bert.encoder.layer)
    prepared = trace(head, inputs=inputs, outputs=logits, max_length=64)
    prepare(prepared, task=_TASK, config_layers=layers)
    distances = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exact = _logits(prepared, texts.held_out, folder)
        for way in options:
            preparation = prepare_int8(
                prepared,
                texts.calibration,
                way,
                folder=folder,
                feeds=partial(pad_rows, pad_id=0),
            )
            model = prepared.clone()
            quantize_graph(model, preparation, scheme=SCHEMES["x86-64-vnni"])
            lower(model, target="onnxruntime", precision="int8", task=_TASK, config_layers=layers)
            close = _logits(model, texts.held_out, folder, unsaturated=True)
            distances.append(
                Distance(
                    agreement=float((exact.argmax(axis=1) == close.argmax(axis=1)).mean()),
                    error=float(np.sqrt(((exact - close) ** 2).mean()) / exact.std()),
                )
            )
    return distances


def _logits(
    model: ir.Model, rows: Sequence[Row], folder: Path, *, unsaturated: bool = False
) -> NDArray[np.float32]:
    """One text at a time, (texts, labels)."""
    path = folder / "head.onnx"
    ir.save(model, path)
    with OnnxRuntimeSession(path, unsaturated=unsaturated) as session:
        return np.concatenate([session.run(pad_rows([row], pad_id=0))["logits"] for row in rows])


@click.command()
@click.option("--demo", default="taxinli", show_default=True, help="A classifier.")
@click.option("--factor", default=30.0, show_default=True)
@click.option("--channels", default=8, show_default=True, help="In each layer.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(*, demo: str, factor: float, channels: int, as_json: bool) -> None:
    """Distance of INT8 from float, plain and ours, before and after planting."""
    found: dict[str, Distance] = {}
    head, texts = read_head(demo)
    for state in ("as trained", "planted"):
        if state == "planted":
            plant(head, factor=factor, channels=channels)
        plain, ours = int8_distances(head, texts, (PLAIN, QuantizationOptions()))
        found |= {f"plain, {state}": plain, f"ours, {state}": ours}
    if as_json:
        click.echo(
            json.dumps(
                {name: [distance.agreement, distance.error] for name, distance in found.items()}
            )
        )
        return
    for name, distance in found.items():
        click.echo(
            f"{name:20s} labels equal {distance.agreement:7.2%}   error {distance.error:7.2%}"
        )


if __name__ == "__main__":
    main()
