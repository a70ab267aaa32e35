"""Stages of one tiny classifier, made once: a stage is a value, so tests share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from bert_export.bundle import ExportRequest
from bert_export.exporter.float_graph import FloatGraph, make_float_graph
from bert_export.exporter.progress import Progress, Stage
from bert_export.exporter.request import check_request
from bert_export.exporter.source import Source, load_source
from bert_export.targets import TARGETS, Target

LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}}


class RecordingListener:
    """Hears an export and remembers its stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def start(self, stage: str) -> None: ...
    def advance(self, done: int, total: int) -> None: ...
    def finish(self, stage: Stage) -> None:
        self.stages.append(stage.name)


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def target_table() -> Iterator[dict[str, Target]]:
    """The table of targets, to be changed; it is whole and in its order afterwards."""
    table = cast("dict[str, Target]", TARGETS)
    whole = dict(table)
    yield table
    table.clear()
    table.update(whole)


@pytest.fixture(scope="session")
def classifier(tiny: Callable[..., Path]) -> str:
    """A checkpoint of random tiny weights for text-classification."""
    return str(tiny("BertForSequenceClassification", **LABELS))


@pytest.fixture(scope="session")
def read(classifier: str) -> Callable[..., Source]:
    """Reads the classifier for a request."""

    def load(**options: object) -> Source:
        request = check_request(ExportRequest(model=classifier, **options))  # type: ignore[arg-type]
        return load_source(request, progress=Progress())

    return load


@pytest.fixture(scope="session")
def graph_of(read: Callable[..., Source]) -> Callable[..., FloatGraph]:
    """The classifier's float graph in the name of a request; it is traced once."""
    made: list[FloatGraph] = []

    def make(**options: object) -> FloatGraph:
        source = read(**options)
        if not made:
            made.append(make_float_graph(source, progress=Progress()))
        first = made[0]
        return FloatGraph(
            source=source,
            model=first.model,
            outcomes=first.outcomes,
            pipeline=first.pipeline,
            rows=first.rows,
            unseen=first.unseen,
        )

    return make
