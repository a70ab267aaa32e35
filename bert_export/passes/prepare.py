"""The recipe that all targets share: it fuses and prunes the float graph.

It runs before anything is observed or quantized, so that all targets share one calibration. The
recipes of the targets follow it, see :mod:`bert_export.targets`.

Three further passes were written, measured on MiniLM in INT8 in paired runs, and taken out again:

- One product for queries, keys and values took 4 % less time at 1x16, and 4 to 5 % more at 8x128
  and 32x64: the Split copies more than one product saves.
- The softmax scale folded into the queries' weights gained nothing: ``Attention`` scales inside its
  first product.
- ``token_type_ids`` dropped for tasks without pairs took 4 % less time at 1x16 and as much at
  larger shapes, but callers lose an input.
"""

from __future__ import annotations

import onnx_ir as ir

from bert_export.passes.drop_noops import DropNoops
from bert_export.passes.fold_biases import FOLDED_PER_LAYER, FoldBiases
from bert_export.passes.fold_constants import FoldConstants
from bert_export.passes.fuse_attention import FuseAttention, is_relative
from bert_export.passes.fuse_gelu import FuseGelu
from bert_export.passes.fuse_layer_normalization import FuseLayerNormalization
from bert_export.passes.graph_pass import Outcome
from bert_export.passes.prune_first_token import PruneFirstToken
from bert_export.passes.prune_positions import PruneLastPosition, PruneMaskedPositions
from bert_export.passes.recipe import Recipe, RecipeContext, Step, run_recipe
from bert_export.tasks import Task
from bert_export.tasks.interface import ATTENTIONS, HIDDEN_STATES, SOURCE

__all__ = ["PREPARE", "prepare"]


_CACHE_RANK = 4
"""Axes of the keys and values that a graph takes and keeps, whose biases stay."""


def _gives(model: ir.Model, kind: str) -> bool:
    """Whether a graph gives inner values of a kind."""
    return any(str(value.name).partition(".")[0] == kind for value in model.graph.outputs)


def _every_layer(model: ir.Model, context: RecipeContext) -> int | None:
    """All layers, where ``Attention`` exists and can compute what a layer does."""
    opset = model.graph.opset_imports.get("", 0)
    fuses = opset >= FuseAttention.opset and not is_relative(model)
    # ``Attention`` keeps its weights inside.
    return context.layers if fuses and not _gives(model, ATTENTIONS) else None


def _every_foldable_bias(model: ir.Model, context: RecipeContext) -> int | None:
    """All but those of keys and values that a cache keeps: it holds what their layers compute.

    Where a layer attends to an encoder's text too, the bias behind that folds into the norm before
    it, as that of the feed-forward layer does.
    """
    layers = _every_layer(model, context)
    if layers is None:
        return None
    kept = sum(len(value.shape or ()) == _CACHE_RANK for value in model.graph.inputs)
    crossing = sum(SOURCE in (value.shape or ()) for value in model.graph.outputs) // 2
    return FOLDED_PER_LAYER * layers - kept + crossing


def _one_head(model: ir.Model, context: RecipeContext) -> int | None:
    """The head, where the task says that it reads the first token alone, and nobody the others."""
    reads_first = context.task.scored_positions == "first_token"
    return 1 if context.layers and reads_first and not _gives(model, HIDDEN_STATES) else None


def _one_output(_: ir.Model, __: RecipeContext) -> int | None:
    return 1


PREPARE: Recipe = (
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
        where=lambda task: task.scored_positions == "masks",
        demand=_one_output,
        sites="outputs",
    ),
    Step(
        run=PruneLastPosition(),
        why="as above; changes the interface: logits (B, V)",
        where=lambda task: task.scored_positions == "last_token",
        demand=_one_output,
        sites="outputs",
    ),
)


def prepare(model: ir.Model, *, task: Task, config_layers: int) -> tuple[Outcome, ...]:
    """Fuse and prune the float graph, in place.

    Args:
        model: As traced.
        task: What is exported.
        config_layers: Layers that attend to their own tokens, all of the checkpoint's.

    Returns:
        What each pass did, in order.

    Raises:
        PassError: The graph is not legal, or a demand is not met.
    """
    return run_recipe(PREPARE, model, RecipeContext(task, config_layers), origin="tracing")
