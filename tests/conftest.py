"""What the whole suite shares: bundles that several tests read, made once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bert_export.checkpoints.demo import find_base
from bert_export.errors import MissingExtraError
from bert_export.exporter import Export, export
from bert_export.targets import DEFAULT_TARGET
from bert_export.tracing import CACHE_VARIABLE
from tests.oracle import save_tiny

torch.set_num_threads(1)  # tiny models: a second thread only waits


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker waits for another at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def traces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Graphs are traced once in a run: its workers and the commands that they start share them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # a worker's folder stands in that of the run
    os.environ.setdefault(CACHE_VARIABLE, str(folder / "traces"))


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real weights of all-MiniLM-L6-v2; skipped where the extra ``demo`` is absent."""
    try:
        return find_base("minilm")
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a checkpoint of random tiny weights, once per class and config."""
    made: dict[str, Path] = {}

    def make(cls_name: str, **config: Any) -> Path:
        key = repr((cls_name, sorted(config.items(), key=repr)))
        if key not in made:
            made[key] = tmp_path_factory.mktemp("tiny") / cls_name
            save_tiny(cls_name, made[key], **config)
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_export(
    tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Export]:
    """Exports random tiny weights, in float32 where nothing else is asked for, once each."""
    made: dict[str, Export] = {}

    def make(
        task: str,
        cls_name: str,
        *,
        targets: tuple[str, ...] = (DEFAULT_TARGET,),
        precision: str = "fp32",
        **config: Any,
    ) -> Export:
        key = repr((task, cls_name, targets, precision, sorted(config.items(), key=repr)))
        if key not in made:
            made[key] = export(
                task=task,
                model=str(tiny(cls_name, **config)),
                output=tmp_path_factory.mktemp("bundle") / task,
                targets=targets,
                precision=precision,
            )
        return made[key]

    return make


@pytest.fixture(scope="session")
def embedding_int8(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The real weights as a calibrated INT8 bundle."""
    return export(
        task="sentence-embedding",
        model=str(minilm),
        output=tmp_path_factory.mktemp("bundle") / "embedding",
        precision="int8",
    )
