"""Bundles that are replaced while a service loads them, and files that have no end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bert_export.bundle import replace_folder
from bert_export.errors import BundleError
from bert_export.exporter import Export
from bert_export.runtime.loading import load
from tests.kills import Child


def replace_often(place: Path, sources: list[Path], times: int) -> None:
    """Put two bundles in a place, in turns."""
    for number in range(times):
        with replace_folder(place, force=True) as work:
            for path in sources[number % 2].iterdir():
                shutil.copy(path, work)
        time.sleep(0.02)


def test_a_service_that_starts_while_its_bundle_is_replaced_is_never_refused(
    tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    cls_name = "BertForSequenceClassification"
    sources = [
        tiny_export("text-classification", cls_name, id2label={0: name, 1: "b", 2: "c"}).path
        for name in ("one", "other")
    ]
    place = tmp_path / "bundle"
    shutil.copytree(sources[1], place)
    writer = Child(partial(replace_often, place, sources, 12))
    seen = []
    while writer.is_alive():
        with load(place, threads=1) as pipeline:
            label = pipeline("the cat sat")[0]["label"]
            assert label in pipeline.labels
            seen.append(pipeline.labels[0])
    assert writer.code == 0
    assert set(seen) == {"one", "other"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", ["tokenizer.json", "onnxruntime.onnx", "weights.data"])
def test_a_file_without_an_end(
    name: str, tiny_export: Callable[..., Export], tmp_path: Path, *, verify: bool
) -> None:
    source = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
    bundle = Path(shutil.copytree(source, tmp_path / "bundle"))
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleError, match=f"file {name} cannot be read: .* got it is a FIFO"):
        load(bundle, threads=1, verify=verify)
