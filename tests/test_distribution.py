"""The archives that an index gets: what they hold, how large they are, what an index shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import bert_export

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source archive, made without the network."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(CHECKOUT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_an_index_accepts_them(archives):
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_wheel_holds_the_package_and_its_data_alone(archives):
    wheel, _ = archives
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        sizes = {entry.filename: entry.file_size for entry in opened.infolist()}
    assert {name.split("/")[0] for name in names} == {
        "bert_export",
        f"bert_export-{bert_export.__version__}.dist-info",
    }
    assert "bert_export/py.typed" in names
    assert any(name.startswith("bert_export/_calibration/") for name in names)
    # Weights are small, and nothing else is large: a service installs this wheel.
    adapters = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    assert adapters
    assert all(size <= 2_000_000 for size in adapters.values())
    assert sum(sizes.values()) - sum(adapters.values()) <= 4_500_000


def test_the_source_archive_builds_and_tests_itself(archives):
    _, source = archives
    with tarfile.open(source) as opened:
        tops = {name.split("/")[1] for name in opened.getnames()}
    assert {"bert_export", "calibration", "graphs", "scripts", "tests", "pyproject.toml"} <= tops


def test_an_index_shows_the_readme_without_links_into_the_checkout(archives):
    wheel, _ = archives
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (entry for entry in opened.namelist() if entry.endswith("/METADATA"))
        metadata = message_from_bytes(opened.read(name))
    text = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# bert-export" in text
    assert re.findall(r"\]\((?!https?://|#)", (CHECKOUT / "README.md").read_text())
    assert not re.findall(r"\]\((?!https?://|#)", text)
