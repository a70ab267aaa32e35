"""Two tokenizers that fit on a page: an uncased one, and a cased one over the same pieces."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

__all__ = ["TOKENIZERS", "WORDS", "tokenizer_json"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

WORDS = (
    *_SPECIAL,
    *_LETTERS,
    *(f"##{letter}" for letter in _LETTERS),
    *"0123456789.,!?'-#():",
    *("the", "cat", "sat", "on", "mat", "dog", "run", "new", "york", "paris", "john", "is", "it"),
    *("this", "example", "about", "who", "and", "un", "##aff", "##able", "##ing", "##ed"),
    *("The", "Cat", "New", "York", "Paris", "John", "I", "É", "é", "😀", "中", "文"),
)
"""The vocabulary, in the order of ids. The words with capitals serve the cased tokenizer."""

TOKENIZERS = {"tokenizer.json": True, "tokenizer_cased.json": False}
"""Files, and whether each lower-cases."""


@cache
def tokenizer_json(file: str) -> str:
    """The text of one of :data:`TOKENIZERS`."""
    ids = {word: index for index, word in enumerate(WORDS)}
    backend = Tokenizer(WordPiece(ids, unk_token="[UNK]"))  # noqa: S106 - no password
    backend.normalizer = normalizers.BertNormalizer(lowercase=TOKENIZERS[file])
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(word, ids[word]) for word in ("[CLS]", "[SEP]")],
    )
    backend.decoder = decoders.WordPiece()
    backend.add_special_tokens(list(_SPECIAL))
    text: str = backend.to_str(pretty=True)
    return f"{text}\n"
