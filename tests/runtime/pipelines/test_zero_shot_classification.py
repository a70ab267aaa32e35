"""Zero-shot classification answers as the original's pipeline does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from bert_export.errors import InputError, TaskError
from bert_export.runtime.pipelines.zero_shot_classification import (
    ZeroShotClassificationPipeline,
    ZeroShotItem,
)
from tests.oracle import save_tiny
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

HEADS = {
    "last": ("contradiction", "neutral", "entailment"),
    "first": ("ENTAILMENT", "neutral", "contradiction"),
    "middle": ("no", "Entails", "maybe"),
    "two": ("not_entailment", "entailment"),
    "two-first": ("entailment", "not_entailment"),
}
TEXTS = ("the cat sat on the mat", "Caffè 中文 😀 Ω, naïve?", "  ", "a [SEP] dog")
Pipelines = tuple[ZeroShotClassificationPipeline, Callable[..., Any]]


@pytest.fixture(scope="module", params=HEADS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    folder = tmp_path_factory.mktemp(request.param)
    labels = dict(enumerate(HEADS[request.param]))
    ids = {label: index for index, label in labels.items()}
    save_tiny("BertForSequenceClassification", folder, id2label=labels, label2id=ids)
    pipeline = open_tiny("zero-shot-classification", folder)
    assert isinstance(pipeline, ZeroShotClassificationPipeline)
    return pipeline, transformers.pipeline("zero-shot-classification", str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> ZeroShotClassificationPipeline:
    folder = tmp_path_factory.mktemp("plain")
    save_tiny("BertForSequenceClassification", folder, num_labels=2)
    opened = open_tiny("zero-shot-classification", folder, labels=("entailment", "contradiction"))
    assert isinstance(opened, ZeroShotClassificationPipeline)
    return opened


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    "labels",
    [["cat"], ["cat", "dog", "new york"], "cat, dog ,,mat", ["cat", "cat", ""], "中文", [" a "]],
    ids=repr,
)
def test_answers_as_upstream(both: Pipelines, labels: Any, multi_label: bool) -> None:
    ours, theirs = both
    for inputs in (TEXTS[0], [TEXTS[1]], list(TEXTS)):
        found = ours(inputs, labels, multi_label=multi_label)
        assert_same(found, theirs(inputs, candidate_labels=labels, multi_label=multi_label))
        json.dumps(found)


@pytest.mark.parametrize("template", ["{}", "it is about {}.", "{0}, a {0}", "{:>9}", "{{}} {}"])
def test_templates_act_as_upstream(both: Pipelines, template: str) -> None:
    ours, theirs = both
    call: dict[str, Any] = {
        "candidate_labels": ["cat", "dog"],
        "hypothesis_template": template,
        "multi_label": True,
    }
    assert_same(ours(TEXTS[0], **call), theirs(TEXTS[0], **call))


def test_long_texts_lose_their_end_and_hypotheses_do_not(both: Pipelines) -> None:
    ours, theirs = both
    long = "the cat sat on a mat, running and running. " * 9
    found = ours(long, ["cat", "dog", "new york"])
    assert_same(found, theirs(long, candidate_labels=["cat", "dog", "new york"]))
    with pytest.raises(InputError, match="cannot be cut to max_length 32"):
        ours(long, ["cat", long])


def test_inputs_come_singly_listed_or_lazily(both: Pipelines) -> None:
    ours, theirs = both
    assert ours([], ["cat"]) == []
    lazy = ours((text for text in TEXTS), "cat,dog")
    assert not isinstance(lazy, list)
    assert_same(list(lazy), theirs(list(TEXTS), candidate_labels="cat,dog"))


def test_records_become_items(pipeline: ZeroShotClassificationPipeline) -> None:
    record = {"text": "the cat", "candidate_labels": ["cat", "dog"], "label": "cat"}
    item = pipeline.item(record)
    assert item == ZeroShotItem("the cat", ("cat", "dog"))
    mixed = [item, pipeline.item({"text": "a dog", "candidate_labels": "mat"})]
    assert_same(
        list(pipeline.answers(mixed, pipeline.default_settings())),
        [pipeline("the cat", ["cat", "dog"]), pipeline("a dog", "mat")],
    )
    for missing in ("text", "candidate_labels"):
        with pytest.raises(InputError, match=f"lacks '{missing}'"):
            pipeline.item({name: value for name, value in record.items() if name != missing})


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        ("", "a", {}, "sequence is empty"),
        (["a", ""], "a", {}, "sequence is empty"),
        (3, "a", {}, "sequences are of the wrong type"),
        ([3], "a", {}, "sequence is of the wrong type"),
        ({"text": "a"}, "a", {}, "sequences are of the wrong type"),
        ("a", "", {}, "candidate_labels are empty"),
        ("a", " , ", {}, "candidate_labels are empty"),
        ("a", [], {}, "candidate_labels are empty"),
        ("a", [3], {}, "candidate label is of the wrong type"),
        ("a", None, {}, "candidate_labels are of the wrong type"),
        ("a", {"a": 1}, {}, "candidate_labels are of the wrong type"),
        ("a", "a", {"hypothesis_template": "it is so"}, "has no placeholder"),
        ("a", "a", {"hypothesis_template": "it is {{}}"}, "has no placeholder"),
        ("a", "a", {"hypothesis_template": "it is {label}"}, "cannot be filled in"),
        ("a", "a", {"hypothesis_template": "it is {1}"}, "cannot be filled in"),
        ("a", "a", {"hypothesis_template": "it is {0.name}"}, "cannot be filled in"),
        ("a", "a", {"hypothesis_template": "it is {"}, "cannot be filled in"),
        ("a", "a", {"hypothesis_template": "it is {:d}"}, "cannot be filled in"),
        ("a", "a", {"hypothesis_template": 3}, "hypothesis_template is of the wrong type"),
        ("a", "a", {"batch_size": -1}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_are_refused(
    pipeline: ZeroShotClassificationPipeline,
    inputs: Any,
    labels: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, labels, **options)
    assert "\n" not in str(caught.value)


def test_the_config_may_name_the_entailment_by_its_id(tmp_path: Path) -> None:
    save_tiny("BertForSequenceClassification", tmp_path, num_labels=3)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {
        "id2label": {str(index): f"LABEL_{index}" for index in range(3)},
        "label2id": {"entailment": 0, "neutral": 1, "contradiction": 2},
    }
    path.write_text(json.dumps(config), encoding="utf-8")
    ours = open_tiny("zero-shot-classification", tmp_path)
    theirs = transformers.pipeline("zero-shot-classification", str(tmp_path), device="cpu")
    for multi_label in (False, True):
        asked: dict[str, Any] = {"candidate_labels": ["cat", "dog"], "multi_label": multi_label}
        assert_same(ours("the cat sat", **asked), theirs("the cat sat", **asked))


def test_a_head_without_entailment_is_refused(tmp_path: Any) -> None:
    save_tiny("BertForSequenceClassification", tmp_path, num_labels=3)
    with pytest.raises(TaskError, match=r"starts with 'entail', got 'LABEL_0', 'LABEL_1'"):
        open_tiny("zero-shot-classification", tmp_path)
