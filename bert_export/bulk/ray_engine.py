"""Parts of a file are answered by actors of a Ray cluster.

Ray Data hands out the numbers of parts; rows travel by the file system. An actor that dies is
replaced, and its part answered again.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from bert_export.bulk.work import Work, Worker
from bert_export.errors import BertExportError, InputError, TargetError, one_line
from bert_export.importing import needs_extra
from bert_export.telemetry import disable_telemetry

__all__ = ["answer_with_ray"]

_ATTEMPTS = 3
"""How often a part is tried again whose actor died."""

_MOST_BLOCKS = 4096
"""Ray keeps a little of each block in the memory of the process that started the job."""

_AHEAD = 2
"""Parts that are given to an actor at once, so that it never waits for the next."""


class PartAnswers:
    """An actor: parts by their numbers in, their rows out.

    What goes wrong is returned, for Ray would wrap an exception in its own.

    Args:
        work: What is answered, and how.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._worker: Worker | None = None

    def __call__(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer parts."""
        rows, errors = [], []
        for number in batch["part"].tolist():
            try:
                if self._worker is None:
                    self._worker = Worker(self._work)
                rows.append(self._worker.answer(number))
                errors.append(b"")
            except (BertExportError, OSError) as error:
                rows.append(0)
                errors.append(pickle.dumps(error))
        return {"rows": np.array(rows), "error": np.array(errors, dtype=object)}


def answer_with_ray(work: Work, parts: Sequence[int], *, workers: int | None) -> Iterator[int]:
    """Answer parts with actors.

    Args:
        work: What is answered, and how; ``threads`` are those of an actor, one when ``None``.
        parts: Their numbers.
        workers: How many actors; as many as there are processors for when ``None``.

    Yields:
        The rows of each part, in the order in which they are done.

    Raises:
        BertExportError: As :class:`Worker`.
        InputError: There are not so many processors.
        MissingExtraError: ``ray`` is not installed.
        OSError: A part cannot be written.
        TargetError: The actors of a part die over and over, or Ray fails.
    """
    disable_telemetry()
    with needs_extra("engine ray", extra="ray"):
        import ray
        import ray.data
        from ray.exceptions import RayError

    threads = work.threads or 1
    with _cluster():
        actors = min(_number_of_actors(workers, threads), len(parts))
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False  # the caller draws one
        with ray.data.DataContext.current(context):
            numbers = ray.data.from_items(
                [{"part": number} for number in parts],
                override_num_blocks=min(len(parts), _MOST_BLOCKS),
            )
            with warnings.catch_warnings():  # the only way to say how often a part is tried again
                warnings.filterwarnings("ignore", "`ray_remote_args", DeprecationWarning)
                answered = numbers.map_batches(
                    PartAnswers,
                    fn_constructor_args=(replace(work, threads=threads),),
                    batch_size=1,
                    compute=ray.data.ActorPoolStrategy(
                        size=actors, max_tasks_in_flight_per_actor=_AHEAD
                    ),
                    num_cpus=threads,
                    max_task_retries=_ATTEMPTS,
                )
            try:
                for batch in answered.iter_batches(batch_size=None, prefetch_batches=0):
                    for rows, error in zip(batch["rows"], batch["error"], strict=True):
                        if error:
                            raise pickle.loads(error)  # noqa: S301 - an actor of ours wrote it
                        yield int(rows)
            except RayError as error:
                raise TargetError("engine ray fails", got=one_line(error)) from error


@contextmanager
def _cluster() -> Iterator[None]:
    """A cluster: the one that the process is connected to, that RAY_ADDRESS names, or a new one."""
    import ray

    if ray.is_initialized():
        yield
        return
    # Its notes go to its own files, not between the caller's lines.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise TargetError("engine ray does not start", got=one_line(error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _number_of_actors(workers: int | None, threads: int) -> int:
    """As many as asked for, or as there are processors for.

    Raises:
        InputError: There are not so many; actors would wait for them for ever.
    """
    import ray

    free = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = sum(processors // threads for processors in free)
    if most < (workers or 1):
        raise InputError(
            "workers of Ray have too few processors",
            expected=f"{workers or 1} x {threads} threads",
            got=f"machines with {', '.join(map(str, free))} processors",
            fix="Take fewer workers or threads",
        )
    return workers or most
