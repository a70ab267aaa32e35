"""A bundle of three small files, of which no engine could open one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bert_export.bundle import (
    SCHEMA_VERSION,
    CalibrationRecord,
    EngineRecord,
    GraphRecord,
    LayerPlan,
    Manifest,
    ModelRecord,
    ParityCase,
    ParityRecord,
    QuantizationPlan,
    TensorSpec,
    TokenizerRecord,
    hash_file,
    write_manifest,
)

__all__ = ["FILES", "make_manifest", "write_small"]

FILES = {
    "onnxruntime.onnx": b"graph",
    "weights.data": bytes(range(256)) * 9000,
    "tokenizer.json": b"{}",
}


def make_manifest(folder: Path, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "task": "text-classification",
        "labels": ("négatif", "positif"),
        "model": ModelRecord(
            source="demo:snips",
            architecture="BertForSequenceClassification",
            weights_sha256="0" * 64,
            parameters=10,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=30,
            type_vocab_size=2,
            max_position_embeddings=32,
        ),
        "tokenizer": TokenizerRecord(file="tokenizer.json", max_length=32, do_lower_case=True),
        "postprocessing": {"problem_type": None},
        "default_target": "onnxruntime",
        "engines": (
            EngineRecord(
                target="onnxruntime",
                precision="int8",
                graph=GraphRecord(
                    file="onnxruntime.onnx",
                    opset=20,
                    inputs=(
                        TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),
                    ),
                    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
                ),
                passes=(),
                quantization=QuantizationPlan(
                    mode="static",
                    processor="x86-64",
                    weight_bits=7,
                    weight_type="int8",
                    activation_type="uint8",
                    observer="percentile",
                    layers=(
                        LayerPlan(
                            layer="bert.pooler.dense",
                            precision="int8",
                            activation_scale=0.1,
                            activation_zero_point=128,
                        ),
                        LayerPlan(layer="classifier", precision="fp32", reason="the last layer"),
                    ),
                    calibration=CalibrationRecord(
                        source="calibration/text-classification",
                        sha256="1" * 64,
                        examples=64,
                        rows=64,
                        tokens=900,
                        seed=0,
                    ),
                ),
                parity=ParityRecord(
                    reference="pytorch fp32",
                    max_abs_difference=0.25,
                    tolerance=None,
                    agreement=0.99,
                    min_agreement=0.98,
                    agreement_kind="label",
                    cases=(ParityCase(name="short", rows=3, max_abs_difference=0.25),),
                ),
            ),
        ),
        "versions": {"torch": "2.13.0"},
        "files": {name: hash_file(folder / name) for name in FILES},
    }
    return Manifest(**(fields | changes))


def write_small(folder: Path, **contents: bytes) -> None:
    """Write the bundle into an empty folder; ``weights=...`` and the like give other contents."""
    for name, content in FILES.items():
        (folder / name).write_bytes(contents.get(name.split(".")[0], content))
    write_manifest(folder, make_manifest(folder))
