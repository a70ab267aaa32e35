"""A text's INT8 answer is its own: neither its neighbours nor the padding they bring change it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bert_export.exporter import Export, export
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.quantization.options import QuantizationOptions
from bert_export.runtime.batching import pad_rows, row_from_encoding
from bert_export.runtime.loading import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import find_task

pytestmark = pytest.mark.long

TEXTS, NEIGHBOURS = 200, 31
ROUNDS = 3
"""In how many different companies every text is."""
COMPANIES = -(-TEXTS // (NEIGHBOURS + 1))
"""That hold every text in one round."""
MIN_COSINE = 0.9999


def texts() -> list[str]:
    """Two hundred texts of one word to forty, no two alike."""
    records = read_calibration(find_task("sentence-embedding")).records
    sentences = [str(record["text"]) for record in records]
    rng = np.random.default_rng(0)
    made: dict[str, None] = {}
    while len(made) < TEXTS:
        words = " ".join(rng.choice(sentences, rng.integers(1, 6))).split()
        made[" ".join(words[: rng.choice((1, 4, 10, 20, 40))])] = None
    return list(made)


def answers(pipeline: Pipeline[Any, Any, Any], chosen: list[str]) -> np.ndarray:
    """One graph call over all of these texts; the first output, a row a text."""
    encoded = pipeline.tokenizer.encode(chosen)
    rows = [row_from_encoding(windows[0]) for windows in encoded]
    feeds = pipeline.graph_feeds(pad_rows(rows, pad_id=pipeline.tokenizer.pad_id))
    return next(iter(pipeline.run(feeds).values()))


def alone_and_in_company(pipeline: Pipeline[Any, Any, Any]) -> Iterator[tuple[Any, Any]]:
    """Each text's answer alone, and at a random place among others of other lengths."""
    rng, every = np.random.default_rng(1), texts()
    alone = [answers(pipeline, [text])[0] for text in every]
    for _ in range(ROUNDS):
        order = rng.permutation(TEXTS)
        for start in range(0, TEXTS, NEIGHBOURS + 1):
            # The last are not enough for a company: some of the first come once more.
            company = order.take(range(start, start + NEIGHBOURS + 1), mode="wrap")
            for index, answer in zip(
                company, answers(pipeline, [every[index] for index in company]), strict=True
            ):
                yield alone[index], answer


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))


def test_embeddings_do_not_depend_on_the_batch(embedding_int8: Export) -> None:
    plan = embedding_int8.manifest.engine().quantization
    assert plan is not None
    assert plan.batch_invariant
    with load(embedding_int8.path) as pipeline:
        cosines = [cosine(*pair) for pair in alone_and_in_company(pipeline)]
    assert len(cosines) == ROUNDS * COMPANIES * (NEIGHBOURS + 1)
    assert min(cosines) >= MIN_COSINE


@pytest.fixture(scope="module")
def intents_int8(minilm: Any, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The demonstration classifier as a calibrated INT8 bundle."""
    del minilm  # skips where the weights are absent
    return export(
        task="text-classification",
        output=tmp_path_factory.mktemp("bundle") / "intents",
        precision="int8",
    )


def test_labels_do_not_depend_on_the_batch(intents_int8: Export) -> None:
    with load(intents_int8.path) as pipeline:
        labels = [
            (int(alone.argmax()), int(company.argmax()))
            for alone, company in alone_and_in_company(pipeline)
        ]
    assert len(labels) == ROUNDS * COMPANIES * (NEIGHBOURS + 1)
    assert all(alone == company for alone, company in labels)


def test_dynamic_int8_says_that_it_depends(minilm: Any, tmp_path_factory: Any) -> None:
    done = export(
        task="sentence-embedding",
        model=str(minilm),
        output=tmp_path_factory.mktemp("bundle") / "dynamic",
        precision="int8",
        quantization=QuantizationOptions(mode="dynamic"),
    )
    plan = done.manifest.engine().quantization
    assert plan is not None
    assert (plan.mode, plan.batch_invariant) == ("dynamic", False)
    assert plan.calibration is None
    with load(done.path) as pipeline:
        cosines = [cosine(*pair) for pair in alone_and_in_company(pipeline)]
    assert min(cosines) < MIN_COSINE  # so the tests above can tell
