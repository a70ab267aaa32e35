"""A vocabulary that fits on a page, for tests that need no trained one."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from bert_export.bundle import TokenizerRecord
from bert_export.runtime.tokenization import Tokenizer

__all__ = ["WORDS", "small_json", "small_tokenizer"]

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-#",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
    *("the", "cat", "sat", "on", "mat", "##ing", "new", "york", "##'t", "中", "文", "é"),
)
_SPECIAL = WORDS[:5]


@cache
def small_json() -> str:
    """A ``tokenizer.json`` over :data:`WORDS`."""
    ids = {word: index for index, word in enumerate(WORDS)}
    backend = Backend(WordPiece(ids, unk_token="[UNK]"))  # noqa: S106 - no password
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(word, ids[word]) for word in ("[CLS]", "[SEP]")],
    )
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(list(_SPECIAL))
    text: str = backend.to_str()
    return text


def small_tokenizer(max_length: int = 512) -> Tokenizer:
    """The tokenizer over :data:`WORDS`."""
    record = TokenizerRecord(file="tokenizer.json", max_length=max_length, do_lower_case=True)
    return Tokenizer.from_json(small_json(), record)
