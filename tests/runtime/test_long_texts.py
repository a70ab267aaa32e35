"""A text far longer than a row is cut before it is tokenized, and its row stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend

from bert_export.bundle import TokenizerRecord
from bert_export.errors import InputError
from bert_export.runtime.long_texts import shorten, splits_at_spaces
from bert_export.runtime.tokenization import Text, Tokenizer
from tests.runtime.vocabulary import WORDS, small_json

FIELDS = (
    *("ids", "type_ids", "tokens", "offsets", "word_ids", "sequence_ids", "special_tokens_mask"),
)
WHOLE, CUT = (
    Tokenizer.from_json(
        small_json(), TokenizerRecord(file="tokenizer.json", max_length=64, do_lower_case=True)
    )
    for _ in range(2)
)
WHOLE._shorten = lambda prepared, *_: prepared  # type: ignore[method-assign]

PARTS = st.sampled_from(
    [
        *(" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\x00", "\ufffd"),
        *("the", "Cat", "mats", "é", "e\u0301", "\u0301", "ÀÉ", "İ", "ß", "ﬁ", "Σ", "中", "文中"),
        *("[MASK]", "[mask]", "[SEP]", " [MASK] ", "[", "]", ".", "n't", "—", "x" * 101, "🙂"),
    ]
)
TEXTS = st.builds(
    lambda parts, times: "".join(parts) * times,
    st.lists(PARTS, max_size=40),
    st.sampled_from([1, 2, 7, 30]),
)
WORD_LISTS = st.builds(
    lambda parts, times: parts * times, st.lists(PARTS, max_size=12), st.sampled_from([1, 3, 9])
)


def row(tokenizer: Tokenizer, text: Text, **options: Any) -> list[Any] | None:
    """All fields of a row; ``None`` where the text is refused."""
    try:
        ((encoding,),) = tokenizer.encode([text], **options)
    except InputError:
        return None
    cut = bool(encoding.overflowing)
    return [*(list(getattr(encoding, field)) for field in FIELDS), cut]


@given(TEXTS, st.integers(2, 24), st.sampled_from([0, 1, 5]), st.booleans())
def test_a_text(text: str, length: int, stride: int, special: bool) -> None:
    options = {"max_length": length, "stride": stride, "add_special_tokens": special}
    assert row(CUT, text, **options) == row(WHOLE, text, **options)


@given(
    TEXTS,
    TEXTS,
    st.integers(3, 24),
    st.sampled_from(["longest_first", "only_first", "only_second"]),
    st.sampled_from([0, 2]),
)
def test_a_pair(
    first: str,
    second: str,
    length: int,
    truncation: Literal["longest_first", "only_first", "only_second"],
    stride: int,
) -> None:
    options = {"max_length": length, "truncation": truncation, "stride": stride}
    assert row(CUT, (first, second), **options) == row(WHOLE, (first, second), **options)


@given(WORD_LISTS, st.integers(2, 24))
def test_words(words: Sequence[str], length: int) -> None:
    options = {"max_length": length, "is_split_into_words": True}
    assert row(CUT, words, **options) == row(WHOLE, words, **options)


@pytest.mark.parametrize("place", [0, 500, 99_999])
def test_what_is_refused_is_so_wherever_it_stands(place: int) -> None:
    text = "the cat " * 12_500
    with pytest.raises(InputError, match="not valid Unicode"):
        CUT.encode([f"{text[:place]}\ud800{text[place:]}"], max_length=16)


class Counted(Tokenizer):
    """Adds up the characters that the library is given."""

    characters = 0

    def _run(self, backend: Backend, prepared: list[Any], **options: bool) -> list[Any]:
        self.characters += sum(len("".join(text)) for text in prepared)
        return super()._run(backend, prepared, **options)


def counted() -> Counted:
    return Counted.from_json(small_json(), CUT.record)  # type: ignore[return-value]


MILLION = "the cat sat " * 83_334


@pytest.mark.parametrize("text", [MILLION, (MILLION, "the mat"), ("the mat", MILLION)])
def test_a_million_characters_are_not_read_by_the_library(text: Text) -> None:
    tokenizer = counted()
    tokenizer.encode([text])
    assert tokenizer.characters < 5_000
    tokenizer.encode([MILLION.split()], is_split_into_words=True)
    assert tokenizer.characters < 10_000


def test_all_windows_need_all_of_the_text() -> None:
    text = "the cat sat " * 200
    (windows,) = counted().encode([text], windows=True)
    assert windows[-1].offsets[-2][1] == len(text) - 1


class TestSplitsAtSpaces:
    @staticmethod
    def backend() -> Backend:
        return Backend.from_str(small_json())

    def test_the_original(self) -> None:
        assert splits_at_spaces(self.backend())

    def test_an_added_token_with_a_space(self) -> None:
        backend = self.backend()
        backend.add_tokens([AddedToken("new york")])
        assert not splits_at_spaces(backend)

    def test_another_normalizer(self) -> None:
        backend = self.backend()
        backend.normalizer = normalizers.Replace(" ", "")
        assert not splits_at_spaces(backend)

    def test_another_splitter(self) -> None:
        backend = self.backend()
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        assert not splits_at_spaces(backend)


def test_a_text_without_spaces_is_left_whole() -> None:
    text = WORDS[5] * 10_000
    assert shorten(text, 8, len, longest_first=True) is text
