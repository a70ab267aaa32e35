"""``bert-export evaluate``: what a bundle's answers are worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, stderr, stdout
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.cli.option_groups import Command
from bert_export.cli.tables import print_table

if TYPE_CHECKING:  # the metrics are not needed to print the help
    from bert_export.evaluation import Evaluation
    from bert_export.runtime.batching import Advance

__all__ = ["evaluate_command", "figure_text"]


@click.command("evaluate", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.argument("file", type=values.DATA)
@click.option(
    "--task",
    type=values.TASK,
    help="Another task of the same head, such as zero-shot-classification.",
)
@click.option(
    "--target",
    type=values.TARGET,
    help="Which of the bundle's engines answers.  [default: as load() takes it]",
)
@click.option(
    "--against",
    type=values.BUNDLE,
    metavar="BUNDLE",
    help="A bundle of the same checkpoint, such as the FP32 one, to compare answers with.",
)
@data_options()
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of masks that the tool makes."
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads inside an operator.")
@click.option("--quiet", is_flag=True, help="Print the figure that counts, and errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate_command(
    bundle: str,
    file: str,
    *,
    task: str | None,
    target: str | None,
    against: str | None,
    data_options: DataOptions,
    seed: int,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score BUNDLE's answers on FILE: its labels, or another bundle's answers.

    FILE holds records with the fields of the task: .jsonl, .json, .csv, .tsv, .conll, .txt or
    .parquet, text also as .gz; or it is a directory that the datasets library saved.
    """
    with errors_on_one_line():
        from bert_export.evaluation import evaluate

        with _progress(shown=not (quiet or as_json)) as advance:
            found = evaluate(
                bundle,
                file,
                fields=data_options.columns,
                label_map=data_options.label_map,
                task=task,
                target=target,
                against=against,
                seed=seed,
                threads=threads,
                advance=advance,
            )
        if as_json:
            print_json(found)
        elif quiet:
            stdout.print(f"{_headline(found):.4f}")
        else:
            for note in found.notes:
                stderr.print(f"note: {note}")
            print_table(_table(found))


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    disabled = not (shown and stderr.is_terminal)
    with Progress(*columns, console=stderr, transient=True, disable=disabled) as progress:
        row = progress.add_task("rows", total=None)

        def advance(done: int, total: int) -> None:
            # Behind the last row the metric and its standard error are taken, which has no steps.
            what = "scoring" if done == total else "rows"
            progress.update(row, completed=done, total=total, description=what)

        yield advance


def _headline(found: Evaluation) -> float:
    if found.scores or found.reference is None:
        return found.score
    return found.reference.agreement


def _table(found: Evaluation) -> Table:
    reference = found.reference
    cut = f", {found.truncated:,} cut to the model's length" if found.truncated else ""
    table = Table(
        title=f"{found.task}: {found.examples:,} examples of {found.data}{cut}, "
        f"{found.seconds:.1f} s",
        title_justify="left",
        show_edge=False,
    )
    table.add_column("figure", overflow="fold")
    table.add_column("bundle", justify="right", no_wrap=True)
    if reference is not None:
        table.add_column(reference.name, justify="right", overflow="fold")
    for name, value in found.scores.items():
        others = [] if reference is None else [figure_text(reference.scores[name])]
        counts = name == found.metric
        text = figure_text(value) + (_plus_minus(found.standard_error) if counts else "")
        table.add_row(name, text, *others, style="bold" if counts else "")
    if reference is not None:
        if reference.gain is not None:
            gained = f"{reference.gain:+.4f}{_plus_minus(reference.gain_error)}"
            table.add_row(f"{found.metric} gained", gained, "")
        table.add_row(reference.kind, figure_text(reference.agreement), "")
        table.add_row(
            "error of the outputs, share of their spread", figure_text(reference.output_error), ""
        )
    return table


def _plus_minus(error: float | None) -> str:
    """A standard error, behind what it is of."""
    return "" if error is None else f" \N{PLUS-MINUS SIGN} {error:.4f}"


def figure_text(value: float) -> str:
    """Four decimals; a count, such as of masked tokens, without any."""
    counted = abs(value) > 1 and float(value).is_integer()
    return f"{value:,.0f}" if counted else f"{value:.4f}"
