"""What an export is asked for: every option of it in one value, which the manifest keeps.

The structs are plain data, JSON both ways, and need nothing but msgspec: a service reads them with
the manifest. Which options belong together is checked by
:func:`bert_export.exporter.request.check_request`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from bert_export.errors import TracingError
from bert_export.tasks.interface import TextForm

__all__ = [
    "AUTO",
    "DEFAULT_OBSERVER",
    "DEFAULT_OPSET",
    "INT8_MODES",
    "OBSERVER_NAMES",
    "OPSETS",
    "CheckpointOptions",
    "EngineOptions",
    "ExportRequest",
    "QuantizationOptions",
    "check_opset",
]

AUTO = "auto"
"""In the place of a target or a precision: the fastest that can be had here, by measurement."""

OPSETS = range(20, 24)
"""Opsets that the passes and engines were tested with (20 brings Gelu, 23 Attention)."""

DEFAULT_OPSET = 23

INT8_MODES = ("static", "dynamic")

OBSERVER_NAMES = ("min-max", "moving-average", "percentile", "entropy", "mse")
"""Keys of :data:`bert_export.quantization.calibration.observers.OBSERVERS`."""

DEFAULT_OBSERVER = "min-max"


def check_opset(opset: int) -> None:
    """Refuse an opset that graphs are not traced with.

    Raises:
        TracingError: It is none of :data:`OPSETS`.
    """
    if opset not in OPSETS:
        raise TracingError(
            f"opset {opset} is not supported",
            expected=f"{OPSETS.start} to {OPSETS.stop - 1}",
            got=opset,
        )


class QuantizationOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a graph is brought to INT8.

    The defaults lost least on held-out text of all demonstration heads (difference of the logits
    from float, relative to their spread: plain ranges 2.3 to 13 %, the defaults 0.7 to 4.2 %;
    without channel shifting and its room 2 to 36 % more than that; without GPTQ 8 to 18 % more;
    without channel splitting or without SmoothQuant twice as much; of the observers, ``min-max``
    was best once outliers are equalized). An int8 embedding table made no difference that could be
    told from noise.

    Args:
        mode: ``static``: ranges are set by calibration, and a text's answer does not depend on
            what it is batched with. ``dynamic``: each call takes its ranges from its own padded
            batch; there for comparison.
        observer: How a range is chosen, a key of
            :data:`bert_export.quantization.calibration.observers.OBSERVERS`.
        channel_shifting: Whether the middles of channels move into biases, where that costs
            nothing.
        smoothquant: Whether outliers may move from activations into weights, layer by layer, where
            it helps.
        channel_splitting: Whether outlier channels behind an activation function may be split.
        gptq: Whether a weight's rows make up for the rounding of those before them; otherwise each
            goes to its nearest quantized value.
        bias_correction: Whether biases take over the mean error of their layer.
        embeddings: Whether the word embedding table is stored in int8; never where a float decoder
            has the same numbers.
        excluded_layers: Layers to leave in float, with the reason that the plan states.
    """

    mode: str = "static"
    observer: str = DEFAULT_OBSERVER
    channel_shifting: bool = True
    smoothquant: bool = True
    channel_splitting: bool = True
    gptq: bool = True
    bias_correction: bool = True
    embeddings: bool = True
    excluded_layers: dict[str, str] = {}


class EngineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For which GPUs and shapes engines are built.

    Args:
        gpus: Names or compute capabilities. When empty, engines are built for this machine's GPU.
        batch_sizes: Rows per call: smallest, usual and largest.
        lengths: Upper ends of the buckets of lengths, in tokens; one profile each.
        profile_from: File of the lengths of a user's texts, see
            :func:`bert_export.targets.profiles.read_lengths`; in the place of ``lengths``.
    """

    gpus: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()
    profile_from: str | None = None


class CheckpointOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a checkpoint does not say of itself, and the user knows.

    Args:
        labels: Names of the head's labels, in id order.
        lower_case: Whether text is lower-cased before it is split.
        gelu: The form of GELU that the checkpoint was trained with: ``erf``, the exact one, or its
            approximation by ``tanh``.
    """

    labels: tuple[str, ...] = ()
    lower_case: bool | None = None
    gelu: Literal["erf", "tanh"] | None = None


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every option of an export; where it is written and who listens are not among them.

    Args:
        task: A key of :data:`bert_export.tasks.TASKS`; read from the checkpoint's
            ``architectures`` when ``None``.
        model: A directory, a hub id, ``demo`` or ``demo:<name>``.
        checkpoint: What the checkpoint does not say of itself; nothing when ``None``.
        max_length: Tokens per row; the checkpoint's own when ``None``.
        precision: One of :data:`bert_export.exporter.PRECISIONS` that every target has; or
            :data:`AUTO`: the fastest that ``max_drop`` allows.
        targets: Names in :data:`bert_export.targets.TARGETS`, of which the first is the bundle's
            default unless :data:`AUTO` finds it; or :data:`AUTO` alone; or none, for those of
            :func:`bert_export.exporter.default_targets.default_targets`.
        shapes: Rows x tokens that :data:`AUTO` measures, such as ``1x16,8x128``; when ``None``, the
            usual ones as far as the checkpoint's rows reach.
        opset: ONNX opset.
        text_input: Whether each target gets a second graph, which takes texts; or the form of its
            texts, where the task has several.
        calibration: Name of a built-in set, or a file as
            :func:`bert_export.datasets.read_dataset` takes it; the task's own set when ``None``.
        quantization: How INT8 is done; the defaults when ``None``.
        cpu: The kind of processor that INT8 is made for, one of
            :data:`bert_export.runtime.processor.PROCESSORS`; this machine's when ``None``.
        max_drop: The most that INT8 may cost on ``eval_data``, of the task's metric where it is
            labelled, else of the agreement with float; 0.005 is half a point. Layers go back to
            float until it holds.
        eval_data: A file as :func:`bert_export.datasets.read_dataset` takes it.
        keep_best: Whether the best that was found is written where ``max_drop`` cannot be kept.
        fields: By field, the column of ``calibration`` and ``eval_data`` that holds it where it has
            another name.
        label_map: The checkpoint's label by that of ``eval_data``, each a name or an id.
        engines: For which GPUs and shapes targets with a builder of their own get their engine;
            they get their graph alone when ``None``.
        threads: Threads inside an operator while calibrating, verifying and timing.
        outputs: Inner values that graphs give beside the head's answers, of
            :data:`bert_export.tasks.interface.INNER_OUTPUTS`.
        pooled_layers: A sentence's vector is pooled from the mean of the last so many layers'
            states; from the last layer's alone when ``None``.
    """

    task: str | None = None
    model: str = "demo"
    checkpoint: CheckpointOptions | None = None
    max_length: int | None = None
    precision: str = "fp32"
    targets: tuple[str, ...] = ()
    shapes: str | None = None
    opset: int = DEFAULT_OPSET
    text_input: bool | TextForm = False
    calibration: str | None = None
    quantization: QuantizationOptions | None = None
    cpu: str | None = None
    max_drop: float | None = None
    eval_data: str | None = None
    keep_best: bool = False
    fields: dict[str, str] = {}
    label_map: dict[str, str] = {}
    engines: EngineOptions | None = None
    threads: int | None = None
    outputs: tuple[str, ...] = ()
    pooled_layers: int | None = None

    @property
    def is_auto(self) -> bool:
        """Whether the target is found by measurement."""
        return AUTO in self.targets

    @property
    def finds_precision(self) -> bool:
        """Whether the precision is found by measurement."""
        return self.precision == AUTO

    @property
    def is_measured(self) -> bool:
        """Whether target or precision is found by measurement."""
        return self.is_auto or self.finds_precision

    @property
    def may_be_int8(self) -> bool:
        """Whether INT8 is made, be it beside other precisions."""
        return self.precision == "int8" or self.finds_precision

    @property
    def has_budget(self) -> bool:
        """Whether an accuracy budget is named, be it in part."""
        return self.max_drop is not None or self.eval_data is not None or self.keep_best

    def without_int8(self) -> ExportRequest:
        """The same without the options that INT8 alone has."""
        return msgspec.structs.replace(
            self,
            calibration=None,
            quantization=None,
            cpu=None,
            max_drop=None,
            eval_data=None,
            keep_best=False,
            fields={},
            label_map={},
        )

    def for_targets(self, targets: Sequence[str], precision: str) -> ExportRequest:
        """The same for other targets, which are named; options of INT8 stay with INT8 alone."""
        request = msgspec.structs.replace(
            self, targets=tuple(targets), precision=precision, shapes=None
        )
        return request if precision == "int8" else request.without_int8()
