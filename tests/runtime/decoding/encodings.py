"""Encodings for tests of the decoding, as plain values, from a vocabulary that fits on a page."""

from __future__ import annotations

import tokenizers
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from bert_export.runtime.decoding.encoded import Encoded
from tests.oracle import WORDS

__all__ = ["TEXTS", "encode", "encode_windows", "plain", "wordpiece"]

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["the", "cats", "Cat", "CAT", "Ω", "😀", "naïve", "don't", "york", "中文"]),
        st.text(max_size=5),
    ),
    max_size=20,
).map(" ".join)


def wordpiece(limit: int | None = None, stride: int = 0) -> tokenizers.Tokenizer:
    """A tokenizer of the library; with a limit the second text is cut into windows."""
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(WORDS))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    if limit is not None:
        tokenizer.enable_truncation(limit, stride=stride, strategy="only_second")
    return tokenizer


_WHOLE, _WINDOWS = wordpiece(), wordpiece(16, 4)


def plain(encoding: tokenizers.Encoding) -> Encoded:
    """The library's encoding as a value that knows nothing of the library."""
    return Encoded(
        ids=tuple(encoding.ids),
        type_ids=tuple(encoding.type_ids),
        tokens=tuple(encoding.tokens),
        offsets=tuple(encoding.offsets),
        word_ids=tuple(encoding.word_ids),
        sequence_ids=tuple(encoding.sequence_ids),
        special_tokens_mask=tuple(encoding.special_tokens_mask),
        overflowing=tuple(map(plain, encoding.overflowing)),
    )


def encode(*texts: str) -> Encoded:
    """A text or a pair of texts, uncut."""
    return plain(_WHOLE.encode(*texts))


def encode_windows(question: str, context: str) -> list[Encoded]:
    """Windows of 16 tokens over a context, of which two share 4."""
    first = plain(_WINDOWS.encode(question, context))
    return [first, *first.overflowing]
