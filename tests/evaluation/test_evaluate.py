"""Every task's answers are scored and compared, or refused with a reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_export
from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, InputError
from bert_export.evaluation import evaluate
from bert_export.exporter import Export
from bert_export.quantization.calibration.rows import read_calibration
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import TASKS, find_task
from tests.support import ONE_GRAPH, open_tiny

CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "feature-extraction": ("BertModel", {}),
    "sentence-embedding": ("BertModel", {"model_max_length": 30}),
    "fill-mask": ("BertForMaskedLM", {}),
    "text-classification": ("BertForSequenceClassification", {"num_labels": 3}),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        {
            "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"},
            "max_position_embeddings": 128,
            "model_max_length": 128,
        },
    ),
    "token-classification": (
        "BertForTokenClassification",
        {"id2label": {0: "O", 1: "B-person", 2: "I-person"}},
    ),
    "question-answering": ("BertForQuestionAnswering", {"max_position_embeddings": 96}),
    "multiple-choice": ("BertForMultipleChoice", {}),
    "next-sentence-prediction": ("BertForNextSentencePrediction", {}),
    "pretraining": ("BertForPreTraining", {}),
    "text-generation": ("BertLMHeadModel", {"is_decoder": True}),
}
UNLABELLED_FIELDS = ("text", "text_pair", "tokens")
# Tasks whose built-in calibration set has labels, or whose labels the tool makes.
LABELLED = {
    "zero-shot-classification",
    "question-answering",
    "multiple-choice",
    "next-sentence-prediction",
    "pretraining",
    "fill-mask",
    "text-generation",
}


def records(task: str, rows: list[dict[str, Any]], **names: tuple[str, ...]) -> DataSet:
    places = tuple(f"line {number}" for number in range(1, len(rows) + 1))
    return DataSet(f"{task}.jsonl", "0" * 64, tuple(rows), places, names)


def built_in(task: str, count: int = 24) -> DataSet:
    """Records of the built-in calibration set; either all of them have labels or none."""
    rows = [
        {
            name: value
            for name, value in record.items()
            if task in LABELLED or name in UNLABELLED_FIELDS
        }
        for record in read_calibration(TASKS[task]).records
        if task != "token-classification" or "tokens" in record
    ]
    return records(task, rows[:count])


def open_model(task: str, folder: Path) -> Pipeline[Any, Any, Any]:
    """A pipeline over a checkpoint; sentence embeddings are mean-pooled."""
    if task == "sentence-embedding" and not (folder / "modules.json").is_file():
        kind = "sentence_transformers.models"
        modules = [
            {"idx": 0, "name": "0", "path": "", "type": f"{kind}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}.Pooling"},
        ]
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "1_Pooling").mkdir()
        pooling = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return open_tiny(task, folder)


def test_every_task_is_tried() -> None:
    assert set(ONE_GRAPH) == set(CLASSES)
    assert bert_export.evaluate is evaluate


@pytest.mark.parametrize("task", sorted(CLASSES))
def test_every_task_agrees_with_itself(task: str, tiny: Callable[..., Path]) -> None:
    name, config = CLASSES[task]
    progress: list[tuple[int, int]] = []
    with open_model(task, tiny(name, **config)) as pipeline:
        evaluation = evaluate(
            pipeline,
            built_in(task),
            against=pipeline,
            advance=lambda done, total: progress.append((done, total)),
        )
    assert evaluation.reference is not None
    assert evaluation.reference.agreement == pytest.approx(1.0)
    assert evaluation.reference.output_error == 0
    assert evaluation.scores == evaluation.reference.scores
    labelled = task in LABELLED
    assert evaluation.reference.gain == (0 if labelled else None)
    assert evaluation.reference.gain_error == (0 if labelled else None)
    assert (evaluation.standard_error is not None) == bool(evaluation.replicates) == labelled
    assert bool(evaluation.scores) == (task in LABELLED)
    assert all(
        -1 <= value <= 1 for name, value in evaluation.scores.items() if name != "masked tokens"
    )
    assert progress[-1][0] == progress[-1][1]
    assert {total for _, total in progress} == {progress[-1][1]}
    assert all(done < total for done, total in progress[:-1])
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


@pytest.mark.parametrize("task", sorted(CLASSES))
def test_another_model_agrees_less(task: str, tiny: Callable[..., Path], tmp_path: Path) -> None:
    from tests.oracle import save_tiny

    name, config = CLASSES[task]
    save_tiny(name, tmp_path / "other", seed=1, **config)
    with (
        open_model(task, tiny(name, **config)) as pipeline,
        open_model(task, tmp_path / "other") as other,
    ):
        evaluation = evaluate(pipeline, built_in(task, 64), against=other)
    assert evaluation.reference is not None
    assert evaluation.reference.agreement < 0.999
    assert evaluation.reference.output_error > 0.1


@pytest.mark.parametrize("task", sorted(set(CLASSES) - LABELLED))
def test_data_without_labels_needs_a_bundle_to_compare_with(
    task: str, tiny: Callable[..., Path]
) -> None:
    name, config = CLASSES[task]
    with (
        open_model(task, tiny(name, **config)) as pipeline,
        pytest.raises(DatasetError, match=r"has no labels .* compare with a bundle by --against"),
    ):
        evaluate(pipeline, built_in(task))


def test_labels_by_name_by_id_and_by_the_files_names(tiny: Callable[..., Path]) -> None:
    labels = ("no", "maybe", "yes")
    folder = tiny("BertForSequenceClassification", id2label=dict(enumerate(labels)))
    texts = [f"the {letter} sat" for letter in "abcdefgh"]
    with open_tiny("text-classification", folder) as pipeline:
        ids = [labels.index(answer["label"]) for answer in pipeline(texts)]
        for values, names in (
            ([labels[index] for index in ids], {}),
            (ids, {}),
            ([str(index) for index in ids], {}),
            ([2 - index for index in ids], {"label": ("yes", "maybe", "no")}),
            ([2 - index for index in ids], {"label": ("Yes", "MAYBE", "No")}),
            ([index + 1 for index in ids], {"label": ("unsure", "no", "maybe", "yes")}),
        ):
            rows = [
                {"text": text, "label": label} for text, label in zip(texts, values, strict=True)
            ]
            evaluation = evaluate(pipeline, records("text-classification", rows, **names))
            assert evaluation.score == evaluation.scores["accuracy"] == 1.0
        wrong = [{"text": "a", "label": 2}, {"text": "b", "label": "perhaps"}]
        with pytest.raises(DatasetError, match=r"line 2 field label is no label .* got 'perhaps'"):
            evaluate(pipeline, records("text-classification", wrong))
        unknown = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
        with pytest.raises(DatasetError, match=r"line 2 field label is no label .* got 'unsure'"):
            evaluate(
                pipeline, records("text-classification", unknown, label=("unsure", "no", "yes"))
            )
        partial = [{"text": "a", "label": 2}, {"text": "b"}]
        with pytest.raises(DatasetError, match=r"line 2 lacks label: .* got 1 of 2"):
            evaluate(pipeline, records("text-classification", partial))


def test_several_labels(tiny: Callable[..., Path]) -> None:
    folder = tiny(
        "BertForSequenceClassification",
        id2label={0: "a", 1: "b", 2: "c"},
        problem_type="multi_label_classification",
    )
    texts = [f"the {letter} sat" for letter in "abcdefgh"]
    with open_tiny("text-classification", folder) as pipeline:
        answers = pipeline(texts, top_k=None)
        predicted = [
            [scored["label"] for scored in answer if scored["score"] > 0.5] for answer in answers
        ]
        rows = [
            {"text": text, "labels": labels} for text, labels in zip(texts, predicted, strict=True)
        ]
        evaluation = evaluate(pipeline, records("text-classification", rows))
        assert evaluation.metric == "micro F1"
        assert evaluation.scores == {"micro F1": 1.0, "macro F1": 1.0, "exact match": 1.0}
        multi_hot = [
            {"text": text, "labels": [int(label in labels) for label in "abc"]}
            for text, labels in zip(texts, predicted, strict=True)
        ]
        assert (
            evaluate(pipeline, records("text-classification", multi_hot)).scores
            == evaluation.scores
        )
        twice = [{"text": "a", "labels": [1]}, {"text": "b", "labels": [0, 2, 0]}]
        with pytest.raises(DatasetError, match="line 2 field labels names a label twice"):
            evaluate(pipeline, records("text-classification", twice))
        rows[0]["labels"] = [label for label in ("a", "b", "c") if label not in rows[0]["labels"]]
        worse = evaluate(pipeline, records("text-classification", rows))
        assert worse.scores["exact match"] == 7 / 8
        assert worse.score < 1


def test_a_number(tiny: Callable[..., Path]) -> None:
    folder = tiny("BertForSequenceClassification", num_labels=1, problem_type="regression")
    texts = [f"the {letter} sat" for letter in "abcdefgh"]
    with open_tiny("text-classification", folder) as pipeline:
        numbers = [answer["score"] for answer in pipeline(texts)]
        rows = [{"text": t, "label": -n} for t, n in zip(texts, numbers, strict=True)]
        evaluation = evaluate(pipeline, records("text-classification", rows))
        assert evaluation.score == pytest.approx(-1)
        with pytest.raises(DatasetError, match="line 1 field label does not fit a regression"):
            evaluate(pipeline, records("text-classification", [{"text": "a", "label": "high"}]))
        for value in ("nan", "inf", 10**400):
            with pytest.raises(DatasetError, match="regression head: expected a finite number"):
                evaluate(pipeline, records("text-classification", [{"text": "a", "label": value}]))
        with pytest.raises(InputError, match="seed is wrong: expected a whole number, at least 0"):
            evaluate(pipeline, records("text-classification", rows), seed=-1)


def test_tags_are_those_of_the_pipeline(tiny: Callable[..., Path]) -> None:
    name, config = CLASSES["token-classification"]
    words = ["newyork", "sat", "on", "the", "cat's", "mat"]
    with open_tiny("token-classification", tiny(name, **config)) as pipeline:
        tokens = pipeline([words], is_split_into_words=True, ignore_labels=[])[0]
        starts = np.cumsum([0, *(len(word) + 1 for word in words)])[:-1].tolist()
        first = {token["start"]: token["entity"] for token in reversed(tokens)}
        tags = [first[start] for start in starts]
        names = (*reversed(pipeline.labels), "B-unseen")
        evaluation = evaluate(
            pipeline, records("token-classification", [{"tokens": words, "tags": tags}])
        )
        by_id = [{"tokens": words, "tags": [names.index(tag) for tag in tags]}]
        again = evaluate(pipeline, records("token-classification", by_id, tags=names))
        unseen = [{"tokens": words, "tags": [len(names) - 1] * len(words)}]
        unseen_records = records("token-classification", unseen, tags=names)
        with pytest.raises(DatasetError, match=r"line 1 field tags is no label .* got 'unseen'"):
            evaluate(pipeline, unseen_records)
        missed = evaluate(pipeline, unseen_records, label_map={"unseen": "unseen"})
    assert evaluation.scores == {"entity F1": 1.0, "precision": 1.0, "recall": 1.0}
    assert again.scores == evaluation.scores
    assert missed.scores["recall"] == 0.0


def test_texts_that_lose_their_end_are_counted(tiny: Callable[..., Path]) -> None:
    name, config = CLASSES["text-classification"]
    texts = ["the cat", "the cat sat on the mat " * 100, "a mat"]
    rows = [{"text": text, "label": 0} for text in texts]
    with open_tiny("text-classification", tiny(name, **config)) as pipeline:
        assert evaluate(pipeline, records("text-classification", rows)).truncated == 1
        assert evaluate(pipeline, records("text-classification", rows[::2])).truncated == 0


def test_a_context_in_windows_loses_nothing(tiny: Callable[..., Path]) -> None:
    name, config = CLASSES["question-answering"]
    context = "the cat sat on the mat " * 60
    answers = {"text": ["cat"], "answer_start": [4]}
    row = {"question": "who sat", "context": context, "answers": answers}
    with open_tiny("question-answering", tiny(name, **config)) as pipeline:
        evaluation = evaluate(pipeline, records("question-answering", [row]))
        item = pipeline.item(row)
        assert len(pipeline.encode_items([item], pipeline.dataset_settings())[0]) > 1
    assert evaluation.truncated == 0


def test_cosines_follow_the_scores(tiny: Callable[..., Path]) -> None:
    pairs = [("the cat", "the dog"), ("a cat", "a cat"), ("on mat", "new york"), ("run", "the")]
    with open_model("sentence-embedding", tiny("BertModel", model_max_length=30)) as pipeline:
        firsts, seconds = (
            pipeline([pair[side] for pair in pairs], normalize=True) for side in (0, 1)
        )
        cosines = (firsts * seconds).sum(axis=1)
        rows = [
            {"text": a, "text_pair": b, "score": float(score)}
            for (a, b), score in zip(pairs, cosines, strict=True)
        ]
        assert evaluate(pipeline, records("sentence-embedding", rows)).score == pytest.approx(1)
        del rows[2]["text_pair"]
        with pytest.raises(DatasetError, match=r"line 3 lacks text_pair: .* got 3 of 4"):
            evaluate(pipeline, records("sentence-embedding", rows))
        alone = [{"text": text, "score": 1.0} for text in ("a", "b")]
        with pytest.raises(DatasetError, match="line 1 lacks text_pair"):
            evaluate(pipeline, records("sentence-embedding", alone))


def test_masks_come_from_the_seed(tiny: Callable[..., Path]) -> None:
    data = built_in("fill-mask", 48)
    with open_tiny("fill-mask", tiny("BertForMaskedLM")) as pipeline:
        first, again, other = (evaluate(pipeline, data, seed=seed) for seed in (0, 0, 1))
    assert first.scores == again.scores
    assert first.scores["masked tokens"] > 100
    assert other.scores != first.scores


def test_a_file_and_a_bundle(tiny_export: Callable[..., Export], tmp_path: Path) -> None:
    name, config = CLASSES["multiple-choice"]
    bundle = tiny_export("multiple-choice", name, **config).path
    path = tmp_path / "a.jsonl"
    row = {"prompt": "the cat", "choices": ["sat", "run", "on"], "label": 0}
    path.write_text("\n".join(json.dumps(row | {"label": n % 3}) for n in range(6)))
    evaluation = evaluate(bundle, path, against=bundle)
    assert evaluation.scores == {"choice accuracy": pytest.approx(1 / 3)}
    assert evaluation.reference is not None
    assert (evaluation.reference.name, evaluation.reference.agreement) == (str(bundle), 1.0)
    path.write_text(json.dumps(row | {"label": 3}))
    with pytest.raises(
        DatasetError, match=r"a\.jsonl line 1 field label is none of its choices: .* got 3"
    ):
        evaluate(bundle, path)


def test_bundles_of_different_heads_are_not_compared(tiny: Callable[..., Path]) -> None:
    name, config = CLASSES["token-classification"]
    others = config | {"id2label": {0: "O", 1: "B-place", 2: "I-place"}}
    with (
        open_tiny("token-classification", tiny(name, **config)) as pipeline,
        open_tiny("token-classification", tiny(name, **others)) as other,
        pytest.raises(InputError, match="bundle to compare with has another labels"),
    ):
        evaluate(pipeline, built_in("token-classification"), against=other)


def test_a_record_that_the_pipeline_refuses_is_named(tiny: Callable[..., Path]) -> None:
    name, config = CLASSES["question-answering"]
    rows = [{"question": "q", "context": ""}]
    with (
        open_tiny("question-answering", tiny(name, **config)) as pipeline,
        pytest.raises(DatasetError, match="line 1 does not fit question-answering"),
    ):
        evaluate(pipeline, records(find_task("question-answering").name, rows))
