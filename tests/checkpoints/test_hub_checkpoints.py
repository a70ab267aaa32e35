"""The hub: out of reach, cached, and not installed; no test needs a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bert_export.checkpoints.hub import is_hub_id, weight_files

LOAD = """
import sys
from bert_export.checkpoints import load_checkpoint
from bert_export.errors import BertExportError
try:
    checkpoint = load_checkpoint(sys.argv[1])
    print(checkpoint.source, len(checkpoint.tensors))
except BertExportError as error:
    print(type(error).__name__, error)
"""


def _load(model: str, cache: Path, *, prelude: str = "") -> str:
    settings = {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", prelude + LOAD, model],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | settings,
    )
    return run.stdout


def test_hub_out_of_reach_is_one_line(tmp_path: Path) -> None:
    output = _load("owner/name", tmp_path)
    assert output.startswith(
        "CheckpointError checkpoint owner/name is no folder here and cannot be fetched"
    )
    assert output.count("\n") == 1


def test_cached_snapshot_is_read_offline(pretraining: Path, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    repository = tmp_path / "cache" / "hub" / "models--owner--name"
    shutil.copytree(pretraining, repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    assert _load("owner/name", tmp_path / "cache").startswith("owner/name ")


def test_missing_library_names_the_extra(tmp_path: Path) -> None:
    prelude = 'import sys\nsys.modules["huggingface_hub"] = None\n'
    output = _load("owner/name", tmp_path, prelude=prelude)
    assert output.startswith(
        "MissingExtraError checkpoint owner/name of the Hugging Face hub needs"
    )
    assert "pip install 'bert-export[hub]'" in output


@pytest.mark.parametrize(
    ("model", "is_id"),
    [
        ("bert-base-uncased", True),
        ("google/bert_uncased_L-2_H-128_A-2", True),
        ("./x", False),
        ("/x", False),
        ("a/b/c", False),
        ("a b", False),
        ("..", False),
        ("", False),
    ],
)
def test_hub_ids_are_told_from_paths(model: str, is_id: bool) -> None:
    assert is_hub_id(model) is is_id


@pytest.mark.parametrize(
    ("names", "fetched"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin", "tf_model.h5"], ["pytorch_model.bin"]),
        (["model-00001-of-00002.safetensors"], ["model-00001-of-00002.safetensors"]),
        (["tf_model.h5", "flax_model.msgpack"], ["tf_model.h5"]),
        (
            ["tf_model-00001-of-00002.h5", "tf_model-00002-of-00002.h5"],
            ["tf_model-00001-of-00002.h5", "tf_model-00002-of-00002.h5"],
        ),
        (["bert_model.ckpt.index", "flax_model.msgpack"], ["flax_model.msgpack"]),
        (
            [
                "bert_config.json",
                "checkpoint",
                "bert_model.ckpt.data-00000-of-00001",
                "bert_model.ckpt.index",
                "bert_model.ckpt.meta",
                "graph.pbtxt",
            ],
            ["checkpoint", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index"],
        ),
        (
            [
                "saved_model/1/saved_model.pb",
                "saved_model/1/variables/variables.index",
                "saved_model/1/variables/variables.data-00000-of-00001",
            ],
            [
                "saved_model/1/variables/variables.index",
                "saved_model/1/variables/variables.data-00000-of-00001",
            ],
        ),
        (["onnx/model.bin", "openvino/openvino_model.bin"], []),
        (
            ["0_Transformer/pytorch_model.bin", "2_Dense/pytorch_model.bin"],
            ["0_Transformer/pytorch_model.bin", "2_Dense/pytorch_model.bin"],
        ),
    ],
)
def test_only_one_weight_format_is_fetched(names: list[str], fetched: list[str]) -> None:
    assert weight_files(names) == fetched
