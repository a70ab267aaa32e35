"""What ``load`` refuses before it reads anything; what is loaded says what it is, and travels."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import os
import pickle
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import bert_export
from bert_export.bundle import replace_folder
from bert_export.errors import BundleError, InputError
from bert_export.exporter import Export
from bert_export.runtime.loading import load, threads_for
from tests.kills import Child
from tests.support import open_tiny


@pytest.mark.parametrize("path", [None, 3, b"bundle", ["bundle"]])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InputError, match="path is wrong: expected a bundle's folder, got"):
        load(path)


def test_threads_of_no_bundle() -> None:
    with pytest.raises(BundleError, match="no such folder"):
        threads_for("absent", None, 1)


def test_an_option_asks_for_the_one_that_was_meant() -> None:
    with pytest.raises(InputError, match=r"option thread is unknown: .*Did you mean 'threads'\?$"):
        load("bundle", thread=1)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="arguments do not fit the call: expected path, and"):
        load()  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Path:
    """A tiny classifier."""
    return tiny_export("text-classification", "BertForSequenceClassification").path


def test_a_pipeline_says_what_is_loaded(bundle: Path, tiny: Callable[..., Path]) -> None:
    with load(bundle) as pipeline:
        source = tiny("BertForSequenceClassification")
        assert repr(pipeline).startswith("TextClassificationPipeline(task='text-classification', ")
        assert f"checkpoint={str(source)!r}"[:60] in repr(pipeline)
        assert "target='onnxruntime', precision='fp32', labels=['LABEL_0', " in repr(pipeline)
    described = repr(open_tiny("feature-extraction", tiny("BertModel")))
    assert described.endswith("', dimension=16)")
    assert "target" not in described


def test_a_pickled_pipeline_is_loaded_again(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    with load(bundle.name, threads=1, sort=False, token_budget=99) as pipeline:
        expected = pipeline(["the cat", "a dog"])
        state = pickle.dumps(pipeline)
        monkeypatch.chdir(os.sep)  # the copy finds the bundle from wherever it is made
        for made in (
            pickle.loads(state),  # noqa: S301 - of our own making
            copy.deepcopy(pipeline),
            copy.copy(pipeline),
        ):
            assert type(made) is type(pipeline)
            assert made(["the cat", "a dog"]) == expected
            assert (made._sort, made._token_budget) == (False, 99)
            made.close()  # each has an engine of its own
        assert pipeline(["the cat", "a dog"]) == expected
    assert len(state) < 2000  # it names the bundle, and does not hold it


def test_a_pipeline_answers_in_a_process_that_was_spawned(bundle: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with load(bundle, threads=1) as pipeline, ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(pipeline, "the cat").result() == pipeline("the cat")
        with pytest.raises(InputError, match="item 1: input is of the wrong type"):
            pool.submit(pipeline, ["the cat", None]).result()


def test_a_pipeline_that_nothing_can_open_again(tiny: Callable[..., Path]) -> None:
    pipeline = open_tiny("feature-extraction", tiny("BertModel"))
    for copied in (pickle.dumps, copy.deepcopy):
        with pytest.raises(InputError, match=r"cannot be copied or pickled: .*Call load"):
            copied(pipeline)


def test_one_logger_tells_what_is_loaded_and_run(
    bundle: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = logging.getLogger(bert_export.__name__).handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)
    with load(bundle) as pipeline:
        pipeline(["the cat", "a dog"])
    assert caplog.records == []  # below WARNING, nothing is told unasked
    with caplog.at_level(logging.DEBUG, logger="bert_export"), load(bundle) as pipeline:
        pipeline(["the cat", "a dog"])
    told = [(record.name.split(".")[0], record.levelname) for record in caplog.records]
    assert told == [("bert_export", "INFO"), ("bert_export", "DEBUG")]
    assert f"loaded {pipeline!r} from {bundle} in" in caplog.messages[0]
    assert caplog.messages[1] == "graph call of 2 rows, longest 4 tokens"
    assert capsys.readouterr() == ("", "")


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
    with pytest.raises(BundleError, match=f"file {name} cannot be read: .* got a FIFO"):
        load(bundle, threads=1, verify=verify)
