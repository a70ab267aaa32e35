"""Token classification answers as the original's pipeline does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from bert_export.errors import InputError
from bert_export.runtime.pipelines.softmax import softmax
from bert_export.runtime.pipelines.token_classification import (
    TagTable,
    TokenClassificationPipeline,
    TokenItem,
    Tokens,
    group_entities,
    list_tokens,
    merge_windows,
    merge_words,
    read_tokens,
)
from tests.oracle import WORDS, save_tiny
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

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
    assert words == TokenItem("new york", ("new", "york"), (0, 4))
    text = pipeline.item({"text": "the cat"})
    assert text == TokenItem("the cat")
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
        ([3], {"is_split_into_words": True}, "word is of the wrong type"),
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


def wordpiece() -> tokenizers.Tokenizer:
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(WORDS))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


TOKENIZER = wordpiece()
TABLE = TagTable.from_labels(("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"))
join = decoders.WordPiece(prefix="##", cleanup=True).decode
texts = st.lists(
    st.one_of(
        st.sampled_from(["the", "cats", "Ω", "😀", "naïve", "don't", "york", "中文"]),
        st.text(max_size=5),
    ),
    max_size=12,
).map(" ".join)


def tokens_of(text: str, seed: int) -> Tokens:
    encoding = TOKENIZER.encode(text)
    noise = np.random.default_rng(seed).normal(size=(len(encoding), len(TABLE.names)))
    scores = softmax((4 * noise).astype(np.float32))
    return read_tokens(TokenItem(text), encoding, scores, prefix="##", unk_id=1)


@given(texts, st.integers(0, 99), st.sampled_from(STRATEGIES))
def test_entities_are_sorted_and_lie_in_the_text(text: str, seed: int, strategy: Any) -> None:
    tokens = tokens_of(text, seed)
    if strategy == "none":
        entities = list_tokens(tokens, TABLE)
        assert len(entities) == len(TOKENIZER.encode(text, add_special_tokens=False))
    elif strategy == "simple":
        entities = group_entities(tokens, TABLE, join)
    else:
        words = merge_words(tokens, strategy, join)
        assert len(words.words) == len(words.scores) <= len(tokens.words)
        entities = group_entities(words, TABLE, join)
    assert bool(entities) is bool(tokens.words)
    previous = 0
    for entity in entities:
        assert 0 < entity["score"] <= 1 + 1e-6
        assert previous <= entity["start"] <= entity["end"] <= len(text)
        previous = entity["end"] if strategy != "none" else entity["start"]
    json.dumps(entities)


@given(texts, st.integers(0, 99))
def test_words_agree_on_one_label(text: str, seed: int) -> None:
    tokens = tokens_of(text, seed)
    opening = np.flatnonzero(~tokens.continues | (np.arange(len(tokens.words)) == 0))
    first = merge_words(tokens, "first", join)
    assert np.array_equal(first.scores, tokens.scores[opening])
    surest = merge_words(tokens, "max", join)
    average = merge_words(tokens, "average", join)
    bounds = [*opening.tolist(), len(tokens.words)]
    for number, (start, end) in enumerate(pairwise(bounds)):
        own = tokens.scores[start:end]
        assert surest.scores[number].max() == own.max()
        assert average.scores[number] == pytest.approx(own.mean(axis=0), abs=1e-6)


def test_an_unknown_token_is_its_text_and_a_word() -> None:
    tokens = tokens_of("cats Ωmega", 0)
    assert tokens.words == ["cat", "##s", "Ωmega"]
    assert tokens.continues.tolist() == [False, True, False]


def test_without_a_prefix_words_end_at_spaces() -> None:
    text = "cats sat"
    encoding = TOKENIZER.encode(text)
    scores = np.full((len(encoding), 2), 0.5, dtype=np.float32)
    tokens = read_tokens(TokenItem(text), encoding, scores, prefix="", unk_id=1)
    assert tokens.words == ["cat", "##s", "sat"]
    assert tokens.continues.tolist() == [False, True, False]


def test_labels_without_a_prefix_continue() -> None:
    table = TagTable.from_labels(("O", "B-PER", "I-PER", "PER", "X-PER"))
    assert table.begins.tolist() == [False, True, False, False, False]
    assert table.tags[1] == table.tags[2] == table.tags[3] != table.tags[4]
    assert table.groups == ("O", "PER", "PER", "PER", "PER")


def entity(start: int, end: int, score: float) -> dict[str, Any]:
    return {"entity_group": "PER", "score": score, "word": "", "start": start, "end": end}


def test_of_overlapping_entities_the_longer_then_the_surer_stays() -> None:
    long, short, surer = entity(0, 9, 0.1), entity(4, 6, 0.9), entity(0, 9, 0.2)
    apart, touching = entity(12, 13, 0.5), entity(13, 15, 0.5)
    assert merge_windows([short, long]) == [long]
    assert merge_windows([long, surer, apart, touching]) == [surer, apart, touching]
    assert merge_windows([surer, long]) == [surer]
    assert merge_windows([]) == []


spans = st.tuples(st.integers(0, 40), st.integers(1, 9), st.floats(0, 1)).map(
    lambda span: entity(span[0], span[0] + span[1], span[2])
)


@given(st.lists(spans, max_size=20))
def test_merged_windows_do_not_start_inside_each_other(entities: list[dict[str, Any]]) -> None:
    merged = merge_windows(entities)
    starts = [entity["start"] for entity in merged]
    assert starts == sorted(starts)
    assert all(entity in entities for entity in merged)
