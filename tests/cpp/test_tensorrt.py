"""TensorRT's engines in C++: fakes stand for TensorRT and CUDA and honour their protocol.

It was never run on a GPU, nor compiled with NVIDIA's headers: those here declare the same names.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.exporter import Export
from tests.cpp.test_bundles import Feeds, batch, edited_at, run
from tests.cpp.test_pipelines import ask

pytestmark = pytest.mark.long

TARGET = "tensorrt"
ENGINE = "tensorrt.engine"
PLAN = (
    "input input_ids int64 2\n"
    "input attention_mask int64 2\n"
    "input token_type_ids int64 2\n"
    "output logits float32 input_ids 3\n"
)
SMALL = {"batch": [1, 2, 4], "sequence": [1, 8, 16]}
LARGE = {"batch": [1, 2, 4], "sequence": [17, 20, 24]}


@pytest.fixture
def floats(tiny_export: Callable[..., Export]) -> Path:
    own: dict[str, Any] = {"targets": ("onnxruntime",), "num_labels": 3}
    return tiny_export("text-classification", "BertForSequenceClassification", **own).path


@pytest.fixture
def libraries(plain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the libraries, which the environment names."""
    monkeypatch.setenv("BERT_EXPORT_TENSORRT", str(plain / "libfake_nvinfer.so"))
    monkeypatch.setenv("BERT_EXPORT_CUDART", str(plain / "libfake_cudart.so"))
    return plain


def built(
    source: Path, folder: Path, plan: str = PLAN, profiles: Sequence[object] = (SMALL, LARGE)
) -> Path:
    """A bundle whose one engine is TensorRT's."""
    bundle = folder / "bundle"
    shutil.copytree(source, bundle)
    (bundle / ENGINE).write_text(plan)
    engine = {"file": ENGINE, "builder": "tensorrt 11.2.1", "profiles": profiles}
    digest = hashlib.sha256(plan.encode()).hexdigest()
    for keys, value in (
        (("default_target",), TARGET),
        (("engines", 0, "target"), TARGET),
        (("engines", 0, "build"), {"engine": engine}),
        (("files", ENGINE), {"bytes": len(plan), "sha256": digest}),
    ):
        edited_at(*keys, value=value)(bundle)
    return bundle


def wanted(feeds: Feeds, profile: int) -> list[float]:
    sums = feeds["input_ids"].sum(axis=1)
    scores = sums[:, None] * np.arange(3)[None, :] + 1000 * profile
    return [float(score) for score in scores.ravel()]


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("kind", ["plain", "sanitized"])
def test_batches_run_on_the_profile_that_fits(
    request: pytest.FixtureRequest, floats: Path, tmp_path: Path, kind: str
) -> None:
    bundle = built(floats, tmp_path)
    feeds = [batch(1, 5), batch(3, 20, seed=1), batch(4, 16, seed=2), batch(2, 17, seed=3)]
    feeds = [own | {"input_ids": own["input_ids"] % 60} for own in feeds]
    build = request.getfixturevalue(kind)
    task, *answers = run(build, bundle, feeds)
    assert task == {"task": "text-classification"}
    for own, answer, profile in zip(feeds, answers, (0, 1, 0, 1), strict=True):
        assert answer["logits"]["shape"] == [len(own["input_ids"]), 3]
        assert answer["logits"]["numbers"] == wanted(own, profile)
    beyond = run(build, bundle, [batch(5, 8), batch(1, 30)])[1:]
    assert [answer["error"] for answer in beyond] == [
        "feeds fit no optimization profile of the engine: expected batch 1 to 4, sequence 1 to 16 "
        f"or batch 1 to 4, sequence 17 to 24, got batch {rows}, sequence {tokens}. Build the "
        "engine with larger --batch-sizes or --lengths."
        for rows, tokens in ((5, 8), (1, 30))
    ]


@pytest.mark.usefixtures("libraries")
def test_calls_are_cut_to_the_rows_of_the_engine(
    plain: Path, floats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREADS", "0")
    bundle = built(floats, tmp_path)
    (answers,) = ask(plain, bundle, [{"inputs": ["a b c"] * 11, "top_k": 1}])
    assert [own[0]["label"] for own in answers] == ["LABEL_2"] * 11


@pytest.mark.usefixtures("libraries")
def test_what_the_engine_says_goes_into_the_error(
    plain: Path, floats: Path, tmp_path: Path
) -> None:
    feeds = batch(1, 4)
    feeds["input_ids"][0, 2] = 66
    bundle = built(floats, tmp_path)
    fitting = batch(1, 4) | {"input_ids": np.ones((1, 4), dtype=np.int64)}
    failed, well = run(plain, bundle, [feeds, fitting])[1:]
    assert failed["error"] == (
        "feeds make the engine fail: expected ids within the vocabulary, types and positions of "
        "the model, got kernel failed: 66 is no number."
    )
    assert well["logits"]["numbers"] == wanted(fitting, 0)
    (out,) = run(plain, bundle, [fitting], FAKE_DEVICE_MEMORY="16")[1:]
    assert out["error"] == (
        "CUDA cannot allocate memory: expected an NVIDIA GPU with memory to spare, got out of "
        "memory."
    )


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("plan", "profiles", "message"),
    [
        (
            "of another release",
            (SMALL,),
            (
                "engine cannot start: expected an NVIDIA GPU that it was built for, and the "
                "release that built it, got The engine plan file is not compatible with this "
                "version."
            ),
        ),
        (
            PLAN.replace("token_type_ids", "segments"),
            (SMALL,),
            (
                "engine has other inputs than the manifest says: expected attention_mask, "
                "input_ids, token_type_ids, got attention_mask, input_ids, segments."
            ),
        ),
        (
            PLAN.replace("logits", "scores"),
            (SMALL,),
            "engine has other outputs than the manifest says: expected logits, got scores.",
        ),
        (PLAN.replace("float32", "float16"), (SMALL,), "has a tensor logits of another type"),
        (PLAN, ({"batch": [1, 1, 1]},), "has a profile without an axis of its inputs: expected"),
        (PLAN, (), "has no profile with rows"),
        (PLAN, ({"batch": [1, 1], "sequence": [1, 2, 3]},), "an axis has other sizes than three"),
    ],
)
def test_engines_that_do_not_fit_are_refused(
    plain: Path, floats: Path, tmp_path: Path, plan: str, profiles: Sequence[object], message: str
) -> None:
    (refused,) = run(plain, built(floats, tmp_path, plan, profiles))
    assert message in refused["error"]
    assert "\n" not in refused["error"]


def test_what_is_missing_is_said(
    plain: Path, libraries: Path, floats: Path, tmp_path: Path
) -> None:
    bundle = built(floats, tmp_path)
    (threads,) = run(plain, bundle, THREADS="2")
    assert threads["error"] == (
        "option threads means nothing to target tensorrt: expected no option, got threads."
    )
    (old,) = run(plain, bundle, BERT_EXPORT_TENSORRT=str(libraries / "libold_nvinfer.so"))
    assert old["error"].startswith("tensorrt 10.2.1 is too old for bundles of this bert-export")
    (absent,) = run(plain, bundle, BERT_EXPORT_CUDART=str(tmp_path / "none.so"))
    assert absent["error"].startswith(f"library {tmp_path / 'none.so'} cannot be opened")
    (other,) = run(plain, bundle, BERT_EXPORT_CUDART=str(libraries / "libfake_nvinfer.so"))
    assert "expected one with cudaMalloc, got a library without cudaMalloc" in other["error"]
    edited_at("engines", 0, "build", value={})(bundle)
    (none,) = run(plain, bundle)
    assert none["error"] == (
        "bundle holds the graph for tensorrt, and no engine: expected an engine that was built, "
        "got none. Run bert-export build with --target tensorrt."
    )
