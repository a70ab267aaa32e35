"""Seeded texts that tokenizers get wrong, and variants of ``tokenizer.json``."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from tests.runtime.test_tokenization import NASTY
from tests.runtime.vocabulary import small_json

__all__ = ["CONFIGURATIONS", "configured", "nasty_texts", "with_added_tokens"]

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "uncased": {},
    "cased": {"lowercase": False},
    "cased without accents": {"lowercase": False, "strip_accents": True},
    "uncased with accents": {"strip_accents": False},
    "uncleaned": {"clean_text": False},
    "no Chinese characters": {"handle_chinese_chars": False},
    "nothing": {
        "lowercase": False,
        "strip_accents": False,
        "clean_text": False,
        "handle_chinese_chars": False,
    },
}
"""Fields of BERT's normalizer by name."""

_MARKS = "\u0301\u0323\u0327\u0334\u0344\u0345\u05b0\u064b\u0f73\u302a\u3099\U0001d165\u0488\u093e"
_WORDS = ("the", "cat", "unaffable", "running", "newyork", "x1y2", "İstanbul", "straße", "ΣΑΣ")


def configured(**fields: Any) -> str:
    """A small ``tokenizer.json`` whose normalizer has other fields."""
    tokenizer = json.loads(small_json())
    tokenizer["normalizer"].update(fields)
    return json.dumps(tokenizer)


def with_added_tokens(*tokens: dict[str, Any], **fields: Any) -> str:
    """As :func:`configured`, with tokens behind the vocabulary."""
    tokenizer = json.loads(configured(**fields))
    size = len(tokenizer["model"]["vocab"])
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    for index, token in enumerate(tokens):
        tokenizer["added_tokens"].append(dict.fromkeys(flags, False) | {"id": size + index} | token)
    return json.dumps(tokenizer)


def nasty_texts(count: int, seed: int) -> Iterator[str]:
    """Words, marks, odd characters and anything of Unicode, mixed."""
    draw = random.Random(seed)
    for _ in range(count):
        parts = []
        for _ in range(draw.randrange(10)):
            kind = draw.random()
            if kind < 0.35:
                parts.append(draw.choice(NASTY))
            elif kind < 0.55:
                parts.append(draw.choice(_WORDS))
            elif kind < 0.75:
                parts.append("".join(draw.choices(_MARKS, k=draw.randrange(1, 5))))
            elif kind < 0.9:
                parts.append(chr(_character(draw)))
            else:
                parts.append(draw.choice((" ", "  ", "\t", "\n", "\u00a0", "\u2003")))
        yield draw.choice(("", " ")).join(parts)


def _character(draw: random.Random) -> int:
    while True:
        code = draw.choice(
            (draw.randrange(0x500), draw.randrange(0x10000), draw.randrange(0x110000))
        )
        if not 0xD800 <= code < 0xE000:
            return code
