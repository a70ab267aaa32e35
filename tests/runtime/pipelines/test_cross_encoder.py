"""``predict`` and ``rank`` of sentence-transformers' cross-encoders, and their formulas."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bert_export.errors import CheckpointError, InputError
from bert_export.runtime.pipelines.text_classification import TextClassificationPipeline
from tests.support import open_tiny

QUERY = "where sat the cat?"
DOCUMENTS = ["the cat sat on the mat", "a dog", "new york", "the cat " * 20, ""]
PAIRS = [(QUERY, text) for text in DOCUMENTS]
IDENTITY = "torch.nn.modules.linear.Identity"

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def save(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Writes a cross-encoder with so many labels; its files say the given fields."""

    def write(labels: int, *, config: dict[str, Any] | None = None, **said: Any) -> Path:
        folder = tmp_path_factory.mktemp("cross") / "model"
        names = {index: f"LABEL_{index}" for index in range(labels)}
        shutil.copytree(tiny("BertForSequenceClassification", id2label=names), folder)
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | (config or {})))
        if said:
            (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
        return folder

    return write


def open_model(folder: Path) -> TextClassificationPipeline:
    opened = open_tiny("text-classification", folder)
    assert isinstance(opened, TextClassificationPipeline)
    return opened


def logits_of(folder: Path, pairs: list[tuple[str, str]] = PAIRS) -> torch.Tensor:
    """What the original gives, (N, L)."""
    tokenizer = transformers.BertTokenizerFast.from_pretrained(folder)
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        rows = [
            model(**tokenizer([first], [second], truncation=True, return_tensors="pt")).logits
            for first, second in pairs
        ]
    return torch.cat(rows)


def close(found: Any, expected: Any) -> None:
    assert found.dtype == np.float32
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_label_is_a_number_per_pair(save: Save) -> None:
    folder = save(1)
    model, logits = open_model(folder), logits_of(folder)
    close(model.predict(PAIRS), torch.sigmoid(logits)[:, 0])
    close(model.predict(PAIRS, activation_fn="none"), logits[:, 0])
    close(model.predict(PAIRS, batch_size=2), torch.sigmoid(logits)[:, 0])
    # One label has nothing to be softened against.
    close(model.predict(PAIRS, apply_softmax=True), torch.sigmoid(logits)[:, 0])
    single = model.predict(PAIRS[0])
    assert single.shape == ()
    assert float(single) == pytest.approx(float(torch.sigmoid(logits)[0, 0]), abs=1e-6)


def test_several_labels_are_logits(save: Save) -> None:
    folder = save(3)
    model, logits = open_model(folder), logits_of(folder)
    close(model.predict(PAIRS), logits)
    close(model.predict(PAIRS, apply_softmax=True), logits.softmax(dim=1))
    close(model.predict(PAIRS, activation_fn="sigmoid"), torch.sigmoid(logits))
    close(
        model.predict(PAIRS, activation_fn="sigmoid", apply_softmax=True),
        torch.sigmoid(logits).softmax(dim=1),
    )
    close(model.predict(PAIRS[1]), logits[1])
    assert model.predict([]).shape == (0, 3)
    listed = model.predict(PAIRS, convert_to_numpy=False)
    assert isinstance(listed, list)
    close(np.stack(listed), logits)
    with pytest.raises(InputError, match="rank does not fit the bundle: expected a head of one"):
        model.rank(QUERY, DOCUMENTS)


@pytest.mark.parametrize(
    ("config", "said", "function"),
    [
        ({}, {"activation_fn": IDENTITY}, lambda logits: logits),
        ({"sentence_transformers": {"activation_fn": IDENTITY}}, {}, lambda logits: logits),
        ({"sbert_ce_default_activation_function": IDENTITY}, {}, lambda logits: logits),
        (
            {"sentence_transformers": {"activation_fn": IDENTITY}},
            {"activation_fn": "torch.nn.modules.activation.Sigmoid"},
            torch.sigmoid,
        ),
        ({"sentence_transformers": {"version": "4.1.0"}}, {}, torch.sigmoid),
    ],
)
def test_the_checkpoint_says_what_is_applied(
    save: Save, config: dict[str, Any], said: dict[str, Any], function: Callable[..., Any]
) -> None:
    folder = save(1, config=config, **said)
    model = open_model(folder)
    close(model.predict(PAIRS), function(logits_of(folder))[:, 0])
    # The upstream pipeline applies its own, and so do we.
    pipeline = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    record = {"text": QUERY, "text_pair": DOCUMENTS[0]}
    assert model(record)["score"] == pytest.approx(pipeline(record)["score"], abs=1e-6)


def test_another_function_is_named_and_not_guessed(save: Save) -> None:
    model = open_model(save(1, activation_fn="torch.nn.modules.activation.Tanh"))
    with pytest.raises(InputError, match=r"Tanh, which is not supported: .* Pass activation_fn"):
        model.predict(PAIRS)
    assert model.predict(PAIRS, activation_fn="none").shape == (5,)
    with pytest.raises(CheckpointError, match="activation_fn is malformed"):
        open_model(save(1, activation_fn=3))


def test_documents_are_ranked(save: Save) -> None:
    model = open_model(save(1))
    scores = model.predict(PAIRS)
    ranked = model.rank(QUERY, DOCUMENTS, return_documents=True)
    assert [place["corpus_id"] for place in ranked] == np.argsort(-scores, kind="stable").tolist()
    for place in ranked:
        assert place["score"] == float(scores[place["corpus_id"]])
        assert place["text"] == DOCUMENTS[place["corpus_id"]]
    plain = [{key: place[key] for key in ("corpus_id", "score")} for place in ranked]
    assert model.rank(QUERY, iter(DOCUMENTS)) == plain
    assert model.rank(QUERY, DOCUMENTS, top_k=2) == plain[:2]
    assert model.rank(QUERY, []) == []
    twice = model.rank(QUERY, [DOCUMENTS[1]] * 3)
    assert [place["corpus_id"] for place in twice] == [0, 1, 2]
    json.dumps(ranked)


def test_what_is_a_pair(save: Save) -> None:
    model = open_model(save(1))
    # The empty text of a mapping is none, as upstream has it.
    assert model.predict([{"text": QUERY, "text_pair": ""}]) == model.predict(QUERY)
    pairs = PAIRS[:4]
    expected = model.predict(pairs)
    records = [{"text": text, "text_pair": pair} for text, pair in pairs]
    for inputs in (
        [list(pair) for pair in pairs],
        tuple(pairs),
        iter(pairs),
        np.array(pairs),
        np.array([*pairs, ""], dtype=object)[:-1],
        records,
    ):
        np.testing.assert_allclose(model.predict(inputs), expected, atol=1e-6)
    for single in (list(pairs[0]), pairs[0], np.array(pairs[0]), records[0]):
        np.testing.assert_allclose(model.predict(single), expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (3, {}, "sentences are of the wrong type: expected a pair of texts, or a list of pairs"),
        ([PAIRS[0], ("a",)], {}, "^item 1: pair is of the wrong length: expected two texts"),
        (("a", "b", "c"), {}, "^pair is of the wrong length: expected two texts, got 3"),
        ([PAIRS[0], ("a", None)], {}, "^item 1: text_pair is of the wrong type"),
        ([PAIRS[0], 3], {}, "^item 1: pair are of the wrong type"),
        (PAIRS, {"activation_fn": "sigmod"}, r"Did you mean 'sigmoid'\?"),
        (PAIRS, {"convert_to_tensor": True}, "torch.from_numpy"),
        (PAIRS, {"activation": "none"}, r"Did you mean 'activation_fn'\?"),
    ],
)
def test_malformed_calls(save: Save, inputs: Any, options: dict[str, Any], message: str) -> None:
    model = open_model(save(1))
    with pytest.raises(InputError, match=message):
        model.predict(inputs, **options)


def test_malformed_ranking(save: Save) -> None:
    model = open_model(save(1))
    with pytest.raises(InputError, match="documents are of the wrong type"):
        model.rank(QUERY, "a document")
    with pytest.raises(InputError, match=r"^item 1: text is of the wrong type"):
        model.rank(QUERY, ["a", None])  # type: ignore[list-item]
    with pytest.raises(InputError, match="query is of the wrong type"):
        model.rank(None, DOCUMENTS)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="top_k is wrong"):
        model.rank(QUERY, DOCUMENTS, top_k=0)


@pytest.mark.parametrize("labels", [1, 3])
def test_scores_equal_sentence_transformers(save: Save, labels: int) -> None:
    library = pytest.importorskip("sentence_transformers")
    folder = save(labels)
    theirs = library.CrossEncoder(str(folder), device="cpu")
    ours = open_model(folder)
    close(ours.predict(PAIRS), theirs.predict(PAIRS))
    if labels == 1:
        found = ours.rank(QUERY, DOCUMENTS, return_documents=True, top_k=3)
        expected = theirs.rank(QUERY, DOCUMENTS, return_documents=True, top_k=3)
        for mine, original in zip(found, expected, strict=True):
            assert mine["score"] == pytest.approx(float(original["score"]), abs=1e-5)
            assert mine["text"] == original["text"]
    else:
        softened = theirs.predict(PAIRS, apply_softmax=True)
        close(ours.predict(PAIRS, apply_softmax=True), softened)
