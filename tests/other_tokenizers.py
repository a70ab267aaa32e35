"""Tiny checkpoints whose tokenizers are no WordPiece, as multilingual models publish them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.oracle import save_tiny

__all__ = ["KINDS", "Kind", "save_other"]

_WORDS = "the cat sat on mat dog running new york naive don"
_LETTERS = "abcdefghijklmnopqrstuvwxyzCNYé中文,.!?'-0123456789"
_CORPUS = (f"{_WORDS} {' '.join(_LETTERS)} The Cat in New York, naïve dogs don't run! ",) * 3
_FOLDS = {"ﬁ": "fi", "Ａ": "A", "İ": "I", "\u200b": " ", "…": "..."}
_NAMES = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}


def charsmap(folds: Mapping[str, str]) -> bytes:
    """A normalization table as SentencePiece compiles it: a double-array trie and its values."""
    values, offsets = b"", {}
    for text, folded in folds.items():
        offsets[text.encode()] = len(values)
        values += folded.encode() + b"\0"
    units: dict[int, int] = {}

    def place(prefix: bytes, at: int, label: int) -> None:
        """Give a node of the trie the unit ``at``, and its children free units."""
        following = sorted({key[len(prefix)] for key in offsets if key[: len(prefix)] == prefix
                            and len(key) > len(prefix)})  # fmt: skip
        slots = [*([0] if prefix in offsets else []), *following]
        base = next(
            base for base in range(1, 1 << 16) if all(base ^ slot not in units for slot in slots)
        )
        units[at] = label | (prefix in offsets) << 8 | (at ^ base) << 10
        if prefix in offsets:
            units[base] = 1 << 31 | offsets[prefix]
        for slot in following:
            units[base ^ slot] = 0
        for slot in following:
            place(prefix + bytes([slot]), base ^ slot, slot)

    units[0] = 0
    place(b"", 0, 0)
    array = [units.get(index, 0) for index in range(max(units) + 256)]
    return struct.pack(f"<I{len(array)}I", 4 * len(array), *array) + values


def _unigram(order: tuple[str, ...], *, splits_blanks: bool = False) -> Tokenizer:
    pieces = [(f"▁{word}", -2.0 - 0.1 * i) for i, word in enumerate(_WORDS.split())]
    pieces += [("▁", -4.0), ("ing", -3.0), ("s", -3.5), ("...", -5.0)]
    pieces += [(letter, -6.0 - 0.01 * i) for i, letter in enumerate(_LETTERS) if letter != "s"]
    half = len(pieces) // 2 if order[0] != "<s>" else 0
    vocabulary = [*pieces[:half], *((name, 0.0) for name in order), *pieces[half:]]
    vocabulary.append(("<mask>", 0.0))
    unk_id = next(i for i, (text, _) in enumerate(vocabulary) if text == "<unk>")
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(charsmap(_FOLDS)), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    metaspace = pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace])
        if splits_blanks
        else metaspace
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")],
    )
    tokenizer.add_special_tokens(
        [*(AddedToken(name, special=True) for name in order),
         AddedToken("<mask>", lstrip=True, special=True)]
    )  # fmt: skip
    return tokenizer


def _bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=150, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
        ),
    )
    ids = {name: tokenizer.token_to_id(name) for name in special}
    tokenizer.post_processor = processors.BertProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    return tokenizer


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of tokenizer: how it is made, and what ``tokenizer_config.json`` says."""

    make: Callable[[], Tokenizer]
    settings: Mapping[str, Any] = field(default_factory=dict)


_XLM_ORDER = ("<s>", "<pad>", "</s>", "<unk>")
KINDS: Mapping[str, Kind] = {
    "xlm_roberta": Kind(
        make=lambda: _unigram(_XLM_ORDER), settings={"tokenizer_class": "XLMRobertaTokenizer"}
    ),
    "minilm": Kind(
        make=lambda: _unigram(_XLM_ORDER, splits_blanks=True),
        settings={"tokenizer_class": "PreTrainedTokenizerFast", **_NAMES},
    ),
    "named_bert": Kind(
        make=lambda: _unigram(_XLM_ORDER, splits_blanks=True),
        settings={"tokenizer_class": "BertTokenizer", "do_lower_case": True, **_NAMES},
    ),
    "begins_elsewhere": Kind(
        make=lambda: _unigram(("<unk>", "</s>", "<s>", "<pad>")),
        settings={"tokenizer_class": "PreTrainedTokenizerFast", **_NAMES},
    ),
    "herbert": Kind(make=_bpe, settings={"tokenizer_class": "HerbertTokenizerFast"}),
    "byte_level": Kind(
        make=_byte_level,
        settings={"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True},
    ),
}


def save_other(cls_name: str, folder: Path, kind: str, **config: Any) -> Any:
    """Save a random model of the original with a tokenizer of a kind; see :func:`save_tiny`."""
    tokenizer = KINDS[kind].make()
    size = tokenizer.get_vocab_size()
    model = save_tiny(
        cls_name,
        folder,
        vocab_size=size,
        pad_token_id=tokenizer.token_to_id("<pad>"),
        max_position_embeddings=64,
        **config,
    )
    for name in ("vocab.txt", "special_tokens_map.json", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"model_max_length": 64, **KINDS[kind].settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return model
