"""Which passes run, in which order, and why each stands where it does.

:data:`PREPARE` works on the float graph before anything is observed or quantized and is the same
for all targets: they share one calibration. :data:`RECIPES` then brings what the quantizer left to
the form of one target and precision. Between two passes the graph is checked against
:mod:`bert_export.passes.legality`; where a step demands a number of sites and another is rewritten,
the export fails and names the nearest miss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from bert_export.errors import PassError
from bert_export.passes.bound_masks import BoundMasks
from bert_export.passes.convert_precision import ConvertPrecision
from bert_export.passes.drop_noops import DropNoops
from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.fold_biases import FOLDED_PER_LAYER, FoldBiases
from bert_export.passes.fold_constants import FoldConstants
from bert_export.passes.fuse_attention import FuseAttention, is_relative
from bert_export.passes.fuse_gelu import FuseGelu
from bert_export.passes.fuse_layer_normalization import FuseLayerNormalization
from bert_export.passes.fuse_multi_head_attention import FuseMultiHeadAttention
from bert_export.passes.fused_attention import count_attention
from bert_export.passes.graph_pass import GraphPass, Outcome, require_count
from bert_export.passes.legality import check_legal
from bert_export.passes.lower_opset import LowerOpset
from bert_export.passes.lower_quantized_linear import LowerQuantizedLinear, count_quantized
from bert_export.passes.prune_first_token import PruneFirstToken
from bert_export.passes.prune_positions import PruneLastPosition, PruneMaskedPositions
from bert_export.passes.share_initializers import ShareInitializers
from bert_export.passes.skip_full_mask import SkipFullMask
from bert_export.tasks import Task

__all__ = [
    "PREPARE",
    "RECIPES",
    "Site",
    "Step",
    "distinct_recipes",
    "fp16_conversion",
    "lower",
    "prepare",
]

_FIRST_TOKEN_HEADS = (
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
)


@dataclass(frozen=True, slots=True)
class Site:
    """What a step may know of the model besides its graph.

    Args:
        task: What is exported.
        layers: Of the encoder.
    """

    task: Task
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One position of a recipe.

    Args:
        run: The pass.
        why: Why it stands here.
        where: Whether it runs for a task; always when ``None``.
        demand: How many sites it must rewrite; ``None``, or a call that gives ``None``, for any.
        sites: What those are, in the plural.
    """

    run: GraphPass
    why: str
    where: Callable[[Task], bool] | None = None
    demand: Callable[[ir.Model, Site], int | None] | None = None
    sites: str = "sites"


def _every_layer(model: ir.Model, site: Site) -> int | None:
    """All layers, where the operator is there and can say what a layer does."""
    opset = model.graph.opset_imports.get("", 0)
    return site.layers if opset >= FuseAttention.opset and not is_relative(model) else None


def _every_foldable_bias(model: ir.Model, site: Site) -> int | None:
    layers = _every_layer(model, site)
    return None if layers is None else FOLDED_PER_LAYER * layers


def _one_head(_: ir.Model, site: Site) -> int | None:
    return 1 if site.layers and site.task.head in _FIRST_TOKEN_HEADS else None


def _one_output(_: ir.Model, __: Site) -> int | None:
    return 1


def _every_quantized(model: ir.Model, _: Site) -> int | None:
    return count_quantized(model)


PREPARE = (
    Step(
        run=FoldConstants(),
        why="first: the patterns below look for constants, not for what computes them",
    ),
    Step(
        run=DropNoops(),
        why="before the fusions, whose patterns have no place for an identity",
    ),
    Step(
        run=FuseLayerNormalization(),
        why="before pruning, which knows the norm as row-wise and not its eight operators",
    ),
    Step(
        run=FuseGelu(),
        why="at any place before quantization: its result is what is observed and quantized",
    ),
    Step(
        run=FuseAttention(),
        why="before pruning, which goes through queries of the fused form only; Attention with "
        "three axes needs no Transpose and took 0.55 to 0.7 of the time of the written-out form, "
        "and its mask is made once for all layers",
        demand=_every_layer,
        sites="attention layers",
    ),
    Step(
        run=FoldBiases(),
        why="once attention is one node, and before pruning puts others behind it; an addition in "
        "FP32 and the bias of a product in INT8 take up to a tenth of the smallest product's time",
        demand=_every_foldable_bias,
        sites="biases",
    ),
    Step(
        run=PruneFirstToken(),
        why="on the float graph: the pruned layer's activations are observed as they will be",
        where=lambda task: "sequence" not in task.outputs[0].shape,
        demand=_one_head,
        sites="heads",
    ),
    Step(
        run=PruneMaskedPositions(),
        why="as above; changes the interface: input masked_positions, logits (M, V)",
        where=lambda task: task.name == "fill-mask",
        demand=_one_output,
        sites="outputs",
    ),
    Step(
        run=PruneLastPosition(),
        why="as above; changes the interface: logits (B, V)",
        where=lambda task: task.name == "text-generation",
        demand=_one_output,
        sites="outputs",
    ),
)

_SHARE = Step(
    run=ShareInitializers(),
    why="last: names of weights are lost, which the quantizer and the lowering read",
)

_SKIP_MASK = Step(
    run=SkipFullMask(),
    why="after quantization: no other pass looks into the branches of an If; saves a tenth of "
    "attention where nothing is padded, and costs about a microsecond a layer",
)

_LOWER_INT8 = Step(
    run=LowerQuantizedLinear(),
    why="before anything that reads weights: it replaces Q/DQ, which ONNX Runtime would compute",
    demand=_every_quantized,
    sites="quantized linear layers",
)

_EXPAND = Step(
    run=ExpandAttention(),
    why="first: an FP32 Attention of opset 23 fails to build, and the written-out form is the "
    "pattern that the builder fuses into one kernel in FP16 and BF16",
    demand=lambda model, _: count_attention(model),
    sites="attention layers",
)

_MULTI_HEAD = Step(
    run=FuseMultiHeadAttention(),
    why="first: the CUDA provider's fused kernels stand behind this operator",
    demand=lambda model, _: count_attention(model),
    sites="attention layers",
)

_BOUND_MASKS = Step(
    run=BoundMasks(),
    why="before the conversion, which would make -3.4e38 infinite; in FP32 too, so that one graph "
    "is the other's twin",
)

_FP16 = Step(
    run=ConvertPrecision(ir.DataType.FLOAT16, keep=("Softmax",)),
    why="after all that writes nodes; the casts around Softmax cost nothing: the builder still "
    "fuses attention and asks for as much memory as without",
)

_BF16 = Step(
    run=ConvertPrecision(ir.DataType.BFLOAT16, keep=("Softmax",)),
    why="as in FP16; of BF16's 8 bits a softmax would lose most",
)

_OLD_OPSET = Step(
    run=LowerOpset(), why="last: it checks every node that is written, in the type that it has"
)

_PLAIN_FP32 = (_EXPAND, _BOUND_MASKS, _OLD_OPSET)
_PLAIN_FP16 = (_EXPAND, _BOUND_MASKS, _FP16, _OLD_OPSET)
_PLAIN_BF16 = (_EXPAND, _BOUND_MASKS, _BF16, _OLD_OPSET)
"""TensorRT's form; INT8 is the FP16 one, around the Q/DQ that the quantizer wrote."""

_WRITE_OUT = Step(
    run=ExpandAttention(),
    why="first: OpenVINO joins the written-out form into one kernel; the operator of opset 23 took "
    "3 to 9 % longer in INT8, and as long in FP32",
    demand=lambda model, _: count_attention(model),
    sites="attention layers",
)

_SHARE_STANDARD = Step(run=ShareInitializers(standard=True), why=_SHARE.why)

RECIPES: Mapping[tuple[str, str], tuple[Step, ...]] = {
    ("onnxruntime", "fp32"): (_SKIP_MASK, _SHARE),
    ("onnxruntime", "int8"): (_LOWER_INT8, _SKIP_MASK, _SHARE),
    ("openvino", "fp32"): (_WRITE_OUT, _SHARE_STANDARD),
    ("openvino", "bf16"): (_WRITE_OUT, _SHARE_STANDARD),
    ("openvino", "int8"): (_WRITE_OUT, _SHARE_STANDARD),
    ("onnxruntime-cuda", "fp32"): (_MULTI_HEAD, _BOUND_MASKS),
    ("onnxruntime-cuda", "fp16"): (_MULTI_HEAD, _BOUND_MASKS, _FP16),
    ("tensorrt", "fp32"): _PLAIN_FP32,
    ("tensorrt", "fp16"): _PLAIN_FP16,
    ("tensorrt", "bf16"): _PLAIN_BF16,
    ("tensorrt", "int8"): _PLAIN_FP16,
    ("tensorrt-rtx", "fp32"): _PLAIN_FP32,
    ("tensorrt-rtx", "fp16"): _PLAIN_FP16,
    ("tensorrt-rtx", "bf16"): _PLAIN_BF16,
    ("tensorrt-rtx", "int8"): _PLAIN_FP16,
    ("onnxruntime-tensorrt", "fp32"): _PLAIN_FP32,
    ("onnxruntime-tensorrt", "fp16"): _PLAIN_FP16,
    ("onnxruntime-tensorrt", "int8"): _PLAIN_FP16,
}
"""Written and left out, by measurement (MiniLM INT8, paired runs): ``merge_qkv`` is 4 % faster at
1x16 and 4 to 5 % slower at 8x128 and 32x64, where its Split copies more than one product saves;
``fold_scale`` gains nothing, as Attention scales inside its first product; ``drop_token_types`` is
4 % faster at 1x16 and even at larger shapes, but takes an input away."""


def distinct_recipes() -> tuple[tuple[str, str], ...]:
    """Targets and precisions whose graphs differ: of equal ones, the first in the table."""
    first: dict[tuple[tuple[Step, ...], bool], tuple[str, str]] = {}
    for (target, precision), steps in RECIPES.items():
        first.setdefault((steps, precision == "int8"), (target, precision))
    return tuple(first.values())


def fp16_conversion(target: str, precision: str) -> ConvertPrecision | None:
    """The step of a recipe that makes FP16 of float numbers, which may overflow."""
    passes = [step.run for step in RECIPES[target, precision]]
    return next(
        (
            one
            for one in passes
            if isinstance(one, ConvertPrecision) and one.dtype == ir.DataType.FLOAT16
        ),
        None,
    )


def prepare(
    model: ir.Model, *, task: Task, config_layers: int, skip: Collection[str] = ()
) -> tuple[Outcome, ...]:
    """Fuse and prune the float graph, in place.

    Args:
        model: As traced.
        task: What is exported.
        config_layers: ``num_hidden_layers`` of the checkpoint.
        skip: Names of passes to leave out.

    Returns:
        What each pass did, in order.

    Raises:
        PassError: The graph is not legal, or a demand is not met.
    """
    return _run(PREPARE, model, "tracing", Site(task, config_layers), skip)


def lower(
    model: ir.Model,
    *,
    target: str,
    precision: str,
    task: Task,
    config_layers: int,
    skip: Collection[str] = (),
) -> tuple[Outcome, ...]:
    """Bring a prepared, perhaps quantized graph to a target's form, in place.

    Args:
        model: As prepared or quantized.
        target: Such as ``onnxruntime``.
        precision: Such as ``int8``.
        task: What is exported.
        config_layers: ``num_hidden_layers`` of the checkpoint.
        skip: Names of passes to leave out.

    Returns:
        What each pass did, in order.

    Raises:
        PassError: There is no such recipe, the graph is not legal, or a demand is not met.
    """
    recipe = RECIPES.get((target, precision))
    if recipe is None:
        raise PassError(
            f"recipe for {target} in {precision} is unknown",
            expected=", ".join(f"{known} {kind}" for known, kind in RECIPES),
        )
    return _run(recipe, model, "quantization", Site(task, config_layers), skip)


def _run(
    steps: Sequence[Step], model: ir.Model, origin: str, site: Site, skip: Collection[str]
) -> tuple[Outcome, ...]:
    outcomes: list[Outcome] = []
    check_legal(model, origin)
    for step in steps:
        if step.run.name in skip or (step.where is not None and not step.where(site.task)):
            continue
        demand = None if step.demand is None else step.demand(model, site)
        outcome = step.run(model)
        check_legal(model, f"pass {step.run.name}")
        if demand is not None:
            require_count(outcome, demand, step.sites)
        outcomes.append(outcome)
    return tuple(outcomes)
