"""What the whole suite shares: bundles that several tests read, made once."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal

# Workers share the cores, and a second thread of a matrix product only waits for one: the BLAS
# behind NumPy reads these when it is first imported, commands that tests start inherit them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Workers of a parallel run are told of a terminal of 80 columns; what is printed here has none.
os.environ.pop("COLUMNS", None)

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from bert_export.bundle import read_manifest
from bert_export.checkpoints.demo import find_base
from bert_export.errors import MissingExtraError
from bert_export.exporter import Export, export
from bert_export.targets import DEFAULT_TARGET
from bert_export.tracing import CACHE_VARIABLE
from tests.oracle import save_tiny, save_tiny_halves

# A job in the background of a shell ignores these, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

torch.set_num_threads(1)  # tiny models: a second thread only waits

# No test fails because a machine is slow, and a commit passes or fails the same way each time.
# `pytest --hypothesis-profile=search` looks for other examples.
for _profile, _same in (("repeatable", True), ("search", False)):
    hypothesis.settings.register_profile(
        _profile,
        deadline=None,
        derandomize=_same,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker waits for another at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all workers of this run share."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # a worker's folder stands in that of the run
    shared = folder / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session", autouse=True)
def traces(run_folder: Path) -> None:
    """Every graph is traced once in a run: workers and the commands that they start share it."""
    os.environ.setdefault(CACHE_VARIABLE, str(run_folder / "traces"))


@pytest.fixture(scope="session", autouse=True)
def translations() -> Iterator[None]:
    """The exporter reads its table of translations once, and not for every graph anew."""
    export = torch.onnx.export

    def export_with_one_table(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(ImportError, AttributeError):  # another release of torch
            table = import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
            if not hasattr(table.from_torchlib, "cache_info"):
                table.from_torchlib = staticmethod(functools.cache(table.from_torchlib))
        return export(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", export_with_one_table)
        yield


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
def tiny_halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-decoder of random tiny weights, whose halves are of unequal sizes."""
    folder = tmp_path_factory.mktemp("tiny") / "halves"
    save_tiny_halves(
        folder,
        encoder={"hidden_size": 24, "num_hidden_layers": 1},
        decoder={"max_position_embeddings": 28, "num_hidden_layers": 2},
        generation={"max_length": 14, "no_repeat_ngram_size": 2, "min_length": 3},
    )
    return folder


@pytest.fixture(scope="session")
def halves_export(tiny_halves: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The same in float32, on the targets that run two graphs."""
    return export(
        task="summarization",
        model=tiny_halves,
        output=tmp_path_factory.mktemp("bundle") / "summarization",
        targets=("onnxruntime", "openvino"),
    )


@pytest.fixture(scope="session")
def embedding_int8(minilm: Path, run_folder: Path) -> Export:
    """The real weights as a calibrated INT8 bundle, exported by the worker that is first."""
    bundle = run_folder / "embedding"
    with (run_folder / "embedding.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if bundle.exists():
            return Export(bundle, read_manifest(bundle), ())
        return export(task="sentence-embedding", model=str(minilm), output=bundle, precision="int8")
