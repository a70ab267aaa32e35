"""Everything that a caller may choose about INT8, in one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bert_export.errors import InputError
from bert_export.quantization.calibration.observers import OBSERVERS

__all__ = ["DEFAULT_OBSERVER", "MODES", "QuantizationOptions"]

MODES = ("static", "dynamic")
DEFAULT_OBSERVER = "min-max"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationOptions:
    """How a graph is brought to INT8.

    The defaults lost least on held-out text of all demonstration heads (difference of the logits
    from float, relative to their spread: plain ranges 2.3 to 13 %, the defaults 0.7 to 4.2 %;
    without channel_shifting and its room 2 to 36 % more than that; without GPTQ 8 to 18 % more;
    without channel_splitting or without smoothquant twice as much; of the observers, ``min-max``
    was best once outliers are treated). An int8 embedding table made no difference that could be
    told from noise.

    Args:
        mode: ``static``: ranges are set by calibration, and a text's answer does not depend on
            what it is batched with. ``dynamic``: each call takes its ranges from its own padded
            batch; there for comparison.
        observer: How a range is chosen, a key of :data:`bert_export.quantization.OBSERVERS`.
        channel_shifting: Whether the middles of channels move into biases, where that costs
            nothing.
        smoothquant: Whether outliers may move from activations into weights, layer by layer, where
            it helps.
        channel_splitting: Whether outlier channels behind an activation function may be split.
        gptq: Whether a weight's rows make up for the rounding of those before them; otherwise each
            goes to its nearest level.
        bias_correction: Whether biases take over the mean error of their layer.
        embeddings: Whether the word embedding table is stored in int8; never where a float decoder
            has the same numbers.
        excluded_layers: Layers to leave in float, with the reason that the plan states.

    Raises:
        InputError: There is no such mode or observer.
    """

    mode: str = "static"
    observer: str = DEFAULT_OBSERVER
    channel_shifting: bool = True
    smoothquant: bool = True
    channel_splitting: bool = True
    gptq: bool = True
    bias_correction: bool = True
    embeddings: bool = True
    excluded_layers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, MODES),
            ("observer", self.observer, tuple(OBSERVERS)),
        ):
            if value not in known:
                raise InputError(
                    f"INT8 {what} {value!r} is unknown",
                    expected=f"one of {', '.join(known)}",
                    got=repr(value),
                )
