"""Which targets and precisions have a golden graph."""

from __future__ import annotations

from functools import cache

from bert_export.passes.recipe import Recipe
from bert_export.targets import TARGETS, load_target

__all__ = ["distinct_recipes"]


@cache
def distinct_recipes() -> tuple[tuple[str, str], ...]:
    """Targets and precisions whose graphs differ: of equal ones, the first in the table."""
    first: dict[tuple[Recipe, bool], tuple[str, str]] = {}
    for target in TARGETS.values():
        for precision, recipe in load_target(target).RECIPES.items():
            first.setdefault((recipe, precision == "int8"), (target.name, precision))
    return tuple(first.values())
