"""What a value of the graph means in a program: one frozen class per kind of thing.

The graph computes on padded batches and hides the padding with masks; a program computes on rows
that are not padded. So most of what the graph says of masks, shapes and positions becomes nothing,
once it is clear that it says what it always says. :mod:`bert_export.targets.native.translation`
gives each value of the graph one of these meanings.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bert_export.bundle.program import GatherIndex
from bert_export.targets.native.builder import Result

__all__ = [
    "Affine",
    "AttentionMask",
    "Column",
    "Count",
    "Counted",
    "Dequantized",
    "EmbeddedRows",
    "Gate",
    "HiddenTokens",
    "HiddenTokensRemoved",
    "Ids",
    "Length",
    "Meaning",
    "OneAtIndex",
    "Ordinals",
    "Pairs",
    "Past",
    "Positions",
    "Present",
    "Quantized",
    "Rounded",
    "ScaledWeight",
    "Size",
    "Summed",
    "TokenIndex",
    "Transposed",
    "Visible",
    "Weighted",
]


@dataclass(frozen=True, slots=True)
class Ids:
    """A graph input of ids: int64, one per token (or per mask)."""

    name: str


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers that are computed from the sizes of axes alone.

    Args:
        axis: The dynamic axis whose size it is; ``None`` for other numbers.
        negative: Whether it is that size below 0.
    """

    axis: str | None = None
    negative: bool = False


@dataclass(frozen=True, slots=True)
class Ordinals:
    """``first, first + 1, ...`` along the sequence.

    Args:
        first: The first number.
        own: Whether those of earlier calls' tokens are left out.
    """

    first: int
    own: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """1 where a key stands at its query's position or before it."""


@dataclass(frozen=True, slots=True)
class Visible:
    """1 at the tokens of a mask, 0 elsewhere.

    Args:
        mask: The graph input.
        ordinal: Whether the 1s are multiplied by the token's ordinal number, from 1.
        causal: Whether it is one per query and key, and 0 at keys behind the query too.
        inverted: Whether 0 and 1 are swapped.
        own: Whether the tokens of earlier calls are left out.
    """

    mask: str
    ordinal: bool = False
    causal: bool = False
    inverted: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """How many tokens of the attention mask there are up to each token, itself among them."""


@dataclass(frozen=True, slots=True)
class Positions:
    """How many tokens of the attention mask stand before each token: its position.

    Args:
        own: Whether the tokens of earlier calls are left out.
    """

    own: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """Keys or values of earlier calls' tokens: a graph input."""

    name: str


@dataclass(frozen=True, slots=True)
class Present:
    """Keys or values of all tokens, behind the past ones that an attention read."""

    past: str


@dataclass(frozen=True, slots=True)
class AttentionMask:
    """What is added to scores: 0, and a huge negative number at keys that are not visible."""

    causal: bool


@dataclass(frozen=True, slots=True)
class TokenIndex:
    """The position of one token in every text."""

    index: GatherIndex


@dataclass(frozen=True, slots=True)
class OneAtIndex:
    """A mask at the position of its own first or last 1."""


@dataclass(frozen=True, slots=True)
class EmbeddedRows:
    """The sum of rows of some tables, one row per token.

    Args:
        word: Table that ``input_ids`` look up.
        word_scale: Its rows' scales, where it is int8.
        token_type: Table that ``token_type_ids`` look up.
        position: Table of which each token gets the row of its position.
    """

    word: ir.Value | None = None
    word_scale: ir.Value | None = None
    token_type: ir.Value | None = None
    position: ir.Value | None = None


@dataclass(frozen=True, slots=True)
class Rounded:
    """A result in bfloat16."""

    result: Result


@dataclass(frozen=True, slots=True)
class Affine:
    """``(x + add) * multiply`` of a result, per channel; only a quantization reads it."""

    result: Result
    add: ir.Value | None = None
    multiply: ir.Value | None = None


@dataclass(frozen=True, slots=True)
class Quantized:
    """A result in uint8; ``name`` is the program's value."""

    result: Result
    name: str
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Dequantized:
    """What a uint8 value stands for."""

    quantized: Quantized


@dataclass(frozen=True, slots=True)
class ScaledWeight:
    """What a stored int8 weight stands for: one scale per output channel."""

    weight: ir.Value
    scale: ir.Value


@dataclass(frozen=True, slots=True)
class Transposed:
    """A stored matrix with its axes swapped."""

    stored: ir.Value


@dataclass(frozen=True, slots=True)
class Gate:
    """The sigmoid of a result that is multiplied by it."""

    result: Result


@dataclass(frozen=True, slots=True)
class Weighted:
    """Tokens' rows times what a mask says of them."""

    result: Result
    visible: Visible


@dataclass(frozen=True, slots=True)
class Summed:
    """The sum of :class:`Weighted` over each text."""

    weighted: Weighted


@dataclass(frozen=True, slots=True)
class Count:
    """The sum of a mask over each text.

    Args:
        visible: The mask.
        bounded: Whether it is at least 1e-9.
        root: Whether it is the square root of that.
    """

    visible: Visible
    bounded: bool = False
    root: bool = False


@dataclass(frozen=True, slots=True)
class HiddenTokens:
    """Whether a token is none of a mask's."""

    mask: str


@dataclass(frozen=True, slots=True)
class HiddenTokensRemoved:
    """Tokens' rows, -inf at those that a mask hides."""

    result: Result
    mask: str


@dataclass(frozen=True, slots=True)
class Length:
    """The Euclidean length of each row.

    Args:
        result: The rows.
        least: It is at least this; ``None`` where nothing bounds it.
    """

    result: Result
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a result."""

    result: Result
    column: int


Meaning = (
    Ids
    | Size
    | Ordinals
    | Pairs
    | Counted
    | Positions
    | Past
    | Present
    | Visible
    | AttentionMask
    | TokenIndex
    | OneAtIndex
    | EmbeddedRows
    | Rounded
    | Affine
    | Quantized
    | Dequantized
    | ScaledWeight
    | Transposed
    | Gate
    | Weighted
    | Summed
    | Count
    | HiddenTokens
    | HiddenTokensRemoved
    | Length
    | Column
    | Result
)
