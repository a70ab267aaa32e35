"""The C++ runtime opens, runs and refuses bundles as Python does, of every schema version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bert_export.bundle import read_manifest, verify_files
from bert_export.errors import BundleError, InputError
from bert_export.runtime.sessions import open_session
from bert_export.runtime.sessions.session import check_feeds

pytestmark = pytest.mark.long

OLDER = Path(__file__).parents[1] / "bundle" / "older"
BUNDLES = sorted(path for path in OLDER.iterdir() if path.is_dir())
TAMPERED = OLDER / "v2-token-classification-fp32"

Feeds = Mapping[str, np.ndarray[Any, Any]]
Tamper = Callable[[Path], object]


def run(
    build: Path,
    bundle: Path,
    feeds: Sequence[Feeds] = (),
    target: str | None = None,
    **environment: str,
) -> list[Any]:
    """What ``run_graph`` writes, a value per line."""
    requests = [
        {
            "feeds": {
                name: {"shape": array.shape, "numbers": array.ravel().tolist()}
                for name, array in own.items()
            }
        }
        for own in feeds
    ]
    done = subprocess.run(
        [str(build / "run_graph"), str(bundle), *([] if target is None else [target])],
        input="".join(f"{json.dumps(request)}\n" for request in requests).encode(),
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]


def batch(rows: int, tokens: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(seed)
    mask = np.ones((rows, tokens), dtype=np.int64)
    mask[0, tokens // 2 :] = 0
    return {
        "input_ids": draw.integers(0, 100, (rows, tokens)),
        "attention_mask": mask,
        "token_type_ids": draw.integers(0, 2, (rows, tokens)),
    }


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_graphs_answer_as_in_python(plain: Path, bundle: Path) -> None:
    feeds = [batch(1, 5), batch(3, 20, seed=1), batch(8, 32, seed=2)]
    manifest = read_manifest(bundle)
    opened, *answers = run(plain, bundle, feeds, THREADS="1")
    assert opened == {"task": manifest.task}
    with open_session(bundle, manifest.engine(), threads=1) as session:
        for own, answer in zip(feeds, answers, strict=True):
            for name, array in session.run(own).items():
                found = answer[name]
                assert found["shape"] == list(array.shape)
                np.testing.assert_allclose(found["numbers"], array.ravel(), atol=1e-6, rtol=0)


def test_feeds_are_refused_as_in_python(plain: Path) -> None:
    whole = batch(2, 8)
    feeds = [
        {name: array for name, array in whole.items() if name != "token_type_ids"},
        whole | {"more": whole["input_ids"]},
        whole | {"input_ids": whole["input_ids"] - 50},
        whole | {"input_ids": whole["input_ids"] + 50},
        whole | {"token_type_ids": whole["token_type_ids"] + 1},
        {name: array[:0] for name, array in whole.items()},
        {name: array[:, :0] for name, array in whole.items()},
    ]
    inputs = read_manifest(TAMPERED).engine().graph.inputs
    _, *answers = run(plain, TAMPERED, feeds)
    for own, answer in zip(feeds, answers, strict=True):
        with pytest.raises(InputError) as refused:
            check_feeds(inputs, own)
        assert answer == {"error": str(refused.value)}
    other = whole | {"attention_mask": whole["attention_mask"][:, :4]}
    assert "attention_mask has the wrong shape" in run(plain, TAMPERED, [other])[1]["error"]


def test_session_options(plain: Path) -> None:
    feeds = [batch(2, 8), batch(1, 30)]
    usual = run(plain, TAMPERED, feeds)
    assert run(plain, TAMPERED, feeds, SPINNING="0", SHRINK="1", THREADS="2") == usual
    (refused,) = run(plain, TAMPERED, THREADS="1025")
    assert refused["error"] == "threads is wrong: expected a whole number from 1 to 1024, got 1025."


def edited(**fields: Any) -> Tamper:
    def edit(bundle: Path) -> None:
        path = bundle / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields))

    return edit


def edited_at(*keys: Any, value: Any) -> Tamper:
    def edit(bundle: Path) -> None:
        path = bundle / "manifest.json"
        manifest = place = json.loads(path.read_text(encoding="utf-8"))
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        path.write_text(json.dumps(manifest))

    return edit


FAULTS: dict[str, Tamper] = {
    "no folder": shutil.rmtree,
    "no manifest": lambda bundle: (bundle / "manifest.json").unlink(),
    "newer": edited(schema_version=99),
    "older": edited(schema_version=0),
    "a lost file": lambda bundle: (bundle / "weights.data").unlink(),
    "a longer file": lambda bundle: (bundle / "weights.data").write_bytes(
        (bundle / "weights.data").read_bytes() + b"x"
    ),
    "another file": lambda bundle: (bundle / "tokenizer.json").write_bytes(
        (bundle / "tokenizer.json").read_bytes().replace(b"a", b"b", 1)
    ),
    "a file outside": edited_at("files", "../weights.data", value={"bytes": 1, "sha256": "0"}),
    "a folder for a file": edited_at("files", "..", value={"bytes": 1, "sha256": "0"}),
    "a graph outside": edited_at("engines", 0, "graph", "file", value="/etc/passwd"),
    "a tokenizer outside": edited_at("tokenizer", "file", value="a/tokenizer.json"),
    "a graph that is not listed": edited_at("engines", 0, "graph", "file", value="model.onnx"),
    "no such target": edited(default_target="tensorrt"),
    "long rows": edited_at("tokenizer", "max_length", value=4000),
    "short rows": edited_at("tokenizer", "max_length", value=1),
    "another label": edited(labels=["one"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bundles_are_refused_as_in_python(plain: Path, tmp_path: Path, fault: str) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(TAMPERED, bundle)
    FAULTS[fault](bundle)
    with pytest.raises(BundleError) as refused:
        verify_files(bundle, read_manifest(bundle))
    assert run(plain, bundle) == [{"error": str(refused.value)}]


@pytest.mark.parametrize("keep", [0, 1, 100, -2])
def test_cut_manifests_are_refused(plain: Path, tmp_path: Path, keep: int) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(TAMPERED, bundle)
    path = bundle / "manifest.json"
    path.write_bytes(path.read_bytes().strip()[:keep])
    (refused,) = run(plain, bundle)
    assert f"bundle {bundle} has a malformed manifest.json" in refused["error"]


def test_a_pipe_is_not_waited_for(plain: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(TAMPERED, bundle)
    (bundle / "weights.data").unlink()
    os.mkfifo(bundle / "weights.data")
    (refused,) = run(plain, bundle)
    assert (
        "weights.data cannot be read: expected a readable file, got no regular" in refused["error"]
    )


def test_an_engine_that_is_not_there(plain: Path, tmp_path: Path) -> None:
    (refused,) = run(plain, TAMPERED, BERT_EXPORT_ONNXRUNTIME=str(tmp_path / "none.so"))
    assert refused["error"].startswith(f"library {tmp_path / 'none.so'} cannot be opened")
    found = {"PATH": str(tmp_path), "VIRTUAL_ENV": "", "CONDA_PREFIX": "", "LD_LIBRARY_PATH": ""}
    (refused,) = run(plain, TAMPERED, (), None, **found)
    assert "Run: pip install onnxruntime" in refused["error"]
