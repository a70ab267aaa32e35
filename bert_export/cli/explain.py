"""``bert-export explain``: what the passes did, and what is left to compute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click
from rich.table import Table

from bert_export.cli import values
from bert_export.cli.console import (
    errors_on_one_line,
    print_json,
    size_text,
    usage_errors,
)
from bert_export.cli.option_groups import Command
from bert_export.cli.tables import print_table, table_of
from bert_export.errors import InputError

if TYPE_CHECKING:  # graphs are not needed to print the help
    from bert_export.explanation import Cost, Explanation, PassChanges

__all__ = ["explain_command", "print_explanation"]

_GIGA = 1e9
_IN_LAYERS = ("attention", "feed-forward", "normalization", "quantization")


@click.command("explain", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.option(
    "--target", type=values.TARGET, help="Whose graph.  [default: the bundle's default target]"
)
@click.option(
    "--shape",
    metavar="BxS",
    help="Texts x tokens that costs are given for, such as 8x128; BxCxS with choices.  "
    "[default: 1x128]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain_command(bundle: str, *, target: str | None, shape: str | None, as_json: bool) -> None:
    """Show what each graph pass did to BUNDLE, and the graph's cost per stage and layer."""
    with usage_errors():
        sizes = None if shape is None else _sizes(shape)
    with errors_on_one_line():
        from bert_export.explanation import explain
        from bert_export.runtime.hub import find_bundle

        explanation = explain(find_bundle(bundle), target=target, shape=sizes)
        if as_json:
            print_json(explanation)
        else:
            print_explanation(explanation)


def print_explanation(explanation: Explanation) -> None:
    """Print the tables of an explanation."""
    print_table(_passes(explanation.passes))
    refusals = _refusals(explanation.passes)
    if refusals is not None:
        print_table(refusals)
    print_table(_stages(explanation))
    if explanation.layers:
        print_table(_layers(explanation))


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isdecimal() for part in parts):
        raise InputError(
            f"shape {text!r} is malformed", expected="sizes such as 8x128", got=repr(text)
        )
    return tuple(map(int, parts))


def _passes(passes: Iterable[PassChanges]) -> Table:
    table = table_of(
        "passes", "pass", "sites", "refusals", "nodes", "operators", figures=("sites", "refusals")
    )
    for changes in passes:
        before, after = changes.nodes
        table.add_row(
            changes.name,
            str(changes.rewritten),
            str(len(changes.refusals)),
            f"{before} → {after}" if before != after else str(before),
            ", ".join(f"{name} {old} → {new}" for name, (old, new) in changes.operators.items()),
        )
    return table


def _refusals(passes: Iterable[PassChanges]) -> Table | None:
    """One row per pass and reason, with the nodes."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for changes in passes:
        for refusal in changes.refusals:
            nodes.setdefault((changes.name, refusal.reason), []).append(refusal.node)
    if not nodes:
        return None
    table = table_of("\nrefusals", "pass", "not rewritten because", "nodes")
    for (name, reason), names in nodes.items():
        table.add_row(name, reason, ", ".join(names))
    return table


def _stages(explanation: Explanation) -> Table:
    axes = ", ".join(f"{name} {size}" for name, size in explanation.axes.items())
    figures = ("GFLOP", "integer GOP", "weights read", "activations written")
    table = table_of(f"\ncost at {axes}", "stage", *figures, figures=figures)
    for stage, cost in explanation.stages.items():
        table.add_row(stage, *_figures(cost))
    table.add_row("total", *_figures(explanation.total), style="bold")
    return table


def _figures(cost: Cost) -> tuple[str, ...]:
    return (
        _giga(cost.flop),
        _giga(cost.integer_op),
        size_text(cost.weight_bytes),
        size_text(cost.activation_bytes),
    )


def _layers(explanation: Explanation) -> Table:
    stages = [stage for stage in _IN_LAYERS if stage in explanation.stages]
    columns = (*stages, "all")
    title = "\nGFLOP and integer GOP per encoder layer"
    table = table_of(title, "layer", *columns, figures=columns)
    for index, costs in enumerate(explanation.layers):
        table.add_row(str(index), *_operations(costs, stages))
    return table


def _operations(costs: Mapping[str, Cost], stages: Iterable[str]) -> Iterable[str]:
    from bert_export.explanation import STAGES, Cost

    for stage in stages:
        cost = costs.get(stage, Cost())
        yield _giga(cost.flop + cost.integer_op)
    yield _giga(
        sum(costs[stage].flop + costs[stage].integer_op for stage in STAGES if stage in costs)
    )


def _giga(count: int) -> str:
    value = count / _GIGA
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
