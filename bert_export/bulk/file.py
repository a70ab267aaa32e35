"""A file of rows is answered into a Parquet file, on one machine or with Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from bert_export.bulk.answers import ANSWER
from bert_export.bulk.ray_engine import answer_with_ray
from bert_export.bulk.source import open_source
from bert_export.bulk.work import PART_ROWS, Work, Worker
from bert_export.errors import InputError, one_of
from bert_export.runtime.batching import Advance
from bert_export.runtime.checks import check_whole, check_whole_or_none

__all__ = ["Engine", "answer_file"]

Engine = Literal["local", "ray"]
"""Who answers a file: this process, or actors of a Ray cluster."""


def answer_file(
    source: str | Path,
    output: str | Path,
    bundle: str | Path,
    *,
    task: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    fields: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    column: str = ANSWER,
    engine: Engine = "local",
    workers: int | None = None,
    part_rows: int = PART_ROWS,
    advance: Advance | None = None,
) -> int:
    """Answer a file of rows: the same columns and rows, in their order, and their answers.

    Memory is that of a few thousand rows. What is done stands beside the output, in a folder
    ``OUTPUT.parts``: interrupted, the same call goes on behind it, with either engine. The output
    appears once it is whole.

    Args:
        source: A Parquet or Arrow file, or a text (``.txt``) with a row a line.
        output: The Parquet file that is written, in place of one that is there.
        bundle: See :class:`Answers`, as for what follows.
        task: The same.
        target: The same.
        threads: The same, of each worker; one with Ray when ``None``.
        fields: The same.
        options: The same.
        column: The same.
        engine: ``"ray"`` for actors of the cluster that ``RAY_ADDRESS`` names, or of this machine.
            Its machines see source, output and bundle under the same paths.
        workers: Actors of Ray; as many as its processors allow when ``None``.
        part_rows: Rows that are read, answered and written together.
        advance: Called with (rows done, rows in all).

    Returns:
        How many rows there are.

    Raises:
        DatasetError: The source cannot be read.
        InputError: As :class:`Answers`, rows count from the file's first; or Ray's processors are
            too few.
        MissingExtraError: ``pyarrow`` or ``ray`` is not installed.
        OSError: The output cannot be written.
        TargetError: Workers of Ray die over and over.
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine {engine} is unknown", **one_of(engine, get_args(Engine)))
    check_whole_or_none("workers", workers, least=1)
    check_whole("part_rows", part_rows, least=1)
    if engine != "ray" and workers is not None:
        raise InputError("workers do not go with the engine local", expected="engine ray")
    target_file, source_file = Path(output), Path(source)
    rows = open_source(source_file).rows
    if target_file.exists() and target_file.samefile(source_file):
        raise InputError("output is the input", expected="another file", got=target_file)
    work = Work(
        source=source_file.absolute(),
        parts=target_file.absolute().with_name(f"{target_file.name}.parts"),
        bundle=Path(bundle).absolute() if Path(bundle).exists() else bundle,
        task=task,
        target=target,
        threads=threads,
        fields=dict(fields or {}),
        options=dict(options or {}),
        column=column,
        part_rows=part_rows,
    )
    work.prepare()
    numbers = range(work.number_of_parts(rows))
    missing = [number for number in numbers if not work.part(number).exists()]
    done = rows - sum(work.rows_of(number, rows) for number in missing)
    if advance is not None:
        advance(done, rows)
    if missing:
        answered = (
            answer_with_ray(work, missing, workers=workers)
            if engine == "ray"
            else _answer_here(work, missing)
        )
        for number in answered:
            done += number
            if advance is not None:
                advance(done, rows)
    work.join(rows, target_file)
    return rows


def _answer_here(work: Work, parts: Sequence[int]) -> Iterator[int]:
    """Answer parts in this process.

    Yields:
        The rows of each part.
    """
    with Worker(work) as worker:
        yield from map(worker.answer, parts)
