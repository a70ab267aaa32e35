"""From ``tokenizer.json`` to the plan of its graph, or a refusal that names what is not exact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import tokenizers

from bert_export.bundle import TokenizerRecord
from bert_export.text_input.alphabet import Alphabet, make_alphabet
from bert_export.text_input.graph import Template, TokenizerPlan
from bert_export.text_input.refusals import refuse
from bert_export.text_input.trie import build_trie

__all__ = ["make_plan"]


@lru_cache(maxsize=2)  # to ask about every character takes seconds
def make_plan(text: str, record: TokenizerRecord, *, offsets: bool = True) -> TokenizerPlan:
    """Read a tokenizer.

    Args:
        text: Of a valid ``tokenizer.json``.
        record: What the manifest says of it.
        offsets: Whether the graph tells the characters of each token.

    Raises:
        TokenizerError: Something of it cannot be exact in a graph.
    """
    described = json.loads(text)
    tokenizer = tokenizers.Tokenizer.from_str(text)
    _check_parts(described)
    if record.truncation_side != "right":
        raise refuse("truncation side", "right", record.truncation_side)
    template = Template(
        cls_id=tokenizer.token_to_id(record.cls_token),
        sep_id=tokenizer.token_to_id(record.sep_token),
        pad_id=tokenizer.token_to_id(record.pad_token),
        max_length=record.max_length,
        token_types=record.token_types,
        offsets=offsets,
    )
    _check_template(described["post_processor"], tokenizer, template)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    prefix = described["model"]["continuing_subword_prefix"]
    added = described.get("added_tokens", [])
    _check_added(added)
    raw = [token for token in added if not token["normalized"]]
    normalized = [
        token | {"content": _normalize(tokenizer, token["content"])}
        for token in added
        if token["normalized"]
    ]
    _check_overlaps([token["content"] for token in raw])
    _check_overlaps([token["content"] for token in normalized])
    known = {letter for piece in vocabulary for letter in (piece, piece.removeprefix(prefix))}
    alphabet = make_alphabet(
        tokenizer,
        {
            letter
            for text in (*known, *(token["content"] for token in normalized))
            for letter in text
        },
        {letter for token in raw for letter in token["content"]},
        decomposes=offsets and _decomposes(described["normalizer"]),
    )
    return _plan(
        alphabet,
        _piece_codes(alphabet, vocabulary, prefix),
        raw,
        normalized,
        unknown_id=vocabulary[described["model"]["unk_token"]],
        longest_word=described["model"]["max_input_chars_per_word"],
        template=template,
    )


def _plan(
    alphabet: Alphabet,
    words: dict[str, dict[tuple[int, ...], int]],
    raw: Sequence[Mapping[str, Any]],
    normalized: Sequence[Mapping[str, Any]],
    *,
    unknown_id: int,
    longest_word: int,
    template: Template,
) -> TokenizerPlan:
    """Give every added token a code, a symbol and a place in the trie."""
    tokens = [*raw, *normalized]
    codes = tuple(alphabet.size + number for number in range(len(tokens)))
    rows = np.zeros((len(tokens), alphabet.table.shape[1]), np.int32)
    rows[:, 1] = codes
    symbols = tuple(len(alphabet.table) + number for number in range(len(tokens)))
    alphabet = replace(
        alphabet,
        table=np.concatenate([alphabet.table, rows]),
        orders=np.concatenate([alphabet.orders, np.zeros(len(tokens), np.int32)]),
    )
    for code, token in zip(codes, tokens, strict=True):
        words["word"][(code,)] = token["id"]
    if raw:
        words["raw"] = {
            tuple(alphabet.raw[letter] for letter in token["content"]): number
            for number, token in enumerate(raw)
        }
    if normalized:
        words["normalized"] = {
            _codes(alphabet, token["content"]): number
            for number, token in enumerate(normalized, len(raw))
        }
    return TokenizerPlan(
        alphabet=alphabet,
        trie=build_trie(words, alphabet.size + len(tokens)),
        added_codes=codes,
        added_symbols=symbols,
        unknown_id=unknown_id,
        longest_word=longest_word,
        template=template,
    )


def _piece_codes(
    alphabet: Alphabet, vocabulary: Mapping[str, int], prefix: str
) -> dict[str, dict[tuple[int, ...], int]]:
    """Codes of the pieces that words begin with, and of those that go on with them.

    A piece with a character that no text is normalized to is never met.
    """
    words: dict[str, dict[tuple[int, ...], int]] = {"word": {}, "rest": {}}
    for piece, index in vocabulary.items():
        if piece and all(letter in alphabet.letters for letter in piece):
            words["word"][tuple(alphabet.letters[letter] for letter in piece)] = index
        if len(piece) == 1 and piece in alphabet.alone:
            words["word"][(alphabet.alone[piece],)] = index
        rest = piece.removeprefix(prefix)
        if piece.startswith(prefix) and rest and all(one in alphabet.letters for one in rest):
            words["rest"][tuple(alphabet.letters[letter] for letter in rest)] = index
    return words


def _decomposes(normalizer: Mapping[str, Any]) -> bool:
    """Whether the normalizer decomposes characters, as it does to strip accents."""
    strips = normalizer["strip_accents"]
    return bool(normalizer["lowercase"] if strips is None else strips)


def _normalize(tokenizer: tokenizers.Tokenizer, content: str) -> str:
    normalizer = tokenizer.normalizer
    text: str = content if normalizer is None else normalizer.normalize_str(content)
    return text


def _codes(alphabet: Alphabet, content: str) -> tuple[int, ...]:
    """Codes of a normalized added token."""
    if not content or " " in content:
        raise refuse("added token", "one without spaces once it is normalized", repr(content))
    both = alphabet.letters | alphabet.alone
    missing = [letter for letter in content if letter not in both]
    if missing:
        raise refuse("added token", "characters that a text can be normalized to", repr(content))
    return tuple(both[letter] for letter in content)


def _check_parts(described: Mapping[str, Any]) -> None:
    for part, expected in (
        ("model", "WordPiece"),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ):
        kind = (described.get(part) or {}).get("type")
        if kind != expected:
            raise refuse(part, expected, str(kind))


def _check_template(
    processor: Mapping[str, Any] | None, tokenizer: tokenizers.Tokenizer, template: Template
) -> None:
    """Refuse rows that are not ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``."""
    if processor is None:
        raise refuse("post_processor", "[CLS] A [SEP] and [CLS] A [SEP] B [SEP]", "none")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for pair in (("a",), ("a", "a")):
        plain = [tokenizer.encode(one, add_special_tokens=False).ids for one in pair]
        row = tokenizer.encode(*pair)
        ids, types = [template.cls_id], [0]
        for number, part in enumerate(plain):
            ids += [*part, template.sep_id]
            types += [number] * (len(part) + 1)
        has_types = template.token_types
        if row.ids != ids or (has_types and row.type_ids != types[: len(row.type_ids)]):
            raise refuse(
                "post_processor",
                "[CLS] A [SEP] and [CLS] A [SEP] B [SEP]",
                " ".join(map(str, row.tokens)),
            )


def _check_added(tokens: Sequence[Mapping[str, Any]]) -> None:
    for token in tokens:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token[flag]:
                raise refuse("added token", f"none with {flag}", repr(token["content"]))


def _check_overlaps(contents: Sequence[str]) -> None:
    """Refuse tokens of which two may claim one character: who wins depends on what is around."""
    for one, other in product(contents, repeat=2):
        inside = one != other and one in other and not other.startswith(one)
        chained = any(one.endswith(other[:size]) for size in range(1, min(len(one), len(other))))
        if inside or chained:
            raise refuse("added tokens", "none that overlap", f"{one!r} and {other!r}")
