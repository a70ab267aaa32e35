"""Small tokenizers of BERT's kind, and texts that tokenizers are known to read differently."""

from __future__ import annotations

from functools import cache

import tokenizers

from bert_export.bundle import TokenizerRecord
from bert_export.text_input.graph import TokenizerPlan
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

MARKED = ("a <ent>b", "NEWYORK newyorks anewyork", "<ENT> <ent><ent>", "new york")


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
def plan_of(text: str) -> TokenizerPlan:
    return make_plan(text, record())
