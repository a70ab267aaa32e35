"""Checkpoints that TensorFlow and Flax wrote themselves, where they are there."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from bert_export.bundle import CheckpointOptions
from bert_export.checkpoints import load_checkpoint, settle
from bert_export.errors import BertExportError
from bert_export.models import load_head
from tests.checkpoints.conftest import SHARED

FOREIGN = SHARED / "checkpoints" / "foreign"
FOLDERS = sorted(path.parent for path in FOREIGN.glob("*/about.json"))
BROKEN = FOREIGN / "broken.tar.xz"

pytestmark = pytest.mark.skipif(
    not FOLDERS, reason="no checkpoints of TensorFlow and Flax beside the repository"
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_answers_are_those_of_the_framework_that_wrote_the_file(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    if folder.name == "tf1-v1-format":
        with pytest.raises(BertExportError, match=r"in the format before \.index files"):
            load_checkpoint(str(folder))
        return
    head = load_head(about["head"], load_checkpoint(str(folder)))
    with np.load(folder / "expected.npz") as stored:
        arrays = dict(stored)
    zeros = np.zeros_like(arrays["in_input_ids"])
    inputs = [
        torch.from_numpy(arrays.get(f"in_{name}", zeros).astype(np.int64)) for name in head.inputs
    ]
    answers = head(*inputs)
    answers = answers if isinstance(answers, tuple) else (answers,)
    for name, answer in zip(head.outputs, answers, strict=True):
        np.testing.assert_allclose(answer.numpy(), arrays[f"out_{name}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "folder",
    [folder for folder in FOLDERS if folder.name.startswith("tf1-") and "v1" not in folder.name],
    ids=lambda folder: folder.name,
)
def test_googles_code_computes_gelu_by_tanh(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    checkpoint, _ = settle(load_checkpoint(str(folder)), CheckpointOptions(gelu="tanh"))
    head = load_head(about["head"], checkpoint)
    with np.load(folder / "expected.npz") as stored:
        arrays = dict(stored)
    inputs = [torch.from_numpy(arrays[f"in_{name}"].astype(np.int64)) for name in head.inputs]
    answers = head(*inputs)
    answers = answers if isinstance(answers, tuple) else (answers,)
    for name, answer in zip(head.outputs, answers, strict=True):
        expected = arrays[f"out_{name}_tanh_gelu"]
        np.testing.assert_allclose(answer.numpy(), expected, rtol=0, atol=1e-5)


def test_damaged_and_hostile_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not BROKEN.is_file():
        pytest.skip("no damaged checkpoints beside the repository")
    with tarfile.open(BROKEN) as archive:
        if hasattr(tarfile, "data_filter"):  # not in the first releases of Python 3.11
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(tmp_path)  # noqa: S202  the archive is ours
    folders = sorted(path.parent for path in tmp_path.rglob("expect.json"))
    assert len(folders) == 62
    for folder in folders:
        expect = json.loads((folder / "expect.json").read_text())
        about = json.loads((FOREIGN / expect["made_from"] / "about.json").read_text())
        for place in (folder, Path()):
            monkeypatch.chdir(folder if place == Path() else tmp_path)
            if expect["must"] == "either":
                load_head(about["head"], load_checkpoint(str(place)))
                continue
            with pytest.raises(BertExportError) as caught:
                load_head(about["head"], load_checkpoint(str(place)))
            assert str(caught.value).isprintable(), folder.name
    assert not list(tmp_path.rglob("PWNED"))
