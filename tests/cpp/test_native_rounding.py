"""Outputs of the native target beside ONNX Runtime's INT8 graph of the same plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

import bert_export
from bert_export.evaluation.distance import measure_distance
from bert_export.exporter import export
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION

pytestmark = pytest.mark.long

LAYERS = 1
MOST_APART = 0.015
"""Root mean square of what outputs of one plan are apart in two engines, of their spread."""

TEXTS = [
    "Book a table for four at the Italian place on Friday.",
    "Dr. Seward's diary, continued: the patient slept until noon, and then asked for sugar.",
    "yes",
    "What is the capital of Peru, and how many people live there today?",
]


@pytest.fixture
def shallow(minilm: Path, tmp_path: Path) -> Path:
    """The first layers of real weights: errors of random ones do not average."""
    folder = tmp_path / "shallow"
    shutil.copytree(minilm, folder)
    for index in folder.glob("modules.json"):
        index.unlink()  # the encoder alone, without its pooling
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = LAYERS
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(folder / "model.safetensors")
    kept = {
        name: array
        for name, array in tensors.items()
        if "layer." not in name or int(name.split("layer.")[1].split(".")[0]) < LAYERS
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.usefixtures("module")
def test_int8_is_onnx_runtime_s_but_for_rounding(shallow: Path, tmp_path: Path) -> None:
    """The bound that the target's README states."""
    done = export(
        task=FEATURE_EXTRACTION.name,
        model=str(shallow),
        precision="int8",
        targets=("onnxruntime", "native"),
        output=tmp_path / "bundle",
        threads=1,
    )
    plans = [engine.quantization for engine in done.manifest.engines]
    assert plans[0] == plans[1]
    with (
        bert_export.load(done.path, target="onnxruntime", threads=1) as other,
        bert_export.load(done.path, target="native", threads=1) as own,
    ):
        items = [own.item({"text": text}) for text in TEXTS]
        rows = [row for of in own.encode_items(items, own.default_settings()) for row in of]
        apart = measure_distance(own, other, rows).root
    assert 0 < apart <= MOST_APART, apart
