"""A recipe makes a bundle again, what is typed beside it counts more, a dry run writes nothing."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from bert_export.bundle import MANIFEST, read_manifest, write_manifest
from bert_export.cli import main
from bert_export.exporter import Export

pytestmark = pytest.mark.long


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


@pytest.fixture
def recipe(bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    printed = invoke("inspect", bundle, "--recipe")
    assert printed.exit_code == 0
    path.write_text(printed.stdout)
    return path


@pytest.fixture
def model(tiny: Callable[..., Path]) -> Path:
    return tiny("BertForSequenceClassification", num_labels=3)


def planned(*arguments: str | Path) -> dict[str, Any]:
    """What a dry run says."""
    result = invoke(*arguments, "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    plan: dict[str, Any] = json.loads(result.stdout)
    return plan


def test_a_bundle_is_made_again_by_its_recipe(bundle: Path, recipe: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    done = invoke("--recipe", recipe, "-o", again, "--quiet")
    assert done.exit_code == 0, done.output
    first, second = read_manifest(bundle), read_manifest(again)
    assert first.request == second.request
    assert first.files == second.files


def test_the_recipe_states_what_was_asked_for(recipe: Path, model: Path) -> None:
    stated = tomllib.loads(recipe.read_text())
    assert stated["model"] == str(model)
    assert stated["task"] == "text-classification"
    assert stated["targets"] == ["onnxruntime"]


class TestOverrides:
    @pytest.fixture
    def int8(self, model: Path, tmp_path: Path) -> Path:
        path = tmp_path / "int8.toml"
        path.write_text(
            f'task = "text-classification"\nmodel = "{model}"\nmax_length = 64\n'
            'precision = "int8"\ncpu = "arm64"\ncalibration = "text-classification"\n'
            '[quantization]\nobserver = "mse"\ngptq = false\n'
        )
        return path

    def test_nothing_is_typed(self, int8: Path) -> None:
        request = planned("--recipe", int8, "-o", "x")["request"]
        assert (request["precision"], request["cpu"], request["max_length"]) == (
            "int8",
            "arm64",
            64,
        )
        assert request["quantization"]["observer"] == "mse"
        assert request["quantization"]["gptq"] is False

    def test_single_options(self, int8: Path) -> None:
        typed = ("--max-length", "32", "--calibration-method", "entropy", "--target", "openvino")
        request = planned("--recipe", int8, "-o", "x", *typed)["request"]
        assert request["max_length"] == 32
        assert request["targets"] == ["openvino"]
        assert request["quantization"]["observer"] == "entropy"
        assert request["quantization"]["gptq"] is False  # as the recipe says

    def test_another_precision_drops_what_int8_alone_has(self, int8: Path) -> None:
        request = planned("--recipe", int8, "-o", "x", "--fp32")["request"]
        assert request["precision"] == "fp32"
        assert request["max_length"] == 64
        assert not {"quantization", "cpu", "calibration"} & {k for k, v in request.items() if v}

    def test_a_named_target_drops_the_shapes_of_auto(self, model: Path, tmp_path: Path) -> None:
        path = tmp_path / "auto.toml"
        path.write_text(
            f'task = "text-classification"\nmodel = "{model}"\ntargets = ["auto"]\nshapes = "1x8"\n'
        )
        request = planned("--recipe", path, "-o", "x", "--target", "onnxruntime")["request"]
        assert request["targets"] == ["onnxruntime"]
        assert not request.get("shapes")

    def test_engines(self, model: Path, tmp_path: Path) -> None:
        pytest.importorskip("tensorrt_rtx")
        path = tmp_path / "engines.toml"
        path.write_text(
            f'task = "text-classification"\nmodel = "{model}"\ntargets = ["tensorrt-rtx"]\n'
            '[engines]\ngpus = ["l4"]\nlengths = [16]\n'
        )
        request = planned("--recipe", path, "-o", "x", "--sm", "86")["request"]
        assert request["engines"]["gpus"] == ["86"]
        assert request["engines"]["lengths"] == [16]


class TestDryRun:
    def test_nothing_is_written(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = invoke("--task", "qa", "--model", model, "--dry-run")
        assert result.exit_code == 0, result.output
        for words in ("nothing is written", "question-answering-fp32", "not known", "[default]"):
            assert words in result.stdout or words.startswith("[")
        assert tomllib.loads(result.stdout.partition("--recipe FILE:\n")[2]) == {
            "task": "question-answering",
            "model": str(model),
            "precision": "fp32",
            "targets": ["onnxruntime"],
        }
        assert list(tmp_path.iterdir()) == []

    def test_the_time_is_that_of_the_bundle_that_is_there(self, bundle: Path, model: Path) -> None:
        stages = read_manifest(bundle).stages
        assert list(stages)[:2] == ["load", "trace"]
        plan = planned("--model", model, "-o", bundle, "--force")
        assert plan["replaces"] is True
        assert plan["made_alike"]["same_model"] is True
        assert plan["made_alike"]["stages"] == stages
        assert plan["seconds"] == pytest.approx(sum(stages.values()))

    def test_a_bundle_beside_tells_of_another_model(
        self, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        beside = tmp_path / "made"
        beside.mkdir()
        manifest = msgspec.structs.replace(read_manifest(bundle), stages={"load": 2.0, "x": 3.5})
        for path in bundle.iterdir():
            if path.name != MANIFEST:
                (beside / path.name).write_bytes(path.read_bytes())
        write_manifest(beside, manifest)
        monkeypatch.chdir(tmp_path)
        result = invoke("--task", "fill-mask", "--dry-run")
        assert "about 6 s, as made of" in " ".join(result.stdout.split())
        assert "not known" in invoke("--task", "fill-mask", "--int8", "--dry-run").stdout

    def test_what_the_export_would_refuse_is_refused(self, bundle: Path, model: Path) -> None:
        there = invoke("--model", model, "-o", bundle, "--dry-run")
        assert there.exit_code == 1
        assert "--force" in there.stderr
        assert invoke("--task", "ner", "--max-drop", "1%", "--dry-run").exit_code == 2


def test_a_recipe_that_is_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("precison = 'int8'\n")
    result = invoke("--recipe", path)
    assert result.exit_code == 1
    assert "Did you mean 'precision'?" in result.stderr
    assert invoke("--recipe", tmp_path / "none").exit_code == 1


def test_a_bundle_of_before_keeps_no_recipe(bundle: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for path in bundle.iterdir():
        (old / path.name).write_bytes(path.read_bytes())
    write_manifest(old, msgspec.structs.replace(read_manifest(bundle), request=None))
    result = invoke("inspect", old, "--recipe")
    assert result.exit_code == 1
    assert "does not keep what it was asked for" in result.stderr
