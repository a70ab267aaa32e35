"""What a recipe is: passes in an order, the reason for each position, and how a recipe is run.

Between two passes the graph is checked against :mod:`bert_export.passes.legality`. Where a step
demands a number of sites and its pass rewrites another number, the export fails and names the
nearest miss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from bert_export.passes.fused_attention import count_attention
from bert_export.passes.graph_pass import GraphPass, Outcome, require_count
from bert_export.passes.legality import check_legal
from bert_export.tasks import Task

__all__ = ["Recipe", "RecipeContext", "Recipes", "Step", "every_attention", "run_recipe"]


@dataclass(frozen=True, slots=True)
class RecipeContext:
    """What a step may know besides the graph.

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
    demand: Callable[[ir.Model, RecipeContext], int | None] | None = None
    sites: str = "sites"


Recipe = tuple[Step, ...]
Recipes = Mapping[str, Recipe]
"""By precision."""


def every_attention(model: ir.Model, _: RecipeContext) -> int:
    """A step's demand: all ``Attention`` nodes that the graph has before it."""
    return count_attention(model)


def run_recipe(
    recipe: Recipe, model: ir.Model, context: RecipeContext, *, origin: str
) -> tuple[Outcome, ...]:
    """Run the steps of a recipe, in place.

    Args:
        recipe: In order.
        model: The graph.
        context: What steps may know besides it.
        origin: What the graph comes from, for the message of a graph that is not legal.

    Returns:
        What each pass did, in order.

    Raises:
        PassError: The graph is not legal, or a demand is not met.
    """
    outcomes: list[Outcome] = []
    check_legal(model, origin)
    for step in recipe:
        if step.where is not None and not step.where(context.task):
            continue
        demand = None if step.demand is None else step.demand(model, context)
        outcome = step.run(model)
        check_legal(model, f"pass {step.run.name}")
        if demand is not None:
            require_count(outcome, demand, step.sites)
        outcomes.append(outcome)
    return tuple(outcomes)
