"""What a graph's operators are counted to, and in which figures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STAGES", "Cost"]

STAGES = (
    "embeddings",
    "mask",
    "attention",
    "feed-forward",
    "normalization",
    "quantization",
    "head",
)
"""What every operator is counted to, in the order of a reader's way through the graph.

``embeddings`` ends with its norm; ``normalization`` is the residual sums and norms of the encoder;
``quantization`` is what changes number formats, wherever it stands; ``head`` is all that follows
the encoder: pooler, pooling, transforms and decoders.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a part of a graph computes and moves at one shape.

    Args:
        flop: Floating-point operations; an addition, a product and a function such as erf each
            count as one.
        integer_op: The same of integer matrix products.
        weight_bytes: Of stored tensors that are read; of a table only the rows that are taken.
        activation_bytes: Of results that are written; views of a result count nothing.
    """

    flop: int = 0
    integer_op: int = 0
    weight_bytes: int = 0
    activation_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flop + other.flop,
            self.integer_op + other.integer_op,
            self.weight_bytes + other.weight_bytes,
            self.activation_bytes + other.activation_bytes,
        )
