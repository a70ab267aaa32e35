"""A bundle goes to a hub and answers from there; no request leaves this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bert_export.bundle import MANIFEST, read_manifest, replace_folder
from bert_export.exporter import Export
from bert_export.exporter.push import push
from tests.hub_server import Hub, serve_hub

huggingface_hub = pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.long


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve_hub() as served:
        yield served


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path


@pytest.fixture
def command(hub: Hub, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, with the hub of this machine and a cache of its own."""

    def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        surroundings = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_TOKEN": "hf_test",
            "no_proxy": "127.0.0.1",
            **variables,
        }
        return subprocess.run(
            [sys.executable, "-m", "bert_export", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=surroundings,
            cwd=tmp_path,
        )

    return run


def test_a_pushed_bundle_answers_as_the_folder_does(
    hub: Hub, bundle: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    pushed = command("push", bundle, "me/tiny", "--private", "--licence", "mit", "--json")
    assert pushed.returncode == 0, pushed.stderr
    assert json.loads(pushed.stdout)["commit"].startswith(f"{hub.address}/me/tiny/commit/")
    # All of it is one commit, and nothing besides.
    manifest = read_manifest(bundle)
    assert set(hub.files["me/tiny"]) == {*manifest.files, MANIFEST, "README.md"}
    assert hub.commits["me/tiny"] == ["Bundle for text-classification"]
    assert hub.private == {"me/tiny"}
    assert "Bearer hf_test" in hub.tokens
    card = hub.files["me/tiny"]["README.md"].decode()
    assert 'license: "mit"' in card
    # A service that has no folder of it.
    here = command("run", bundle, "the cat sat")
    there = command("run", "me/tiny", "the cat sat")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    tagged = command("run", "me/tiny@v1", "the cat sat", "-p", "top_k=1")
    assert len(json.loads(tagged.stdout)) == 1, tagged.stderr
    # The cache answers where the hub cannot be reached.
    offline = command("run", "me/tiny", "the cat sat", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.stdout == here.stdout, offline.stderr
    # What the hub holds is checked as a folder is.
    hub.files["me/tiny"]["weights.data"] = b"tampered"
    tampered = command("run", "me/tiny", "the cat sat")
    assert tampered.returncode == 1
    assert "weights.data" in tampered.stderr
    assert tampered.stderr.count("\n") == 1


def test_what_is_pushed_is_one_bundle_though_the_folder_is_replaced(
    hub: Hub, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    create = huggingface_hub.HfApi.create_repo

    def create_and_replace(*arguments: Any, **options: Any) -> Any:
        with replace_folder(folder, force=True) as work:
            for name in whole:
                (work / name).write_bytes(b"of another bundle")
        return create(*arguments, **options)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_and_replace)
    push(folder, "me/tiny")
    assert (folder / "weights.data").read_bytes() == b"of another bundle"
    held = hub.files["me/tiny"]
    assert {name: held[name] for name in whole} == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "me/nothing", "hi"), "bundle me/nothing is no folder here and cannot be fetched"),
        (("push", "{bundle}", "nothing"), "hub id 'nothing' is malformed: expected owner/name"),
        (("push", "{bundle}", "me/tiny@v1"), "is malformed: expected owner/name"),
        (("push", "no-bundle", "me/tiny"), "bundle no-bundle has no manifest.json"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: tuple[str, ...],
    message: str,
    bundle: Path,
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = command(*(argument.format(bundle=bundle) for argument in arguments))
    assert done.returncode in {1, 2}
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_hub_that_cannot_be_reached_is_one_line(
    bundle: Path, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command("push", bundle, "me/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    assert "cannot be pushed to me/tiny" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_card_is_shown_without_a_hub(
    bundle: Path, hub: Hub, command: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = command("push", bundle, "me/tiny", "--card")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("---\nlibrary_name: bert-export\n")
    assert hub.asked == []
