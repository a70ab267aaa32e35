"""Token classification answers as the original's pipeline does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bert_export.errors import InputError
from bert_export.runtime.decoding.entities import TaggedText
from bert_export.runtime.pipelines.token_classification import TokenClassificationPipeline
from tests.oracle import save_tiny, write_vocabulary
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

ADDED = {
    "lstrip": ({"content": "<ent>", "lstrip": True}, "the cat <ent> sat on <ent>"),
    "rstrip": ({"content": "<ent>", "rstrip": True}, "the cat <ent> sat on <ent>"),
    "capitals": ({"content": "NewYork", "normalized": True}, "the cat NEWYORK sat newyork"),
}
STRATEGIES = ("none", "simple", "first", "average", "max")
LABELS = {
    "bio": ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
    "plain": ("O", "PER", "LOC-x", "B-", "I-LOC"),
}
TEXTS = (
    "the cat sat on the mat in new york",
    "Caffè 中文 😀 Ω, naïve? Ωmega don't!",
    "unaffable xylophones are running and going",
    "a [SEP] dog, [MASK] [UNK] ##ing",
    "İstanbul ǅ e\u0301clair \u200b ﬁne",
    "",
    "  \n ",
    "😀😀 😀 cat😀dog",
)
LONG = "the cat sat on a mat, running in new york. Ω 😀 naïve dogs are going to the mats! " * 2
SPLIT = (
    ["the", "cat", "sat", "on", "mats"],
    ["Caffè", "中文", "😀", "Ω,", "don't", "new york"],
    ["a", "", "[SEP]", "dog"],
    LONG.split(),
)
Pipelines = tuple[TokenClassificationPipeline, Callable[..., Any]]


@pytest.fixture(scope="module", params=LABELS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pipelines:
    folder = tmp_path_factory.mktemp(request.param)
    labels = dict(enumerate(LABELS[request.param]))
    ids = {label: index for index, label in labels.items()}
    model = save_tiny("BertForTokenClassification", folder, id2label=labels, label2id=ids)
    with torch.no_grad():  # so that every label is somewhere the likeliest
        model.classifier.weight.mul_(9)
        logits = model(torch.arange(5, 85).view(5, 16)).logits  # (5, 16, L)
        model.classifier.bias.sub_(logits.mean(dim=(0, 1)))
    model.save_pretrained(folder)
    pipeline = open_tiny("token-classification", folder)
    assert isinstance(pipeline, TokenClassificationPipeline)
    return pipeline, transformers.pipeline("token-classification", str(folder), device="cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> TokenClassificationPipeline:
    folder = tmp_path_factory.mktemp("nine")
    save_tiny("BertForTokenClassification", folder, num_labels=4)
    opened = open_tiny("token-classification", folder)
    assert isinstance(opened, TokenClassificationPipeline)
    return opened


@pytest.mark.parametrize("strategy", [*STRATEGIES, "SIMPLE"])
@pytest.mark.parametrize("ignore_labels", [None, [], ["PER"], ["O", "B-PER", "LOC"]], ids=str)
def test_answers_as_upstream(both: Pipelines, strategy: str, ignore_labels: Any) -> None:
    ours, theirs = both
    options = {"aggregation_strategy": strategy, "ignore_labels": ignore_labels}
    found = ours([*TEXTS, LONG], **options)
    assert_same(found, theirs([*TEXTS, LONG], **options))
    assert any(found)
    key = "entity" if strategy == "none" else "entity_group"
    assert ignore_labels or len({entity[key] for answer in found for entity in answer}) > 1
    json.dumps(found)
    assert_same(ours(TEXTS[0], **options), theirs(TEXTS[0], **options))


@pytest.mark.parametrize("ignore_labels", [["O"], []], ids=str)
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
@pytest.mark.parametrize("stride", [0, 1, 7])
def test_strides_act_as_upstream(
    both: Pipelines, stride: int, strategy: str, ignore_labels: list[str]
) -> None:
    ours, theirs = both
    options = {"aggregation_strategy": strategy, "stride": stride, "ignore_labels": ignore_labels}
    texts = [LONG, "", LONG[::-2]]
    assert_same(ours(texts, **options), theirs(texts, **options))


def test_the_largest_stride_moves_by_a_token(both: Pipelines) -> None:
    ours, theirs = both
    options = {"aggregation_strategy": "simple", "stride": 29, "ignore_labels": []}
    assert_same(ours(LONG[:50], **options), theirs(LONG[:50], **options))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("delimiter", [None, " ", "", "-–-"])
def test_words_act_as_upstream(both: Pipelines, strategy: str, delimiter: str | None) -> None:
    ours, theirs = both
    options: dict[str, Any] = {
        "aggregation_strategy": strategy,
        "is_split_into_words": True,
        "ignore_labels": [],
        "delimiter": delimiter,
    }
    for inputs in (SPLIT[1], list(SPLIT), [SPLIT[0]]):
        assert_same(ours(inputs, **options), theirs(inputs, **options))
    if strategy != "none":
        options["stride"] = 5
        assert_same(ours(list(SPLIT), **options), theirs(list(SPLIT), **options))


def test_inputs_come_singly_listed_or_lazily(both: Pipelines) -> None:
    ours, theirs = both
    assert ours([]) == []
    assert ours([], is_split_into_words=True) == []
    assert ours([[]], is_split_into_words=True) == [[]]
    read = []

    def texts() -> Iterator[str]:
        for text in TEXTS:
            read.append(text)
            yield text

    lazy = ours(texts())
    assert not read
    assert_same(list(lazy), theirs(list(TEXTS)))
    split = ours((words for words in SPLIT), is_split_into_words=True)
    assert_same(list(split), theirs(list(SPLIT), is_split_into_words=True))


def test_records_become_items(pipeline: TokenClassificationPipeline) -> None:
    words = pipeline.item({"tokens": ["new", "york"], "tags": ["O", "O"]})
    assert words == TaggedText("new york", ("new", "york"), (0, 4))
    text = pipeline.item({"text": "the cat"})
    assert text == TaggedText("the cat")
    assert pipeline.item({"text": "the cat", "tokens": None}) == text
    mixed = list(pipeline.answers([words, text, words], pipeline.default_settings()))
    assert_same(mixed[1], pipeline("the cat"))
    assert_same([mixed[0]], pipeline(["new", "york"], is_split_into_words=True))
    assert mixed[0] == mixed[2]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (3, {}, "inputs are of the wrong type"),
        ({"text": "a"}, {}, "inputs are of the wrong type"),
        ([3], {}, "text is of the wrong type"),
        ([["a"]], {}, "text is of the wrong type: expected a string, got list"),
        ("a b", {"is_split_into_words": True}, "expected a list of words"),
        (["a", ["b"]], {"is_split_into_words": True}, "word is of the wrong type"),
        ([3], {"is_split_into_words": True}, "words are of the wrong type"),
        (iter(["a"]), {"is_split_into_words": True}, "words are of the wrong type"),
        (["a"], {"is_split_into_words": True, "delimiter": 3}, "delimiter is of the wrong"),
        ("a", {"aggregation_strategy": "mean"}, "expected one of none, simple"),
        ("a", {"aggregation_strategy": None}, "aggregation_strategy is unknown"),
        ("a", {"ignore_labels": "O"}, "ignore_labels are of the wrong type"),
        ("a", {"ignore_labels": 3}, "ignore_labels are of the wrong type"),
        ("a", {"ignore_labels": [3]}, "ignored label is of the wrong type"),
        ("a", {"stride": 3}, "stride does not fit aggregation_strategy 'none'"),
        ("a", {"stride": 30, "aggregation_strategy": "max"}, "from 0 to 29, got 30"),
        ("a", {"stride": -1, "aggregation_strategy": "max"}, "stride is wrong"),
        ("a", {"stride": True, "aggregation_strategy": "max"}, "stride is wrong"),
        ("a", {"batch_size": 0}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_are_refused(
    pipeline: TokenClassificationPipeline, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        list(pipeline(inputs, **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("record", [{}, {"tags": []}, {"text": 3}, {"tokens": "new york"}])
def test_malformed_records_are_refused(
    pipeline: TokenClassificationPipeline, record: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        pipeline.item(record)


@pytest.mark.parametrize("name", ADDED)
def test_added_tokens_are_spelled_as_the_vocabulary_has_them(name: str, tmp_path: Path) -> None:
    form, text = ADDED[name]
    labels = dict(enumerate(LABELS["bio"]))
    ids = {label: index for index, label in labels.items()}
    size = write_vocabulary(tmp_path)
    save_tiny("BertForTokenClassification", tmp_path, vocab_size=size + 1, id2label=labels,
              label2id=ids)  # fmt: skip
    path = tmp_path / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    plain = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    settings["added_tokens_decoder"] |= {str(size): plain | {"special": False} | form}
    path.write_text(json.dumps(settings), encoding="utf-8")
    ours = open_tiny("token-classification", tmp_path)
    theirs = transformers.pipeline("token-classification", str(tmp_path), device="cpu")
    for how in STRATEGIES:
        asked: dict[str, Any] = {"aggregation_strategy": how, "ignore_labels": []}
        assert_same(ours(text, **asked), theirs(text, **asked))
