"""The candidate forms of each block of a BERT layer, as data.

A form is one row of a block's table: a name, a function that draws it, and which problem it solves.
To add one, add a row; to add a block, write its module and a line to ``BLOCKS``.
"""

from __future__ import annotations

from scripts.forms.attention import ATTENTION, MASK
from scripts.forms.form import Block, Size
from scripts.forms.gelu import GELU
from scripts.forms.linear import FP32_BLOCKS
from scripts.forms.linear_int8 import INT8_BLOCKS
from scripts.forms.normalization import NORMALIZATION
from scripts.forms.projected_attention import PROJECTED_ATTENTION

__all__ = ["BLOCKS", "SIZES"]

BLOCKS: tuple[Block, ...] = (
    ATTENTION,
    MASK,
    NORMALIZATION,
    GELU,
    *FP32_BLOCKS,
    *INT8_BLOCKS,
    PROJECTED_ATTENTION,
)

SIZES: tuple[Size, ...] = (
    Size("tiny", hidden=64, heads=2, vocabulary=512),
    Size("minilm", hidden=384, heads=12, vocabulary=30522),
    Size("bert-base", hidden=768, heads=12, vocabulary=30522),
)
