"""From a bundle's folder to the pipeline that answers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bert_export.bundle import (
    Manifest,
    check_graph,
    check_unchanged,
    read_manifest,
    read_steadily,
    verify_files,
)
from bert_export.errors import InputError, TaskError, shown
from bert_export.runtime.calls import explains_misuse
from bert_export.runtime.engine_choice import choose_engine
from bert_export.runtime.hub import find_bundle
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.processor import detect_processor, warn_if_unsuited
from bert_export.runtime.sessions import (
    SessionOptions,
    has_option,
    open_session,
    open_text_session,
)
from bert_export.runtime.sessions.session import Session
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import TASKS, Task, find_task

__all__ = ["load", "open_pipeline", "pipeline_class", "threads_for"]

_LOGGER = logging.getLogger(__name__)


@explains_misuse
def load(
    path: str | Path,
    *,
    task: str | None = None,
    target: str | None = None,
    threads: int | None = None,
    providers: str | Sequence[str] | None = None,
    hint: str | None = None,
    cache: str | Path | None = None,
    shapes: Sequence[Sequence[int]] | None = None,
    token_budget: int | None = None,
    sort: bool = True,
    verify: bool = True,
) -> Pipeline[Any, Any, Any]:
    """Open a bundle.

    Args:
        path: The bundle's folder; or ``owner/name``, perhaps with ``@revision``, of a bundle on the
            Hugging Face hub, with the extra ``hub``. A folder comes before a hub id of its name.
        task: Another task that the bundle's head serves, such as ``zero-shot-classification`` on a
            text-classification bundle; the manifest's own when ``None``.
        target: Which of the bundle's engines answers; when ``None``, the one that
            :mod:`bert_export.runtime.engine_choice` tells, as a rule the bundle's default.
        threads: Threads inside an operator; all cores when ``None``.
        providers: ONNX Runtime execution providers in order of preference, or a single one, for its
            targets; the CPU provider when ``None``.
        hint: What OpenVINO should be good at: ``latency``, its default, or ``throughput``, which
            answers several callers side by side.
        cache: Folder in which OpenVINO keeps what it compiled, so that the next start is faster;
            bundles may share it.
        shapes: Of ``input_ids``, such as [(1, 128)]: OpenVINO compiles the graph once more for each
            and answers calls of just these shapes sooner; see
            :class:`bert_export.runtime.sessions.openvino.OpenVinoSession`.
        token_budget: Padded tokens per graph call.
        sort: Whether a list's rows are sorted by length before they are batched.
        verify: Whether every file is compared with its recorded sha256; its size always is.

    Returns:
        The task's pipeline; safe to call from several threads, closed by ``close()`` or ``with``.
        A copy or a pickle of it names the bundle and these options, and loads it again.

    Raises:
        BundleError: The bundle is missing, tampered with, truncated or of another version, its
            graph is not the one that the manifest speaks of, or it does not serve the target.
        TaskError: ``task`` is unknown or needs another head.
        InputError: ``path`` is no path, a provider or thread count that this machine does not have,
            or an option that the target does not know.
        MissingExtraError: The package of the engine, or of the hub, is not installed.

    Warns:
        RuntimeWarning: The bundle's INT8 was made for another kind of processor.
    """
    folder = _check_path(path)
    begin = time.perf_counter()
    reopen = partial(
        load,
        folder.absolute(),
        task=task,
        target=target,
        threads=threads,
        providers=providers,
        hint=hint,
        cache=cache,
        shapes=shapes,
        token_budget=token_budget,
        sort=sort,
        verify=verify,
    )

    options = SessionOptions(
        threads=threads, providers=providers, hint=hint, cache=cache, shapes=shapes
    )
    given = [name for name, value in options.items() if value is not None]

    def open_bundle() -> Pipeline[Any, Any, Any]:
        manifest = read_manifest(folder)
        wanted = _check_task(manifest, task)
        engine = choose_engine(manifest, target, options=given)
        plan = engine.quantization
        if plan is not None and plan.processor is not None:
            warn_if_unsuited(plan.processor, detect_processor())
        verify_files(folder, manifest, hashes=verify)
        check_graph(folder, manifest, engine)
        tokenizer = Tokenizer.from_file(folder / manifest.tokenizer.file, manifest.tokenizer)
        session = open_session(
            folder,
            engine,
            longest=manifest.model.max_position_embeddings,
            **options,
        )

        def read_texts() -> Session:
            check_unchanged(folder, manifest, "in use")
            return open_text_session(folder, engine, threads=threads, providers=providers)

        return open_pipeline(
            wanted,
            manifest,
            tokenizer,
            session,
            token_budget=token_budget,
            sort=sort,
            engine=engine,
            reopen=reopen,
            open_texts=lambda: read_steadily(
                folder, read_texts, discard=lambda session: session.close()
            ),
        )

    pipeline = read_steadily(folder, open_bundle, discard=lambda pipeline: pipeline.close())
    _LOGGER.info("loaded %r from %s in %.2f s", pipeline, folder, time.perf_counter() - begin)
    return pipeline


def open_pipeline(
    task: Task, manifest: Manifest, tokenizer: Tokenizer, session: Session, **batching: Any
) -> Pipeline[Any, Any, Any]:
    """The task's pipeline over an opened session; only that pipeline's module is imported.

    The session is closed where there is no pipeline over it.
    """
    pipeline = pipeline_class(task)
    try:
        return pipeline(manifest, tokenizer, session, **batching)
    except BaseException:
        session.close()
        raise


def pipeline_class(task: Task) -> type[Pipeline[Any, Any, Any]]:
    """The class of the task's pipeline; its module is imported."""
    module, name = task.pipeline.split(":")
    kind: type[Pipeline[Any, Any, Any]] = getattr(
        import_module(f"bert_export.runtime.pipelines.{module}"), name
    )
    return kind


def threads_for(path: str | Path, target: str | None, threads: int) -> int | None:
    """``threads`` as :func:`load` takes it: ``None`` where the target's session has no such option.

    Raises:
        BundleError: The bundle's default target is asked for, and there is no bundle.
    """
    wanted = target or choose_engine(read_manifest(_check_path(path)), None).target
    return threads if has_option(wanted, "threads") else None


def _check_path(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise InputError("path is wrong", expected="a bundle's folder", got=shown(path))
    return find_bundle(path)


def _check_task(manifest: Manifest, name: str | None) -> Task:
    own = find_task(manifest.task)
    if name is None:
        return own
    wanted = find_task(name)
    if wanted.head != own.head:
        raise TaskError(
            f"task {wanted.name} does not fit the bundle",
            expected=" or ".join(task.name for task in TASKS.values() if task.head == own.head),
            got=wanted.name,
            fix=f"Export the checkpoint again with --task {wanted.name}",
        )
    return wanted
