"""Tokenizer classes of ``transformers`` whose work the ``tokenizers`` library does alone.

A class gives the special tokens that a checkpoint does not name, and says whether its rows have
token types. Every other class splits by code of its own, which no ``tokenizer.json`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["BERT_TOKENS", "TOKENIZER_CLASSES", "TokenizerClass", "find_class"]

BERT_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
)
"""In the order in which a class adds those that are missing from the vocabulary."""

_ROBERTA_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "sep_token": "</s>",
        "pad_token": "<pad>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    }
)
_ALBERT_TOKENS: Mapping[str, str] = MappingProxyType(
    {
        "bos_token": "[CLS]",
        "eos_token": "[SEP]",
        "unk_token": "<unk>",
        "sep_token": "[SEP]",
        "pad_token": "<pad>",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
)
_HERBERT_TOKENS: Mapping[str, str] = MappingProxyType(
    {key: _ROBERTA_TOKENS[key] for key in BERT_TOKENS}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerClass:
    """What a class adds to a checkpoint's files.

    Args:
        tokens: Special tokens that it has where the checkpoint does not name them.
        token_types: Whether its rows tell the two texts of a pair apart.
        splits_as_bert: Whether ``vocab.txt`` is enough, and ``tokenizer_config.json`` overrules the
            flags of the normalizer in ``tokenizer.json``.
        mask_takes_space: Whether the mask token takes the space before it.
        mask_normalized: Whether the mask token is found in the normalized text too.
        trims_offsets: Whether the settings overrule the flags of a RoBERTa post-processor.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    token_types: bool = True
    splits_as_bert: bool = False
    mask_takes_space: bool = False
    mask_normalized: bool = False
    trims_offsets: bool = False


_BERT = TokenizerClass(tokens=BERT_TOKENS, splits_as_bert=True)

TOKENIZER_CLASSES: Mapping[str, TokenizerClass] = MappingProxyType(
    {
        "BertTokenizer": _BERT,
        "ConvBertTokenizer": _BERT,
        "DPRContextEncoderTokenizer": _BERT,
        "DPRQuestionEncoderTokenizer": _BERT,
        "DistilBertTokenizer": TokenizerClass(
            tokens=BERT_TOKENS, splits_as_bert=True, token_types=False
        ),
        "ElectraTokenizer": _BERT,
        "LayoutLMTokenizer": _BERT,
        "LxmertTokenizer": _BERT,
        "MobileBertTokenizer": _BERT,
        "SqueezeBertTokenizer": _BERT,
        "AlbertTokenizer": TokenizerClass(tokens=_ALBERT_TOKENS, mask_takes_space=True),
        "HerbertTokenizer": TokenizerClass(tokens=_HERBERT_TOKENS),
        "PreTrainedTokenizer": TokenizerClass(),
        "RobertaTokenizer": TokenizerClass(
            tokens=_ROBERTA_TOKENS, token_types=False, mask_takes_space=True, trims_offsets=True
        ),
        # What transformers 5 calls PreTrainedTokenizerFast.
        "TokenizersBackend": TokenizerClass(),
        "XLMRobertaTokenizer": TokenizerClass(
            tokens=_ROBERTA_TOKENS, token_types=False, mask_takes_space=True, mask_normalized=True
        ),
    }
)
"""By name, without the ending ``Fast``."""


def find_class(name: str | None) -> TokenizerClass | None:
    """The class of that name, with ``Fast`` at its end or not; BERT's own where none is named.

    Returns:
        ``None`` for a class that splits by code of its own.
    """
    if name is None:
        return _BERT
    return TOKENIZER_CLASSES.get(name.removesuffix("Fast"))
