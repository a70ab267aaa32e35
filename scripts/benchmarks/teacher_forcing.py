"""How often INT8 takes the token that FP32 takes, behind every token of real text.

Usage::

    python scripts/benchmarks/teacher_forcing.py INT8_BUNDLE FP32_BUNDLE
    python scripts/benchmarks/teacher_forcing.py INT8_BUNDLE FP32_BUNDLE --data my-texts.jsonl

Both bundles read the same beginnings of each text (teacher forcing) and say the likeliest next
token. The least that must agree is 95 %.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

import bert_export
from bert_export.datasets import read_dataset
from bert_export.datasets.items import read_items
from bert_export.errors import BertExportError
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from bert_export.tasks.text_generation import TASK

__all__ = ["Forced", "compare", "main"]

LEAST = 0.95


class Forced(NamedTuple):
    """What two bundles say behind every token of some texts.

    Args:
        tokens: How many tokens that is.
        agreement: Share of them behind which both say the same.
        accuracy: Share of the true next tokens that each says: INT8 and FP32.
    """

    tokens: int
    agreement: float
    accuracy: tuple[float, float]


def compare(ours: Path, theirs: Path, data: str) -> Forced:
    """Let two bundles say the next token behind every beginning of every text.

    Args:
        ours: A bundle of text-generation.
        theirs: Another, of the same checkpoint.
        data: Texts: a file, or the name of a sample.

    Raises:
        BertExportError: A bundle or the data cannot be read, or a bundle continues no text.
    """
    said = []
    for path in (ours, theirs):
        with bert_export.load(path) as pipeline:
            if not isinstance(pipeline, TextGenerationPipeline):
                raise BertExportError(
                    f"bundle {path} continues no text", expected=TASK.name, got=pipeline.task
                )
            items = read_items(pipeline, read_dataset(TASK, data))
            texts = pipeline.encode_items(items, pipeline.dataset_settings())
            beginnings = [part for (row,) in texts for part in _beginnings(row)]
            found = pipeline.reduce_rows(beginnings, pipeline.dataset_settings())
            said.append(np.array([int(ids[0]) for (ids,) in found]))
            true = np.concatenate([row.input_ids[1:] for (row,) in texts])
    ours_said, theirs_said = said
    return Forced(
        tokens=len(true),
        agreement=float((ours_said == theirs_said).mean()),
        accuracy=(float((ours_said == true).mean()), float((theirs_said == true).mean())),
    )


def _beginnings(row: Row) -> Sequence[Row]:
    """Every beginning of a text that another token follows."""
    return [
        replace(row, input_ids=row.input_ids[:length], token_type_ids=row.token_type_ids[:length])
        for length in range(1, len(row))
    ]


@click.command()
@click.argument("ours", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("theirs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", default=TASK.unseen[0], show_default=True, help="Texts.")
def main(ours: Path, theirs: Path, data: str) -> None:
    """Compare OURS, in INT8, with THEIRS, in FP32; leaves with 1 below 95 %."""
    try:
        forced = compare(ours, theirs, data)
    except BertExportError as error:
        raise click.ClickException(str(error)) from error
    own, other = forced.accuracy
    click.echo(
        f"{forced.tokens} tokens of {data}: {100 * forced.agreement:.2f} % agree; the true next "
        f"token: {100 * own:.2f} % and {100 * other:.2f} %"
    )
    sys.exit(forced.agreement < LEAST)


if __name__ == "__main__":
    main()
