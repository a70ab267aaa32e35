"""The engines of the C++ runtime answer, bound and refuse as the Python package's sessions do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_export
from bert_export.bundle import WEIGHTS_FILE, read_manifest
from bert_export.errors import InputError
from bert_export.exporter import Export
from bert_export.runtime.sessions import open_session
from bert_export.runtime.sessions.versions import OLDEST_VERSIONS
from tests.cpp.test_builds import tool
from tests.cpp.test_bundles import Feeds, batch, run
from tests.cpp.test_pipelines import Call, ask, scores, without_scores

pytestmark = pytest.mark.long

BOTH = ("onnxruntime", "openvino")
"""Engines that are libraries of others."""

ENGINES = (*BOTH, "native")
FEEDS = [batch(1, 5), batch(3, 16, seed=1), batch(40, 32, seed=2)]
VERSIONS = (
    Path(__file__).parents[2]
    / "bert_export"
    / "runtime"
    / "cpp"
    / "src"
    / "sessions"
    / "versions.hpp"
)


def fitting(bundle: Path, target: str, feeds: Feeds) -> Feeds:
    """Feeds with ids of the model's, and what else its graph asks for."""
    made = dict(feeds)
    for spec in read_manifest(bundle).engine(target).graph.inputs:
        if spec.below is not None and spec.name in made:
            made[spec.name] = made[spec.name] % spec.below
        if spec.name == "masked_positions":
            made[spec.name] = np.flatnonzero(feeds["attention_mask"])[::3]
    return made


def compare(build: Path, bundle: Path, target: str, options: dict[str, Any] | None = None) -> None:
    """Both runtimes give the same numbers for some batches."""
    environment = {name.upper(): str(value) for name, value in (options or {}).items()}
    own = [fitting(bundle, target, feeds) for feeds in FEEDS]
    opened, *answers = run(build, bundle, own, target, THREADS="1", **environment)
    assert "task" in opened, opened
    engine = read_manifest(bundle).engine(target)
    with open_session(bundle, engine, threads=1, **(options or {})) as session:
        for feeds, answer in zip(own, answers, strict=True):
            for name, array in session.run(feeds).items():
                assert answer[name]["shape"] == list(array.shape)
                np.testing.assert_allclose(
                    answer[name]["numbers"], array.ravel(), atol=1e-6, rtol=0
                )


@pytest.fixture(scope="module")
def openvino() -> None:
    pytest.importorskip("openvino")


@pytest.fixture
def floats(module: Any, tiny_export: Callable[..., Export]) -> Path:
    del module  # a native engine is verified in it
    return tiny_export("fill-mask", "BertForMaskedLM", targets=ENGINES).path


@pytest.fixture
def int8(module: Any, tiny_export: Callable[..., Export]) -> Path:
    del module
    own: dict[str, Any] = {"targets": ENGINES, "precision": "int8", "num_labels": 3}
    return tiny_export("text-classification", "BertForSequenceClassification", **own).path


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("target", ENGINES)
def test_masks_and_large_batches(plain: Path, floats: Path, target: str) -> None:
    compare(plain, floats, target)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("target", ENGINES)
def test_int8(plain: Path, int8: Path, target: str) -> None:
    compare(plain, int8, target)


@pytest.mark.usefixtures("openvino")
def test_a_row_of_openvino_is_padded_as_in_python(plain: Path, int8: Path) -> None:
    texts = ["a b c", "b " * 20, ""]
    calls: list[Call] = [{"inputs": texts, "top_k": None}, {"inputs": [], "top_k": None}]
    found = ask(plain, int8, calls, "openvino")
    with bert_export.load(int8, target="openvino", threads=1) as pipeline:
        for call, answers in zip(calls, found, strict=True):
            wanted = pipeline(call["inputs"], top_k=None)
            assert without_scores(answers) == without_scores(wanted)
            assert scores(answers) == pytest.approx(scores(wanted), abs=1e-6)


@pytest.mark.usefixtures("openvino")
def test_options_of_openvino(plain: Path, floats: Path, tmp_path: Path) -> None:
    compare(plain, floats, "openvino", {"hint": "throughput", "cache": tmp_path})
    (blob,) = tmp_path.glob("*/*.blob")
    written = blob.stat().st_mtime_ns
    # Python finds what C++ compiled under the same name, and the other way round.
    compare(plain, floats, "openvino", {"hint": "throughput", "cache": tmp_path})
    assert blob.stat().st_mtime_ns == written
    own = [fitting(floats, "openvino", batch(3, 16, seed=1))]
    usual, fixed = (
        run(plain, floats, own, "openvino", THREADS="1", **shape)[1]
        for shape in ({}, {"ROWS": "3", "TOKENS": "16"})
    )
    for name, output in usual.items():
        assert fixed[name]["shape"] == output["shape"]
        np.testing.assert_allclose(fixed[name]["numbers"], output["numbers"], atol=1e-5)


@pytest.mark.usefixtures("openvino")
def test_a_graph_behind_links(plain: Path, floats: Path, tmp_path: Path) -> None:
    """As model hubs keep bundles: every file is a link to another name elsewhere."""
    bundle, store = tmp_path / "bundle", tmp_path / "store"
    bundle.mkdir()
    store.mkdir()
    for index, path in enumerate(sorted(floats.iterdir())):
        shutil.copy(path, store / str(index))
        (bundle / path.name).symlink_to(store / str(index))
    assert (bundle / WEIGHTS_FILE).is_symlink()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    compare(plain, bundle, "openvino")
    assert "task" in run(plain, bundle, (), "openvino", TMPDIR=str(temporary))[0]
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("target", "environment", "message"),
    [
        ("openvino", {"HINT": "speed"}, "hint 'speed' is unknown: expected one of latency,"),
        ("openvino", {"SPINNING": "0"}, "option spinning means nothing to target openvino"),
        ("openvino", {"SHRINK": "1"}, "option shrink_arena means nothing to target openvino"),
        ("onnxruntime", {"HINT": "latency"}, "option hint means nothing to target onnxruntime"),
        (
            "openvino",
            {"ROWS": "1", "TOKENS": "0"},
            (
                "shape (1, 0) is none of input input_ids's: expected (batch, sequence), each at "
                "least 1, got (1, 0)."
            ),
        ),
        ("openvino", {"ROWS": "1", "TOKENS": "4096"}, "shape (1, 4096) makes the graph fail: exp"),
        ("openvino", {"THREADS": "-1"}, "threads is wrong: expected a whole number from 1 to 1024"),
        ("openvino", {"CACHE": "/dev/null/x"}, "cache /dev/null/x cannot be made: expected a fold"),
    ],
)
def test_options_that_do_not_fit(
    plain: Path, floats: Path, target: str, environment: dict[str, str], message: str
) -> None:
    (refused,) = run(plain, floats, (), target, **environment)
    assert refused["error"].startswith(message)


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("target", ENGINES)
def test_rows_longer_than_the_model(plain: Path, floats: Path, target: str) -> None:
    longest = read_manifest(floats).model.max_position_embeddings
    feeds = fitting(floats, target, batch(1, longest + 1))
    engine = read_manifest(floats).engine(target)
    with (
        open_session(floats, engine, longest=longest) as session,
        pytest.raises(InputError) as refused,
    ):
        session.run(feeds)
    assert run(plain, floats, [feeds], target)[1:] == [{"error": str(refused.value)}]


@pytest.mark.usefixtures("openvino")
def test_a_graph_that_openvino_cannot_read(plain: Path, floats: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(floats, bundle)
    (bundle / "openvino.onnx").write_bytes(b"no graph")
    (refused,) = run(plain, bundle, (), "openvino", VERIFY="0")
    assert refused["error"].startswith(f"graph {bundle}/openvino.onnx cannot be opened by openvino")
    assert "\n" not in refused["error"]


def test_oldest_versions_are_those_of_python() -> None:
    stated = dict(re.findall(r'oldest_(\w+) = "([\d.]+)"', VERSIONS.read_text(encoding="utf-8")))
    oldest = {name.replace("-", "_"): version for name, version in OLDEST_VERSIONS.items()}
    assert stated == {name: oldest[name] for name in (*BOTH, "tensorrt", "tensorrt_rtx")}


OLD_LIBRARIES = {
    "onnxruntime": """
        struct Base { const void* (*get_api)(unsigned); const char* (*get_version)(); };
        static const void* api(unsigned) { return nullptr; }
        static const char* version() { return VERSION; }
        static const Base base{api, version};
        extern "C" const Base* OrtGetApiBase() { return &base; }
    """,
    "openvino": """
        struct Version { const char* build; const char* description; };
        extern "C" int ov_get_openvino_version(Version* version) {
          version->build = VERSION;
          return 0;
        }
        extern "C" void ov_version_free(Version*) {}
    """,
}


def fake_library(folder: Path, target: str, version: str) -> Path:
    """A library that says of itself that it is some version, and can nothing else."""
    source, library = folder / "old.cpp", folder / "libold.so"
    code = OLD_LIBRARIES[target]
    if target == "openvino":
        names = re.findall(
            r"BERT_EXPORT_FIND\((ov_\w+)\);",
            (VERSIONS.parent / "openvino_api.cpp").read_text(encoding="utf-8"),
        )
        assert len(names) > 20
        code += "".join(f'extern "C" void {n}() {{}}\n' for n in names if "version" not in n)
    source.write_text(code)
    flags = ("-shared", "-fPIC", f'-DVERSION="{version}"')
    subprocess.run([tool("c++"), *flags, str(source), "-o", str(library)], check=True)
    return library


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("target", BOTH)
def test_an_engine_that_is_too_old(plain: Path, floats: Path, tmp_path: Path, target: str) -> None:
    library = fake_library(tmp_path, target, "1.24.1")
    variable = f"BERT_EXPORT_{target.upper()}"
    (refused,) = run(plain, floats, (), target, **{variable: str(library)})
    oldest = OLDEST_VERSIONS[target]
    assert refused["error"] == (
        f"{target} 1.24.1 is too old for bundles of this bert-export: expected {target} {oldest} "
        f"or later, got 1.24.1. Run: pip install '{target}>={oldest}'."
    )


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("target", BOTH)
def test_an_engine_that_is_not_there(
    plain: Path, floats: Path, tmp_path: Path, target: str
) -> None:
    variable = f"BERT_EXPORT_{target.upper()}"
    (refused,) = run(plain, floats, (), target, **{variable: str(tmp_path / "none.so")})
    assert refused["error"].startswith(f"library {tmp_path / 'none.so'} cannot be opened")
    nowhere = {"PATH": str(tmp_path), "VIRTUAL_ENV": "", "CONDA_PREFIX": "", "LD_LIBRARY_PATH": ""}
    (refused,) = run(plain, floats, (), target, **nowhere)
    assert refused["error"].startswith(f"engine {target} is not installed: expected ")
    assert f"Run: pip install {target}, or name the library in {variable}." in refused["error"]


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize(
    ("target", "lacks"), [("onnxruntime", "OrtGetApiBase"), ("openvino", "ov_")]
)
def test_another_library(plain: Path, floats: Path, target: str, lacks: str) -> None:
    library = plain / "library" / "libbert_export.so"
    variable = {f"BERT_EXPORT_{target.upper()}": str(library)}
    (refused,) = run(plain, floats, (), target, **variable)
    assert refused["error"].startswith(f"library {target} is another: expected ")
    assert f"got a library without {lacks}" in refused["error"]
