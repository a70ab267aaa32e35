"""``bert-export run``: a bundle answers."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from bert_export.cli.console import errors_on_one_line, print_json
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.datasets import read_dataset
from bert_export.datasets.columns import Columns, suggest_field, usual_column
from bert_export.errors import InputError
from bert_export.tasks import Task, find_task

__all__ = ["run_command"]

_PYTHON = {"True": True, "False": False, "None": None}
_MARK = "\ufeff"  # what some editors write before UTF-8


@click.command("run")
@click.argument("bundle")
@click.argument("inputs", nargs=-1)
@click.option("--task", help="Another task of the same head, such as zero-shot-classification.")
@click.option(
    "--option",
    "-p",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the task's call, such as aggregation_strategy=simple; the value is JSON "
    "where it can be.",
)
@click.option(
    "--data", metavar="FILE", help="Answer the records of a data file, as `evaluate` reads it."
)
@data_options(labels=False)
@click.option("--target", help="Whose engine answers.  [default: the bundle's default target]")
@click.option("--threads", type=int, help="Threads inside an operator.")
def run_command(
    bundle: str,
    inputs: tuple[str, ...],
    task: str | None,
    options: tuple[str, ...],
    data: str | None,
    data_options: DataOptions,
    target: str | None,
    threads: int | None,
) -> None:
    """Answer INPUTS with BUNDLE, one JSON line each.

    An input is a text, or a JSON object with the task's fields such as
    '{"question": "...", "context": "..."}'. Without inputs, lines are read from standard input.
    Entities are whole words, as with -p aggregation_strategy=first; -p aggregation_strategy=none
    gives each token, as the call in Python does. What labels a record, so that it can be
    evaluated, is not read, nor are fields that the task does not know.
    """
    with errors_on_one_line():
        from bert_export.runtime.loading import load

        with load(bundle, task=task, target=target, threads=threads) as pipeline:
            definition = find_task(pipeline.task)
            named = dict(_option(option) for option in options)
            _check_names(pipeline, named)
            call_options = {**definition.command_options, **named}
            task_of_records = _without(definition, call_options)
            fields = data_options.columns()
            for record in _records(task_of_records, inputs, data, fields):
                print_json(pipeline.ask(record, **call_options))


def _check_names(pipeline: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse an option that the task's call does not have."""
    first, *others = inspect.signature(pipeline).parameters.values()
    known = [one.name for one in (first, *others) if one is not first]
    for name in options:
        if name not in known:
            raise InputError(
                f"option {name} is unknown to the task", expected=" or ".join(known), got=name
            )


def _without(task: Task, options: Mapping[str, Any]) -> Task:
    """The task of records that need not have what options of the call give."""
    required = tuple(name for name in task.required if name not in options)
    given = tuple(name for name in task.required if name in options)
    return replace(task, required=required, optional=(*task.optional, *given))


def _records(
    task: Task, inputs: Sequence[str], data: str | None, fields: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """What is to be answered: the inputs, a data file, or lines of standard input.

    Raises:
        BertExportError: A record does not fit the task, or inputs and a file are given.
    """
    if data is not None and inputs:
        raise InputError("inputs are given twice", expected="texts or --data", got="both")
    if data is not None:
        yield from read_dataset(task, data, fields=fields).records
        return
    columns = Columns(task, fields)
    for line in inputs or _lines():
        yield _record(line, task, columns)


def _lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin):
        text = line if number else line.removeprefix(_MARK)
        if text.strip():
            yield text.rstrip("\n")


def _option(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise InputError(f"option {text!r} is malformed", expected="NAME=VALUE", got=repr(text))
    if value in _PYTHON:
        return name, _PYTHON[value]
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value


def _record(line: str, task: Task, columns: Columns) -> dict[str, Any]:
    """A line as a record: a JSON object with the task's fields, or a bare text."""
    found: dict[str, Any] = {"text": line}
    if line.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):  # then it is a text in braces
            found = json.loads(line)
    record = columns.pick(found)
    missing = [name for name in task.required if name not in record]
    if missing or not record:
        names = task.required or task.optional[:1]
        fields = ", ".join(f'"{name}": ...' for name in names)
        lacking = (missing or task.optional)[0]
        raise InputError(
            "input lacks fields of the task",
            expected=f"a JSON object {{{fields}}}",
            got=", ".join(found),
            fix=suggest_field(lacking, tuple(found))
            if usual_column(lacking, tuple(found)) and found.keys() != {"text"}
            else None,
        )
    return record
