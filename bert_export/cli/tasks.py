"""``bert-export tasks``: the table of tasks."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from bert_export.cli.console import errors_on_one_line, print_json, stdout
from bert_export.cli.demonstrations import demonstration_lines
from bert_export.cli.option_groups import Command
from bert_export.cli.tables import print_table
from bert_export.demonstration_table import find_demonstrations
from bert_export.tasks import TASKS, CheckpointFacts, Task

__all__ = ["tasks_command"]


@click.command("tasks", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def tasks_command(*, as_json: bool) -> None:
    """List tasks with their head, demonstration checkpoint and outputs."""
    with errors_on_one_line():
        if as_json:
            print_json([_row(task) for task in TASKS.values()])
        else:
            print_table(_table())
            stdout.print()
            stdout.print(demonstration_lines().removeprefix("\b\n"))


def _table() -> Table:
    table = Table(show_edge=False)
    for column in ("task", "head", "demonstration", "outputs", "answers with"):
        table.add_column(column, overflow="fold")
    for task in TASKS.values():
        table.add_row(
            task.name,
            task.head,
            _demo(task) or "none",
            ", ".join(output.name for output in task.outputs),
            task.summary,
        )
    return table


def _row(task: Task) -> dict[str, Any]:
    """The task's facts for a machine."""
    summaries = {one.name: one.summary for one in find_demonstrations()}
    return {
        "task": task.name,
        "summary": task.summary,
        "head": task.head,
        "demo": _demo(task),
        "demonstration": summaries.get(task.demo or ""),
        "outputs": [output.name for output in task.outputs],
        "metric": task.metric(CheckpointFacts()),
    }


def _demo(task: Task) -> str | None:
    return f"demo:{task.demo}" if task.demo else None
