"""Options for engines: what is built into a bundle, and what is refused before anything is."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from bert_export.bundle import read_manifest, verify_files
from bert_export.cli import main
from bert_export.exporter import Export

HEAD, LABELS = "BertForSequenceClassification", {"num_labels": 3}


@pytest.fixture
def model(tiny: Callable[..., Path]) -> Path:
    return tiny(HEAD, **LABELS)


@pytest.fixture
def export(model: Path, tmp_path: Path) -> Callable[..., Result]:
    """``bert-export --task text-classification ...`` into a folder of its own."""

    def run(*arguments: str | Path) -> Result:
        given = ["--task", "text-classification", "--model", str(model), "-o", tmp_path / "bundle"]
        cached = ["--engine-cache", tmp_path / "cache"] if "--sm" in arguments else []
        return CliRunner().invoke(main, list(map(str, [*given, *cached, *arguments])))

    return run


def engine_of(bundle: Path) -> dict[str, Any]:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    return dict(json.loads(msgspec.json.encode(manifest.engine("tensorrt-rtx").build.engine)))


class TestBuilds:
    @pytest.fixture(autouse=True)
    def _needs_the_builder(self) -> None:
        pytest.importorskip("tensorrt_rtx")

    def test_an_engine_for_the_gpus_and_shapes_that_are_named(
        self, export: Callable[..., Result], tmp_path: Path
    ) -> None:
        shapes = ("--batch-sizes", "1,2,4", "--lengths", "8,16")
        done = export("--target", "tensorrt-rtx", "--fp16", "--sm", "l4", "--sm", "86", *shapes)
        assert done.exit_code == 0, done.stderr
        engine = engine_of(tmp_path / "bundle")
        assert sorted(engine["compute_capabilities"]) == ["SM86", "SM89"]
        assert len(engine["profiles"]) == 2
        assert (tmp_path / "bundle" / engine["file"]).stat().st_size == engine["bytes"]

    def test_profiles_for_the_lengths_of_texts(
        self, export: Callable[..., Result], tmp_path: Path
    ) -> None:
        lengths = tmp_path / "lengths.txt"
        lengths.write_text("4 100\n6 100\n20 3\n", encoding="utf-8")
        done = export("--target", "tensorrt-rtx", "--sm", "l4", "--profile-from", lengths)
        assert done.exit_code == 0, done.stderr
        assert len(engine_of(tmp_path / "bundle")["profiles"]) > 1

    def test_an_engine_for_a_bundle_that_has_its_graph_already(
        self, export: Callable[..., Result], tmp_path: Path
    ) -> None:
        bundle, cache = tmp_path / "bundle", tmp_path / "cache"
        assert export("--target", "tensorrt-rtx", "--quiet").exit_code == 0
        assert read_manifest(bundle).engine().build.engine is None
        arguments = ["build", bundle, "--target", "tensorrt-rtx", "--sm", "89"]
        given = list(map(str, [*arguments, "--engine-cache", cache, "--json"]))
        done = CliRunner().invoke(main, given)
        assert done.exit_code == 0, done.stderr
        told = json.loads(done.stdout)["engines"][0]["build"]["engine"]
        assert told == engine_of(bundle)
        assert told["compute_capabilities"] == ["SM89"]
        assert len({path.stem for path in cache.iterdir()}) == 1  # the engine, and what it is

    def test_an_engine_for_another_gpu_takes_no_place_unasked(
        self, export: Callable[..., Result], tmp_path: Path
    ) -> None:
        def build(*arguments: str) -> Result:
            given = ["build", bundle, "--target", "tensorrt-rtx", *arguments]
            cached = ["--engine-cache", tmp_path / "cache"]
            return CliRunner().invoke(main, list(map(str, [*given, *cached])))

        bundle = tmp_path / "bundle"
        assert export("--target", "tensorrt-rtx", "--sm", "l4").exit_code == 0
        refused = build("--sm", "a10")
        assert refused.exit_code == 1
        assert "target tensorrt-rtx has an engine for SM89 already" in refused.stderr
        assert engine_of(bundle)["compute_capabilities"] == ["SM89"]
        for gpus, wanted in (
            (("--sm", "l4", "--sm", "a10"), ["SM86", "SM89"]),
            (("--sm", "a10", "--force"), ["SM86"]),
        ):
            done = build(*gpus)
            assert done.exit_code == 0, done.stderr
            assert engine_of(bundle)["compute_capabilities"] == wanted


REFUSED = [
    (("--sm", "l4"), "options for engines have no use: expected --target tensorrt or tensorrt-rtx"),
    (
        ("--target", "tensorrt-rtx", "--sm", "l4", "--batch-sizes", "1,two"),
        "batch-sizes is malformed: expected numbers parted by commas, such as 1,8, got 1,two",
    ),
    (
        ("--target", "tensorrt-rtx", "--sm", "l4", "--lengths", "8", "--profile-from", "x"),
        "lengths are given twice: expected --lengths or --profile-from",
    ),
    (("--target", "tensorrt-rtx", "--sm", "voodoo2"), "voodoo2"),
    (("--target", "tensorrt-rtx", "--sm", "l4", "--batch-sizes", "0,1,2"), "batch"),
    (("--target", "tensorrt-rtx", "--sm", "l4", "--lengths", "9999"), "9999"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_cannot_be_built_is_one_clear_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, export: Callable[..., Result], tmp_path: Path
) -> None:
    if "tensorrt-rtx" in arguments:
        pytest.importorskip("tensorrt_rtx")
    done = export(*arguments)
    assert done.exit_code != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in done.stderr.replace("\n", " ")
    assert not (tmp_path / "bundle").exists()


def test_lengths_that_are_none_name_file_and_line(
    export: Callable[..., Result], tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    lengths = tmp_path / "lengths.txt"
    lengths.write_text("4\nmany\n", encoding="utf-8")
    done = export("--target", "tensorrt-rtx", "--sm", "l4", "--profile-from", lengths)
    assert done.exit_code != 0
    assert "lengths.txt" in done.stderr.replace("\n", "")
    assert "many" in done.stderr
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("tensorrt-rtx", "expected an NVIDIA GPU, or --sm, got neither"),
        ("tensorrt", "expected an NVIDIA GPU, got none"),
    ],
)
def test_an_engine_needs_a_gpu_or_its_name(
    target: str,
    message: str,
    export: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")  # no tool of a GPU's driver
    assert export("--target", target).exit_code == 0
    done = CliRunner().invoke(main, ["build", str(tmp_path / "bundle"), "--target", target])
    assert done.exit_code == 1
    assert f"engine for {target} cannot be built: {message}." in done.stderr


def test_a_target_without_its_builder_keeps_the_bundle(
    tiny_export: Callable[..., Export],
) -> None:
    if find_spec("tensorrt") is not None:
        pytest.skip("tensorrt is installed")
    bundle = tiny_export("text-classification", HEAD, **LABELS).path
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    done = CliRunner().invoke(main, ["build", str(bundle), "--target", "tensorrt", "--sm", "l4"])
    assert done.exit_code != 0
    assert "pip install 'bert-export[tensorrt]'" in done.stderr.replace("\n", " ")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
