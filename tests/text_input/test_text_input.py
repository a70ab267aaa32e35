"""Strings in, the ids of the ``tokenizers`` library out."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.bundle import TokenizerRecord
from bert_export.errors import TokenizerError, VerificationError
from bert_export.text_input import check
from bert_export.text_input.alphabet import make_alphabet
from bert_export.text_input.check import check_tokenizer, hostile_texts
from bert_export.text_input.model import tokenizer_model
from bert_export.text_input.plan import make_plan

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = (
    *SPECIALS,
    *"abcdefghijklmnopqrstuvwxyz.,!?-'#()[]",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    *(
        "un",
        "##aff",
        "##able",
        "hello",
        "the",
        "cat",
        "##s",
        "caf\u00e9",
        "cafe",
        "Hello",
        "\u4e2d",
    ),
    *(
        "stra\u00dfe",
        "strasse",
        "\u03b1\u03c3",
        "\u03c3",
        "##\u03c3",
        "##\u03c2",
        "\u1100",
        "##\u1161",
    ),
)
NAMED = (
    *(
        "Hello [MASK].",
        "\u4e2d\u6587 caf\u00e9",
        "",
        "x[MASK][SEP]y",
        "unaffable cats",
        "\u0391\u03a3",
    ),
    *("stra\u00dfe STRASSE", "\u0130stanbul", "a\u0000b\ufffdc", "\ue000x\uf8ff", "\uac00" * 40),
    *(
        "q" * 101,
        "q" * 100,
        "don't (stop)",
        "e\u0301te\u0301",
        "  \t\n ",
        "[mask] [MASK",
        "[[MASK]]",
    ),
)


def tokenizer_text(*, added: tuple[tokenizers.AddedToken, ...] = (), **normalizer: object) -> str:
    """A ``tokenizer.json`` of BERT's kind over a small vocabulary."""
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(PIECES))}
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]")  # noqa: S106
    )
    made.normalizer = tokenizers.normalizers.BertNormalizer(**normalizer)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    made.add_special_tokens(list(SPECIALS))
    made.add_tokens(list(added))
    return made.to_str()


def record(max_length: int = 64, **others: object) -> TokenizerRecord:
    return TokenizerRecord(
        file="tokenizer.json", max_length=max_length, do_lower_case=True, **others
    )


UNCASED = tokenizer_text(lowercase=True)
OTHERS = {
    "cased": tokenizer_text(lowercase=False),
    "lower case, accents kept": tokenizer_text(lowercase=True, strip_accents=False),
    "ideographs in words": tokenizer_text(lowercase=True, handle_chinese_chars=False),
    "added tokens": tokenizer_text(
        lowercase=True,
        added=(
            tokenizers.AddedToken("<ent>", normalized=False),
            tokenizers.AddedToken("NewYork", normalized=True),
        ),
    ),
}


@cache
def plan_of(text: str):
    return make_plan(text, record())


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


# Marks that normalization reorders move the library's offsets.
LETTERS = st.characters(exclude_categories=["Cs", "Mn", "Mc"])


@given(st.lists(st.one_of(st.text(LETTERS), st.sampled_from(NAMED)), min_size=1, max_size=5))
@settings(max_examples=60)
def test_any_text(texts):
    compare(UNCASED, 16, texts)
    compare(UNCASED, 16, texts, texts[::-1])


@pytest.mark.parametrize("name", OTHERS)
def test_other_settings(name):
    marks = ("a <ent>b", "NEWYORK newyorks anewyork", "<ENT> <ent><ent>", "new york")
    compare(OTHERS[name], 64, (*NAMED, *marks))
    compare(OTHERS[name], 16, NAMED, NAMED[::-1])


def test_the_check_compares_every_code_point_and_random_texts():
    model = tokenizer_model(plan_of(UNCASED), pairs=False)
    count = check_tokenizer(model, UNCASED, max_length=64, pairs=False, hostile=500)
    assert count > 3 * 0x10F800 / 20


def test_the_check_compares_pairs(monkeypatch):
    monkeypatch.setattr(check, "_code_points", lambda: iter(NAMED))
    model = tokenizer_model(plan_of(UNCASED), pairs=True)
    assert check_tokenizer(model, UNCASED, max_length=64, pairs=True, hostile=500) == 500 + len(
        NAMED
    )


def test_the_check_shows_the_first_text_that_differs(monkeypatch):
    monkeypatch.setattr(check, "_code_points", lambda: iter(()))
    model = tokenizer_model(plan_of(UNCASED), pairs=False)
    with pytest.raises(VerificationError, match=r"splits .* differently: expected ids"):
        check_tokenizer(model, OTHERS["cased"], max_length=64, pairs=False, hostile=200)


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
        (UNCASED, record(token_types=False), "token types"),
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
    library.normalizer = tokenizers.normalizers.Replace("\uab30a", "b")
    with pytest.raises(TokenizerError, match="one character at a time"):
        make_alphabet(library, "ab", "")
