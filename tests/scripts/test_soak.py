"""Short forms of what ``scripts/soak.py`` does for hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export import load
from bert_export.exporter import Export
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from scripts.soak import differing, generated, peak_bytes, ragged, random_texts
from tests.support import open_tiny

pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Export:
    return tiny_export(
        "text-classification",
        "BertForSequenceClassification",
        targets=("onnxruntime", "openvino"),
    )


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_many_threads_get_a_lone_threads_answers(bundle: Export, target: str) -> None:
    with load(bundle.path, target=target, threads=1) as pipeline:
        texts = random_texts(32, longest=12)
        assert differing(pipeline, threads=64, calls=20, texts=texts) == []


def test_another_answer_is_told(bundle: Export) -> None:
    with load(bundle.path, threads=1) as pipeline:
        answers = iter([[{"label": "a"}], [{"label": "a"}], [{"label": "b"}]])

        def answer(_: str) -> object:
            return next(answers)

        assert differing(answer, threads=1, calls=2, texts=["x"]) == [  # type: ignore[arg-type]
            "thread 0, call 1: [{'label': 'b'}] instead of [{'label': 'a'}]"
        ]
        (wrong,) = differing(pipeline, threads=1, calls=1, texts=["x"]) or ["none"]
        assert wrong == "none"


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_shapes_of_all_kinds_are_run(bundle: Export, target: str) -> None:
    with load(bundle.path, target=target, threads=1) as pipeline:
        samples = list(ragged(pipeline, seconds=0.4, every=0.1, longest=16))
    assert len(samples) >= 2
    assert all(resident > 0 for *_, resident in samples)


def test_texts_of_random_lengths_are_continued(tiny: Callable[..., Path]) -> None:
    pipeline = open_tiny("text-generation", tiny("BertLMHeadModel", is_decoder=True))
    assert isinstance(pipeline, TextGenerationPipeline)
    samples = list(generated(pipeline, texts=7, longest=16, every=3))
    assert [done for _, done, _ in samples] == [1, 4, 7]
    assert all(0 < resident <= peak_bytes() for *_, resident in samples)
