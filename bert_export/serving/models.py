"""The bundles of a service: known by their manifests at once, opened when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_export.bundle import EngineRecord, Manifest, read_manifest
from bert_export.errors import InputError
from bert_export.runtime.batcher import Batcher
from bert_export.runtime.engine_choice import choose_engine
from bert_export.runtime.hub import find_bundle
from bert_export.runtime.loading import load
from bert_export.serving.limits import Limits
from bert_export.serving.metrics import Metrics, ModelMetrics
from bert_export.tasks import Task, find_task
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["LoadOptions", "Model", "find_models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What :func:`bert_export.load` is told of every bundle."""

    task: str | None = None
    target: str | None = None
    threads: int | None = None


class Model:
    """One bundle of a service.

    Args:
        name: In paths.
        path: The bundle's folder.
        options: How it is loaded.
        limits: Of its queue.
        metrics: Of the service.

    Raises:
        BundleError: There is no bundle.
        TaskError: The task is unknown.
    """

    def __init__(
        self, name: str, path: Path, *, options: LoadOptions, limits: Limits, metrics: Metrics
    ) -> None:
        self.name = name
        self.path = path
        self.manifest: Manifest = read_manifest(path)
        self.task: Task = find_task(options.task or self.manifest.task)
        self.engine: EngineRecord = choose_engine(
            self.manifest, options.target, options=() if options.threads is None else ("threads",)
        )
        self.metrics: ModelMetrics = metrics.of(name)
        self._options, self._limits = options, limits
        self._lock = threading.Lock()
        self._batcher: Batcher | None = None
        metrics.watch(name, lambda: 0 if self._batcher is None else self._batcher.held)

    @property
    def opened(self) -> Batcher | None:
        """The queue before the engine, once that is open."""
        return self._batcher

    def open(self) -> Batcher:
        """The queue before the engine, which is opened where it is not.

        Raises:
            BertExportError: As :func:`bert_export.load`.
        """
        with self._lock:
            if self._batcher is None:
                own = self._options
                pipeline = load(self.path, task=own.task, target=own.target, threads=own.threads)
                self._batcher = pipeline.batcher(
                    queue=self._limits.queue,
                    most_tokens=self._limits.tokens,
                    observer=self.metrics,
                )
            return self._batcher

    def close(self) -> None:
        """Answer what waits, and free the engine."""
        with self._lock:
            if self._batcher is not None:
                self._batcher.pipeline.close()
            self._batcher = None

    def facts(self) -> dict[str, Any]:
        """What ``/info`` says of the bundle."""
        manifest, limits = self.manifest, self._limits
        engine = self.engine
        labels = dict(enumerate(manifest.labels))
        kind: dict[str, Any] = {}
        if self.task.name == SENTENCE_EMBEDDING.name:
            kind = {"embedding": {"pooling": "in the graph"}}
        elif manifest.labels:
            ids = {label: index for index, label in labels.items()}
            group = "reranker" if len(labels) == 1 else "classifier"
            kind = {group: {"id2label": labels, "label2id": ids}}
        return {
            "model_id": manifest.model.source,
            "model_sha": manifest.model.weights_sha256,
            "model_dtype": engine.precision,
            "model_type": kind,
            "max_concurrent_requests": limits.queue,
            "max_input_length": manifest.tokenizer.max_length,
            "max_batch_tokens": limits.tokens,
            "max_client_batch_size": limits.items,
            "name": self.name,
            "task": self.task.name,
            "fields": list(self.task.input_fields),
            "example": dict(self.task.example),
            "labels": list(manifest.labels),
            "target": engine.target,
            "precision": engine.precision,
        }


def find_models(
    bundles: Sequence[str | Path], *, options: LoadOptions, limits: Limits, metrics: Metrics
) -> list[Model]:
    """The bundles of a service, named as their folders.

    Raises:
        InputError: There is none, or two have one name.
        BundleError: One is no bundle.
    """
    if not bundles:
        raise InputError("bundles are missing", expected="one or more", got="none")
    models: dict[str, Model] = {}
    for bundle in bundles:
        path = find_bundle(bundle)
        given = str(bundle)
        name = given.replace("/", "--") if path != Path(given) else path.resolve().name
        if name in models:
            raise InputError(
                f"bundle {bundle} has the name of another",
                expected="folders of different names",
                got=name,
            )
        models[name] = Model(name, path, options=options, limits=limits, metrics=metrics)
    return list(models.values())
