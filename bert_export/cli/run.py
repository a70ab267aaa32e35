"""``bert-export run``: a bundle answers."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import click
from click.shell_completion import CompletionItem

from bert_export.cli import values
from bert_export.cli.console import (
    UsageProblem,
    errors_on_one_line,
    print_json,
    stderr,
    usage_errors,
)
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.cli.option_groups import Command
from bert_export.datasets import read_dataset
from bert_export.datasets.columns import Columns, suggest_field, usual_column
from bert_export.errors import BertExportError, InputError, one_of, shown
from bert_export.tasks import Task, find_task

if TYPE_CHECKING:  # opens an engine's package
    from bert_export.bulk import Engine
    from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["run_command"]

_ENGINES = ("local", "ray")
_PYTHON = {"True": True, "False": False, "None": None}
_MARK = "\ufeff"  # what some editors write before UTF-8


class _CallOption(values.StringKind):
    """``NAME=VALUE``, an option of the call that the bundle's task is."""

    name = "option"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names with their ``=``; behind it the words that the option takes."""
        # Behind an option without its value the bundle is not parsed yet.
        bundle = ctx.params.get("bundle") or next(iter(ctx.args), None)
        if bundle is None:
            return []
        try:
            answered = _task(bundle, ctx.params.get("task"))
        except BertExportError:  # no bundle yet: nothing to offer
            return []
        name, equals, _ = incomplete.partition("=")
        if equals:
            texts = [f"{name}={word}" for word in _words(answered, name)]
        else:
            texts = [f"{name}=" for name in _call_options(answered)]
        return [CompletionItem(text) for text in texts if text.startswith(incomplete)]


@click.command("run", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.argument("inputs", nargs=-1)
@click.option(
    "--task",
    type=values.TASK,
    help="Another task of the same head, such as zero-shot-classification.",
)
@click.option(
    "--option",
    "-p",
    "options",
    type=_CallOption(),
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the task's call, such as aggregation_strategy=simple; the value is JSON "
    "where it can be.",
)
@click.option(
    "--data",
    type=values.DATA,
    metavar="FILE",
    help="Answer the records of a data file, as `evaluate` reads it.",
)
@data_options(labels=False)
@click.option(
    "--target",
    type=values.TARGET,
    help="Whose engine answers.  [default: the bundle's default target]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads inside an operator.")
@click.option(
    "--input",
    "table",
    metavar="FILE",
    help="Answer the rows of a Parquet or Arrow file, or the lines of a .txt, into --output; "
    "interrupted, the same command goes on.",
)
@click.option(
    "--output", metavar="FILE", help="Parquet: the rows of --input with their column `answer`."
)
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    help="Who answers --input: this process, or actors of a Ray cluster (RAY_ADDRESS, or this "
    "machine).  [default: local]",
)
@click.option("--workers", type=click.IntRange(min=1), help="Actors of --engine ray.")
def run_command(
    bundle: str,
    inputs: tuple[str, ...],
    task: str | None,
    options: tuple[str, ...],
    data: str | None,
    data_options: DataOptions,
    target: str | None,
    threads: int | None,
    table: str | None,
    output: str | None,
    engine: Engine | None,
    workers: int | None,
) -> None:
    """Answer INPUTS with BUNDLE, one JSON line each.

    An input is a text, or a JSON object with the task's fields such as
    '{"question": "...", "context": "..."}'. Without inputs, lines are read from standard input.
    Entities are whole words, as with -p aggregation_strategy=first; -p aggregation_strategy=none
    gives each token, as the call in Python does. What labels a record, so that it can be
    evaluated, is not read, nor are fields that the task does not know.
    """
    with usage_errors():
        named = dict(_option(option) for option in options)
    with errors_on_one_line():
        _check_call(bundle, task, named)
        if table is not None or output is not None:
            if table is None or output is None or inputs or data is not None:
                raise UsageProblem(
                    InputError(
                        "input and output do not go together with what is given",
                        expected="--input FILE and --output FILE, without texts and --data",
                    )
                )
            if workers is not None and engine != "ray":
                raise UsageProblem(
                    InputError("workers are of the engine ray", expected="--engine ray")
                )
            call = _TableCall(
                task, target, threads, data_options.columns, named, engine or "local", workers
            )
            _answer_table(bundle, table, output, call)
            return
        if engine is not None or workers is not None:
            raise UsageProblem(
                InputError(
                    "engine and workers are of a file's rows",
                    expected="--input FILE and --output FILE",
                )
            )
        if not inputs and data is None and sys.stdin is None:
            raise UsageProblem(
                InputError(
                    "standard input is closed",
                    expected="texts as arguments, or lines on standard input",
                )
            )
        from bert_export.runtime.loading import load

        with load(bundle, task=task, target=target, threads=threads) as pipeline:
            definition = find_task(pipeline.task)
            call_options = {**definition.command_options, **named}
            task_of_records = _without(definition, call_options)
            fields = data_options.columns
            for record in _records(task_of_records, inputs, data, fields):
                try:
                    answer = pipeline.ask(record, **call_options)
                except InputError as error:
                    if named and _is_refused(pipeline, named, error):
                        raise UsageProblem(error) from None
                    raise
                print_json(answer)


@dataclass(frozen=True, slots=True)
class _TableCall:
    """How the rows of a file are answered."""

    task: str | None
    target: str | None
    threads: int | None
    fields: Mapping[str, str]
    options: Mapping[str, Any]
    engine: Engine
    workers: int | None


def _answer_table(bundle: str, table: str, output: str, call: _TableCall) -> None:
    """Answer a file of rows, with a bar where standard error is a terminal."""
    from tqdm import tqdm

    from bert_export.bulk import answer_file

    own = _task(bundle, call.task)
    with tqdm(unit=" rows", disable=None, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        rows = answer_file(
            table,
            output,
            bundle,
            task=call.task,
            target=call.target,
            threads=call.threads,
            fields=call.fields,
            options={**own.command_options, **call.options},
            engine=call.engine,
            workers=call.workers,
            advance=advance,
        )
    stderr.print(f"{rows:,} rows answered in {output}")


def _is_refused(
    pipeline: Pipeline[Any, Any, Any], options: Mapping[str, Any], error: InputError
) -> bool:
    """Whether options are refused by that error whatever the input is."""
    try:
        pipeline([], **options)
    except InputError as same:
        return str(same) == str(error)
    return False


def _check_call(bundle: str, task: str | None, options: Mapping[str, Any]) -> None:
    """Refuse an option that the task's call does not have, before an engine is opened.

    Raises:
        BertExportError: There is no bundle.
        UsageProblem: An option is unknown.
    """
    if not options:
        return
    answered = _task(bundle, task)
    known = _call_options(answered)
    for name in options:
        if name not in known:
            raise UsageProblem(
                InputError(
                    f"option {shown(name)} is unknown to the task {answered.name}",
                    **one_of(name, known),
                )
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
        raise UsageProblem(
            InputError("inputs are given twice", expected="texts or --data", got="both")
        )
    if data is not None:
        yield from read_dataset(task, data, fields=fields).records
        return
    columns = Columns(task, fields)
    for line in inputs or _lines():
        yield _record(line, task, columns)


def _task(bundle: str, name: str | None) -> Task:
    """The task that is answered.

    Raises:
        BertExportError: There is no bundle, or no such task.
    """
    from bert_export.bundle import read_manifest
    from bert_export.runtime.hub import find_bundle

    if name is not None:
        return find_task(name)
    return find_task(read_manifest(find_bundle(bundle)).task)


def _call_options(task: Task) -> list[str]:
    """Names of what a call takes besides its input."""
    from bert_export.runtime.loading import pipeline_class

    _self, _inputs, *others = inspect.signature(pipeline_class(task).__call__).parameters.values()
    return [one.name for one in others]


def _words(task: Task, name: str) -> tuple[str, ...]:
    """The words that an option takes, where it is one of the task's post-processing."""
    hints = get_type_hints(task.postprocessing)
    return get_args(hints[name]) if get_origin(hints.get(name)) is Literal else ()


def _lines() -> Iterator[str]:
    """Standard input, which is UTF-8 whatever the surroundings say.

    Raises:
        InputError: A line is not.
    """
    if sys.stdin.isatty():
        stderr.print("reading lines from standard input; Ctrl-D ends them", style="dim")
    for number, line in enumerate(sys.stdin.buffer):
        try:
            decoded = line.decode()
        except UnicodeDecodeError as error:
            raise InputError(
                f"line {number + 1} of standard input is not UTF-8",
                expected="UTF-8",
                got=f"byte 0x{line[error.start]:02x} at {error.start}",
                fix="Convert it, such as by: iconv -t UTF-8 -f ENCODING",
            ) from None
        text = decoded if number else decoded.removeprefix(_MARK)
        if text.strip():
            yield text.rstrip("\r\n")


def _option(text: str) -> tuple[str, Any]:
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise InputError(
            f"option {shown(text)} is malformed", expected="NAME=VALUE", got=shown(text)
        )
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
        names = task.input_fields
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
