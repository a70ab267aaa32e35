"""What a pipeline's call costs beside its graph: Python's part of one answer, for any bundles.

Usage::

    python scripts/benchmarks/overhead.py BUNDLE...

Each bundle answers its task's example. The graph calls of that answer are recorded, and a session
of ONNX Runtime without the pipeline runs them again. Both take turns, call by call, on one thread,
whose processor time counts, so that other work on the machine moves neither.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import click

from bert_export import load
from bert_export.errors import TargetError
from bert_export.runtime.sessions.onnxruntime import start_engine
from bert_export.runtime.sessions.session import Feeds, Outputs, RawFeeds
from bert_export.tasks import find_task

WARM_UP = 50
TARGET = "onnxruntime"


@dataclass(frozen=True, slots=True)
class Overhead:
    """Medians of one bundle, in milliseconds of one thread's processor time.

    Args:
        task: Of the bundle.
        shapes: Of the graph calls of one answer, rows x tokens.
        pipeline: Of a call of the pipeline.
        bare: Of the same graph calls alone.
        difference: Of what a call took longer than the bare calls of its turn.
    """

    task: str
    shapes: str
    pipeline: float
    bare: float
    difference: float


def measure(bundle: Path, calls: int) -> Overhead:
    """Time the pipeline of a bundle against its graph alone."""
    with load(bundle, target=TARGET, threads=1, verify=False) as pipeline:
        task = find_task(pipeline.task)
        engine = pipeline.engine
        if engine is None:
            raise TargetError(f"bundle {bundle} has no engine", expected=TARGET)
        recorded: list[Feeds] = []
        run = pipeline.run

        def record(feeds: RawFeeds) -> Outputs:
            recorded.append(cast("Feeds", dict(feeds)))
            return run(feeds)

        pipeline.run = record  # type: ignore[method-assign]
        pipeline.ask(task.example)
        del pipeline.run
        session = start_engine(bundle / engine.graph.file, threads=1)
        names = [output.name for output in engine.graph.outputs]

        def bare() -> None:
            for feeds in recorded:
                session.run(names, feeds)

        turns = [
            (
                _seconds(lambda: pipeline.ask(task.example)),
                _seconds(bare),
            )
            for _ in range(WARM_UP + calls)
        ][WARM_UP:]
    return Overhead(
        task.name,
        " ".join("x".join(map(str, feeds["input_ids"].shape)) for feeds in recorded),
        *(
            1e3 * statistics.median(values)
            for values in (
                [whole for whole, _ in turns],
                [alone for _, alone in turns],
                [whole - alone for whole, alone in turns],
            )
        ),
    )


def _seconds(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return time.thread_time() - begin


@click.command()
@click.argument(
    "bundles",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--calls", default=500, show_default=True, help="Timed calls of each.")
def main(bundles: tuple[Path, ...], calls: int) -> None:
    """Time what a pipeline's call costs beside its graph."""
    print(f"{'task':28}{'graph calls':>14}{'pipeline ms':>13}{'graph ms':>10}{'beside ms':>11}")
    for bundle in bundles:
        one = measure(bundle, calls)
        print(
            f"{one.task:28}{one.shapes:>14}{one.pipeline:13.3f}{one.bare:10.3f}{one.difference:11.3f}"
        )


if __name__ == "__main__":
    main()
