"""How ``--dry-run`` says what an export would do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bert_export.cli.console import print_json, stdout
from bert_export.cli.tables import facts_table, print_table

if TYPE_CHECKING:
    from bert_export.exporter.dry_run import MadeAlike, Plan

__all__ = ["print_plan"]


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print what would be done, the recipe of it, and how long the like of it took."""
    from bert_export.exporter import recipe_text

    if as_json:
        print_json(
            {
                "request": plan.request,
                "output": plan.output,
                "replaces": plan.replaces,
                "made_alike": plan.alike,
                "seconds": None if plan.alike is None else plan.alike.seconds,
            }
        )
        return
    print_table(facts_table("nothing is written: a dry run", dict(_facts(plan))))
    stdout.print("\nits recipe, for --recipe FILE:", style="bold")
    stdout.print(recipe_text(plan.request).rstrip())


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    request = plan.request
    yield "checkpoint", request.model
    yield "task", request.task or "as the checkpoint says"
    yield "precision", request.precision
    yield "targets", ", ".join(request.targets)
    if request.may_be_int8:
        yield "calibrated on", request.calibration or "the task's built-in set"
    if request.max_drop is not None:
        yield "accuracy budget", f"{100 * request.max_drop:g} points on {request.eval_data}"
    place = plan.output or f"TASK-{request.precision}, by the checkpoint's task"
    yield "bundle", f"{place}, which is there and would be replaced" if plan.replaces else place
    yield "time", _time(plan.alike)


def _time(alike: MadeAlike | None) -> str:
    if alike is None:
        return "not known: no bundle of this precision and these targets is here to tell"
    stages: dict[str, Any] = {name: f"{seconds:.1f}" for name, seconds in alike.stages.items()}
    listed = ", ".join(f"{name} {seconds} s" for name, seconds in stages.items())
    of = "" if alike.same_model else f" of {alike.model} with {alike.parameters:,} parameters"
    return f"about {alike.seconds:.0f} s, as {alike.bundle}{of} took: {listed}"
