"""Bring a prepared graph to the form of a target and precision, by the target's recipe."""

from __future__ import annotations

import onnx_ir as ir

from bert_export.passes.convert_precision import ConvertPrecision
from bert_export.passes.graph_pass import Outcome
from bert_export.passes.recipe import Recipe, RecipeContext, run_recipe
from bert_export.target_table import find_target
from bert_export.targets.target_module import load_target
from bert_export.tasks import Task

__all__ = ["find_recipe", "fp16_conversion", "lower"]


def find_recipe(target: str, precision: str) -> Recipe:
    """The recipe of a target and precision.

    Raises:
        InputError: No target is called so, or it does not have the precision.
    """
    return load_target(find_target(target, precision)).RECIPES[precision]


def fp16_conversion(target: str, precision: str) -> ConvertPrecision | None:
    """The pass of a recipe that converts to FP16, whose numbers may overflow."""
    for step in find_recipe(target, precision):
        if isinstance(step.run, ConvertPrecision) and step.run.dtype == ir.DataType.FLOAT16:
            return step.run
    return None


def lower(
    model: ir.Model, *, target: str, precision: str, task: Task, config_layers: int
) -> tuple[Outcome, ...]:
    """Bring a prepared, perhaps quantized graph to a target's form, in place.

    Args:
        model: As prepared or quantized.
        target: Such as ``onnxruntime``.
        precision: Such as ``int8``.
        task: What is exported.
        config_layers: ``num_hidden_layers`` of the checkpoint.

    Returns:
        What each pass did, in order.

    Raises:
        InputError: No target is called so, or it does not have the precision.
        PassError: The graph is not legal, or a demand is not met.
    """
    recipe = find_recipe(target, precision)
    context = RecipeContext(task, config_layers)
    return run_recipe(recipe, model, context, origin="quantization")
