"""Recipes for containers: what they copy and run, and the Lambda handler over a real bundle."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_export import load
from bert_export.bundle import read_bundle
from bert_export.exporter import Export
from bert_export.hand_over import hand_over

VARIANTS = ("service", "sagemaker", "lambda")


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    return hand_over(bundle, "container", tmp_path / "images").folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_recipe_copies_is_there(folder: Path, bundle: Path, variant: str) -> None:
    recipe = (folder / variant / "Dockerfile").read_text(encoding="utf-8")
    for source in re.findall(r"^COPY (\S+)", recipe, flags=re.MULTILINE):
        assert (folder / variant / source).exists()
    assert read_bundle(folder / variant / "bundle") == read_bundle(bundle)


@pytest.mark.parametrize("variant", ["service", "sagemaker"])
def test_a_service_is_not_root_and_says_how_it_is(folder: Path, variant: str) -> None:
    recipe = (folder / variant / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^USER 10001$", recipe, flags=re.MULTILINE)
    assert "HEALTHCHECK" in recipe
    assert "ORT_DISABLE_TELEMETRY=1" in recipe
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", recipe, flags=re.MULTILINE)
    assert "bert-export serve /opt/bundle --host 0.0.0.0 --port 8080" in " ".join(json.loads(entry))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_linter_has_nothing_to_say(folder: Path, variant: str) -> None:
    linter = shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [linter, str(folder / variant / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_lambda_handler_answers(
    folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUNDLE", str(folder / "lambda" / "bundle"))
    spec = importlib.util.spec_from_file_location("handler", folder / "lambda" / "handler.py")
    assert spec is not None
    assert spec.loader is not None
    handler: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(handler)
    event = {"inputs": "the cat sat", "parameters": {"top_k": 2}}
    with load(bundle) as pipeline:
        wanted = pipeline("the cat sat", top_k=2)
    for given in (event, {"body": json.dumps(event)}):
        answer = handler.answer(given, None)
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, wanted)
    for wrong in ({}, {"inputs": 3}, {"body": "{"}, {"inputs": "x", "parameters": {"topk": 1}}):
        assert handler.answer(wrong, None)["statusCode"] == 400
