"""The path of a search for an accuracy budget, as a table."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table

from bert_export.bundle import SearchRecord

__all__ = ["search_table"]

_SHOWN = 8


def search_table(search: SearchRecord) -> Group:
    """Every mixture that was measured, and the places that disturb the outputs most."""
    return Group(_path(search), _places(search))


def _path(search: SearchRecord) -> Table:
    verdict = "kept" if search.met else "NOT kept"
    table = Table(
        title=f"accuracy budget of {100 * search.budget:g} points {verdict}: {search.metric} on "
        f"{search.examples:,} examples of {search.data}, in float {search.baseline:.4f}",
        title_justify="left",
        show_edge=False,
    )
    for name in ("layers in float", "work in float", search.metric, "drop, points"):
        table.add_column(name, justify="right")
    table.add_column("")
    for index, mixture in enumerate(search.path):
        layers = sum(len(search.places[place].layers) for place in mixture.floats)
        table.add_row(
            str(layers),
            f"{100 * mixture.float_share:.1f} %",
            f"{mixture.score:.4f}",
            f"{100 * mixture.drop:.2f}",
            "chosen" if index == search.chosen else "",
            style="bold" if index == search.chosen else "",
        )
    return table


def _places(search: SearchRecord) -> Table:
    table = Table(
        title="\nwhat INT8 disturbs most, each place alone",
        title_justify="left",
        show_edge=False,
    )
    table.add_column("layers", overflow="fold")
    table.add_column("error of the outputs", justify="right")
    table.add_column("work", justify="right")
    table.add_column("now")
    floats = set(search.path[search.chosen].floats)
    ranked = sorted(range(len(search.places)), key=lambda i: -search.places[i].disturbance)
    for index in ranked[:_SHOWN]:
        place = search.places[index]
        table.add_row(
            ", ".join(layer.removeprefix("bert.") for layer in place.layers),
            f"{100 * place.disturbance:.3g} %",
            f"{100 * place.cost:.1f} %",
            "float" if index in floats else "int8",
        )
    return table
