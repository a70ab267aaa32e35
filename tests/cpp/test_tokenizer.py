"""The C++ tokenizer answers as the library ``tokenizers`` does, in every field of every token."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from bert_export.bundle import TokenizerRecord
from bert_export.errors import BertExportError
from bert_export.runtime.tokenization import Tokenizer
from tests.cpp.asking import Request, added_texts, answers, aspects, differences
from tests.cpp.nasty import CONFIGURATIONS, configured, nasty_texts, with_added_tokens
from tests.runtime.test_tokenization import CONFORMANCE
from tests.support import SHARED_DATA

pytestmark = pytest.mark.long

FULL = "BERT_EXPORT_CPP_FULL" in os.environ
"""Whether every code point and 200,000 texts per configuration are put to both: minutes."""

TEXTS = 200_000 if FULL else 400
RECORD = TokenizerRecord(file="tokenizer.json", max_length=10_000, do_lower_case=True)

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"')\u201d\u2019])\s+")

Ask = Callable[[str, Sequence[Request]], Any]
Differ = Callable[[str, tokenizers.Tokenizer, Iterable[str]], list[tuple[str, Any]]]


@pytest.fixture
def ask(plain: Path, tmp_path: Path) -> Ask:
    """Puts requests to the C++ tokenizer of a ``tokenizer.json``."""
    return lambda tokenizer, requests: answers(plain, tmp_path, tokenizer, RECORD, requests)


@pytest.fixture
def differ(plain: Path, tmp_path: Path) -> Differ:
    """Texts of which the C++ tokenizer says something else than the library."""
    return lambda tokenizer, backend, texts: differences(
        plain, tmp_path, tokenizer, RECORD, backend, texts
    )


def library(tokenizer: str) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer.from_str(tokenizer)
    backend.no_truncation()
    backend.no_padding()
    return backend


def assert_equal(differ: Differ, tokenizer: str, texts: Iterable[str]) -> None:
    """Every text gives the row that the library gives."""
    backend = library(tokenizer)
    added = added_texts(backend)
    for text, found in differ(tokenizer, backend, texts):
        assert found == [aspects(backend.encode(text), text, added=added)], ascii(text)
        pytest.fail(f"{text!a} differs, in a way that rows do not show")


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nasty_texts(differ: Differ, name: str) -> None:
    assert_equal(differ, configured(**CONFIGURATIONS[name]), nasty_texts(TEXTS, seed=7))


@pytest.mark.parametrize("name", ["uncased", "cased without accents"])
def test_code_points_alone_after_a_letter_and_between_marks(differ: Differ, name: str) -> None:
    """A share of those that Unicode says more of than "letter", and some others."""
    draw = random.Random(3)
    characters = [
        chr(code)
        for code in itertools.chain(range(0xD800), range(0xE000, sys.maxunicode + 1))
        if FULL or draw.random() < (0.002 if _is_common(chr(code)) else 0.12)
    ]
    assert_equal(
        differ,
        configured(**CONFIGURATIONS[name]),
        (
            " ".join(
                f"{one} a{one} \u0301{one}\u0323b\u0327" for one in characters[start : start + 8]
            )
            for start in range(0, len(characters), 8)
        ),
    )


def _is_common(character: str) -> bool:
    return unicodedata.category(character) in (
        "Lo",
        "Cn",
        "Co",
        "So",
    ) and not unicodedata.decomposition(character)


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        {"type": "Lowercase"},
        {"type": "NFD"},
        {"type": "StripAccents"},
        {
            "type": "Sequence",
            "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}],
        },
    ],
    ids=str,
)
def test_other_normalizers(differ: Differ, normalizer: Any) -> None:
    tokenizer = json.loads(configured()) | {"normalizer": normalizer}
    assert_equal(differ, json.dumps(tokenizer), nasty_texts(200, seed=11))


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("flags", list(itertools.product((False, True), repeat=4)), ids=str)
def test_added_tokens(differ: Differ, flags: tuple[bool, ...], lowercase: bool) -> None:
    names = ("single_word", "lstrip", "rstrip", "normalized")
    own = dict(zip(names, flags, strict=True))
    tokenizer = with_added_tokens(
        {"content": "<New>", **own},
        {"content": "<New>er", **own},
        {"content": "Élan", **own},
        {"content": "a b", **own},
        {"content": "_x_", **own, "special": True},
        lowercase=lowercase,
    )
    draw = random.Random(5)
    pieces: tuple[str, ...] = (
        "<New>",
        "<new>",
        "er",
        " ",
        "\t",
        "\u2003",
        "Élan",
        "élan",
        "e\u0301lan",
        "a b",
        "A  b",
    )
    pieces += ("_x_", "x", "_", "[MASK]", "é", "-", "\u0301", "中", "the", "\x00", "a")
    assert_equal(
        differ,
        tokenizer,
        ("".join(draw.choices(pieces, k=draw.randrange(8))) for _ in range(150)),
    )


def test_bert_processing(ask: Ask, differ: Differ) -> None:
    processor = {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    tokenizer = json.dumps(json.loads(configured()) | {"post_processor": processor})
    assert_equal(differ, tokenizer, nasty_texts(50, seed=2))
    found = ask(tokenizer, [{"text": "the cat", "pair": "sat on"}])
    assert found == [
        [aspects(library(tokenizer).encode("the cat", "sat on"), ("the cat", "sat on"))]
    ]


def calls(count: int, seed: int) -> Iterable[tuple[Any, dict[str, Any]]]:
    """Texts, pairs and lists of words, with options that fit and that do not."""
    draw = random.Random(seed)
    # Messages quote texts, and what is not assigned is known to Python's release alone.
    texts = itertools.cycle(
        "".join(one for one in text if unicodedata.category(one) != "Cn")
        for text in nasty_texts(3 * count, seed)
    )
    for _ in range(count):
        kind = draw.randrange(3)
        text: Any = next(texts)
        if kind == 1:
            text = (text, next(texts))
        elif kind == 2:
            text = [next(texts)[:9] for _ in range(draw.randrange(6))]
        yield (
            text,
            {
                "max_length": draw.choice((0, 1, 2, 3, 4, 5, 6, 8, 12, 20, 40, 20_000)),
                "truncation": draw.choice(("longest_first", "only_first", "only_second", "none")),
                "stride": draw.choice((0, 0, 0, 1, 2, 3, 9, -1)),
                "windows": draw.random() < 0.7,
                "add_special_tokens": draw.random() < 0.8,
            },
        )


@pytest.mark.parametrize("side", ["right", "left"])
def test_truncation_windows_and_refusals(plain: Path, tmp_path: Path, side: Any) -> None:
    """Rows and errors are those of the Python package, whatever is asked."""
    record = TokenizerRecord(
        file="tokenizer.json", max_length=10_000, do_lower_case=True, truncation_side=side
    )
    tokenizer = configured()
    python = Tokenizer.from_json(tokenizer, record)
    asked = list(calls(20_000 if FULL else 1500, seed=23))
    found = answers(
        plain,
        tmp_path,
        tokenizer,
        record,
        [
            {
                **options,
                **(
                    {"text": text[0], "pair": text[1]}
                    if isinstance(text, tuple)
                    else {"text": text}
                ),
            }
            for text, options in asked
        ],
    )
    wanted = [outcome(python, text, options) for text, options in asked]
    for rows, expected, call in zip(found, wanted, asked, strict=True):
        if isinstance(expected, dict):
            assert kind_of(rows["error"]) == kind_of(expected["error"]), call
        else:
            assert rows == expected, call
    assert 0.1 < sum(isinstance(expected, dict) for expected in wanted) / len(asked) < 0.9


def kind_of(error: str) -> str:
    """A message without the text and its tokens, of which Python may have seen the start alone."""
    return re.sub(r"got .* tokens", "got", re.sub(r"^text .*? (is too|cannot be)", r"\1", error))


def outcome(tokenizer: Tokenizer, text: Any, options: dict[str, Any]) -> Any:
    """What the Python package answers, in the program's form."""
    words = isinstance(text, list)
    try:
        (windows,) = tokenizer.encode([text], is_split_into_words=words, **options)
    except BertExportError as error:
        return {"error": str(error)}
    return [aspects(window, text, split=words) for window in windows]


@pytest.mark.parametrize("decoder", ["wordpiece", "no cleanup", "none"])
def test_decoding(ask: Ask, decoder: str) -> None:
    tokenizer = json.loads(with_added_tokens({"content": "##new"}, {"content": " ' s"}))
    if decoder == "none":
        tokenizer["decoder"] = None
    else:
        tokenizer["decoder"]["cleanup"] = decoder == "wordpiece"
    text = json.dumps(tokenizer)
    python = Tokenizer.from_json(text, RECORD)
    draw = random.Random(9)
    asked: list[dict[str, Any]] = [
        {
            "decode": [
                draw.randrange(-1 if draw.random() < 0.05 else 0, python.vocab_size + 3)
                for _ in range(draw.randrange(9))
            ],
            "skip_special_tokens": draw.random() < 0.5,
            "clean_up": draw.random() < 0.5,
        }
        for _ in range(500)
    ]
    for request, found in zip(asked, ask(text, asked), strict=True):
        assert found == spelling(python, **request)


def spelling(tokenizer: Tokenizer, *, decode: list[int], **options: bool) -> Any:
    """What the Python package spells, in the program's form."""
    try:
        return tokenizer.decode(decode, **options)
    except BertExportError as error:
        return {"error": str(error)}


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("normalizer", {"type": "NFKC"}),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("post_processor", {"type": "RobertaProcessing"}),
        ("decoder", {"type": "ByteLevel"}),
        ("model", {"type": "Unigram", "vocab": []}),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(ask: Ask, part: str, value: Any) -> None:
    refused = ask(json.dumps(json.loads(configured()) | {part: value}), [])
    assert refused["error"].endswith(f"got {value['type']}.")


def test_special_tokens_of_the_record_are_kept_whole(ask: Ask) -> None:
    """As in Python, where ``tokenizer.json`` does not list them."""
    tokenizer = json.dumps(json.loads(configured()) | {"added_tokens": []})
    python = Tokenizer.from_json(tokenizer, RECORD)
    text = "the [MASK] [unk]x[SEP]"
    (encoded,) = python.encode([text])[0]
    (rows,) = ask(tokenizer, [{"text": text}])
    assert rows == [aspects(encoded, text)]


def test_types_that_do_not_count(plain: Path, tmp_path: Path) -> None:
    record = TokenizerRecord(
        file="tokenizer.json", max_length=8, do_lower_case=True, token_types=False
    )
    python = Tokenizer.from_json(configured(), record)
    pair = ("the cat sat", "on the new mat")
    request = {"text": pair[0], "pair": pair[1], "windows": True}
    (rows,) = answers(plain, tmp_path, configured(), record, [request])
    assert rows == [aspects(row, pair) for row in python.encode([pair], windows=True)[0]]
    assert len(rows) > 1


@pytest.mark.parametrize("name", ["bert-base-uncased", "bert-base-cased"])
def test_conformance_questions(differ: Differ, name: str) -> None:
    stored = SHARED_DATA / "vocab" / name / "tokenizer.json"
    if not (stored.is_file() and CONFORMANCE.is_dir()):
        pytest.skip(f"{stored} or {CONFORMANCE} is absent")
    cases = json.loads((CONFORMANCE / "question_tokens.json").read_text(encoding="utf-8"))
    texts = [case["original"] for case in cases]
    assert_equal(differ, stored.read_text(encoding="utf-8"), texts if FULL else texts[::20])


@pytest.mark.skipif(not FULL, reason="BERT_EXPORT_CPP_FULL is not set")
def test_books(differ: Differ) -> None:
    books = sorted((SHARED_DATA / "gutenberg").glob("*_*.txt"))
    stored = SHARED_DATA / "vocab" / "bert-base-uncased" / "tokenizer.json"
    if not (stored.is_file() and books):
        pytest.skip(f"{stored} or the books are absent")
    sentences = (
        sentence
        for book in books
        for paragraph in book.read_text(encoding="utf-8").split("\n\n")
        for sentence in _SENTENCE_END.split(paragraph)
    )
    assert_equal(differ, stored.read_text(encoding="utf-8"), sentences)
