"""Strings in, the ids of the ``tokenizers`` library out."""

from __future__ import annotations

import json
from functools import cache
from itertools import islice

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.errors import TokenizerError, VerificationError
from bert_export.text_input.alphabet import make_alphabet
from bert_export.text_input.check import (
    MAX_LENGTHS,
    check_tokenizer,
    compare_texts,
    every_code_point,
    hostile_texts,
    pairs_of_lengths,
)
from bert_export.text_input.model import tokenizer_model
from bert_export.text_input.plan import make_plan
from tests.text_input.examples import (
    MARKED,
    NAMED,
    OTHERS,
    UNCASED,
    plan_of,
    record,
    tokenizer_text,
)


@cache
def session_of(text: str, max_length: int, *, pairs: bool) -> onnxruntime.InferenceSession:
    from dataclasses import replace

    plan = plan_of(text)
    plan = replace(plan, template=replace(plan.template, max_length=max_length))
    data = ir.serde.serialize_model(tokenizer_model(plan, pairs=pairs)).SerializeToString()
    return onnxruntime.InferenceSession(data)


def compare(text: str, max_length: int, texts, others=None) -> None:
    """Ids, mask, types and offsets are the library's."""
    library = tokenizers.Tokenizer.from_str(text)
    library.enable_truncation(max_length)
    library.enable_padding(pad_id=0)
    feeds = {"text": np.array(texts, object)}
    rows = list(texts)
    if others is not None:
        feeds["text_pair"] = np.array(others, object)
        rows = list(zip(texts, others, strict=True))
    session = session_of(text, max_length, pairs=others is not None)
    ids, mask, types, offsets = session.run(None, feeds)
    encodings = library.encode_batch(rows)
    assert ids.tolist() == [encoding.ids for encoding in encodings]
    assert mask.tolist() == [encoding.attention_mask for encoding in encodings]
    assert types.tolist() == [encoding.type_ids for encoding in encodings]
    assert [[tuple(span) for span in row] for row in offsets.tolist()] == [
        encoding.offsets for encoding in encodings
    ]


@pytest.mark.parametrize("max_length", [3, 4, 16, 63, 64, 512])
def test_named_texts_and_pairs_of_all_lengths(max_length):
    compare(UNCASED, max_length, NAMED)
    for text in NAMED:
        compare(UNCASED, max_length, [text])
    compare(UNCASED, max_length, NAMED, NAMED[::-1])
    compare(UNCASED, max_length, NAMED * 14, NAMED[::-1] * 14)


LETTERS = st.characters(exclude_categories=["Cs"])
MARKS = st.text(
    "e\u0301\u0323\u302e\u302f\u0345\u0334\u00e9\u0344\ufe0f\u034f\u200d \u1b44", max_size=12
)


@given(st.lists(st.one_of(st.text(LETTERS), MARKS, st.sampled_from(NAMED)), min_size=1, max_size=5))
@settings(max_examples=80)
def test_any_text(texts):
    compare(UNCASED, 16, texts)
    compare(UNCASED, 16, texts, texts[::-1])


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings(name):
    compare(OTHERS[name], 64, (*NAMED, *MARKED))
    compare(OTHERS[name], 16, NAMED, NAMED[::-1])


@pytest.mark.parametrize("pairs", [False, True])
def test_the_check_compares_texts_with_every_length(pairs):
    done = check_tokenizer(
        plan_of(UNCASED), UNCASED, pairs=pairs, texts=NAMED, hostile=60, code_points=False
    )
    assert done.max_lengths == (3, 4, 16, 63, 64, 512)
    assert (done.texts, done.hostile, done.code_points) == (len(NAMED), 60, 0)
    assert done.pairs == (60 + 6 * len(NAMED) + PAIRS_OF_LENGTHS if pairs else 0)


PAIRS_OF_LENGTHS = sum(len(list(pairs_of_lengths(["a"], limit - 3))) for limit in MAX_LENGTHS)


def test_pairs_stand_in_all_relations_of_their_lengths():
    limit = 13
    relations = {
        (len(first.split()) > limit // 2, len(second.split()) > limit // 2)
        for first, second in pairs_of_lengths(["a", "b"], limit)
    }
    assert relations == {(False, False), (False, True), (True, False), (True, True)}


def test_every_character_stands_in_a_word_of_its_own():
    texts = list(islice(every_code_point(), 9))
    assert [len(text.split(" ")) for text in texts] == [65, 65, 65, 64, 64, 64, 64, 64, 64]
    assert texts[4].split(" ")[1] == "aAb"
    assert texts[5].split(" ")[1] == "e\u0301A"


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids", "offsets"])
def test_the_check_shows_the_first_text_that_differs(name):
    plan = plan_of(UNCASED)
    wrong = {
        "input_ids": OTHERS["cased"],
        "token_type_ids": UNCASED.replace('"type_id":1', '"type_id":0'),
        "offsets": tokenizer_text(lowercase=True, strip_accents=False),
    }[name]
    texts = {
        "input_ids": ["hello", "Hello"],
        "token_type_ids": [("cat", "cats")],
        "offsets": ["the cat", "e\u0301\u302e"],
    }[name]
    with pytest.raises(VerificationError, match=f"reads .* differently: expected {name}"):
        compare_texts(plan, wrong, texts, pairs=name == "token_type_ids")


def test_random_texts_are_repeatable():
    assert list(hostile_texts(5, seed=3)) == list(hostile_texts(5, seed=3))


def changed(**parts: object) -> str:
    return json.dumps(json.loads(UNCASED) | parts)


@pytest.mark.parametrize(
    ("text", "told", "part"),
    [
        (changed(normalizer={"type": "NFC"}), record(), "normalizer"),
        (changed(normalizer=None), record(), "normalizer"),
        (changed(pre_tokenizer={"type": "Whitespace"}), record(), "pre_tokenizer"),
        (changed(post_processor=None), record(), "post_processor"),
        (UNCASED, record(truncation_side="left"), "truncation side"),
        (
            tokenizer_text(added=(tokenizers.AddedToken("<e>", lstrip=True),)),
            record(),
            "added token",
        ),
        (
            tokenizer_text(
                added=(
                    tokenizers.AddedToken("<a>", normalized=False),
                    tokenizers.AddedToken(">b<", normalized=False),
                )
            ),
            record(),
            "added tokens",
        ),
    ],
)
def test_what_has_no_exact_form_is_refused_by_name(text, told, part):
    with pytest.raises(TokenizerError, match=f"tokenizer.json's {part} cannot be put into a graph"):
        make_plan(text, told)


def test_a_normalizer_that_looks_at_neighbours_is_refused():
    library = tokenizers.Tokenizer.from_str(UNCASED)
    library.normalizer = tokenizers.normalizers.Prepend("x")
    with pytest.raises(TokenizerError, match="one character at a time"):
        make_alphabet(library, "ab", "")


def test_token_types_that_tell_nothing_apart_are_all_zero():
    plan = make_plan(UNCASED, record(token_types=False))
    check_tokenizer(
        plan, UNCASED, pairs=True, texts=NAMED, hostile=0, max_lengths=(), code_points=False
    )


def test_without_offsets_the_graph_is_smaller():
    plan = make_plan(UNCASED, record(), offsets=False)
    small, whole = (tokenizer_model(each, pairs=False) for each in (plan, plan_of(UNCASED)))
    assert [output.name for output in small.graph.outputs][-1] == "token_type_ids"
    assert small.graph.num_nodes() < whole.graph.num_nodes()
    check_tokenizer(
        plan, UNCASED, pairs=False, texts=NAMED, hostile=0, max_lengths=(), code_points=False
    )
