"""Projects outside of the checkout find the library, however it comes to them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import bert_export
from tests.cpp.test_builds import tool
from tests.cpp.test_bundles import TAMPERED

pytestmark = pytest.mark.long

SOURCES = Path(__file__).parents[2] / "bert_export" / "runtime" / "cpp"
EXAMPLE = SOURCES / "example"
TEXT = "the cat sat on the mat\nNew York\n"


def run(*command: str | Path, text: str = "", **environment: str) -> str:
    done = subprocess.run(
        [tool(str(command[0])), *map(str, command[1:])],
        input=text,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example, as a project somewhere else."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "my service"))


@pytest.fixture(scope="module")
def installed(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library installed, then moved to a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("install")
    run("cmake", "--install", plain / "library", "--prefix", folder / "first")
    return Path(shutil.move(folder / "first", folder / "moved here"))


def check_tags(program: Path, **environment: str) -> None:
    """The example prints what Python answers."""
    lines = run(program, TAMPERED, text=TEXT, **environment).splitlines()
    wanted = []
    with bert_export.load(TAMPERED) as pipeline:
        for number, text in enumerate(TEXT.splitlines(), start=1):
            wanted += [
                [str(number), f"{one['start']}-{one['end']}", one["entity_group"], one["word"]]
                for one in pipeline(text, aggregation_strategy="simple")
            ]
    assert [line.split("\t")[:3] + line.split("\t")[4:] for line in lines] == wanted
    assert wanted


def test_find_package(project: Path, installed: Path) -> None:
    build = project / "build"
    run("cmake", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", build)
    check_tags(build / "tag_lines")


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="pkg-config is not installed")
def test_pkg_config(project: Path, installed: Path) -> None:
    (folder,) = installed.rglob("pkgconfig")
    flags = run("pkg-config", "--cflags", "--libs", "bert_export", PKG_CONFIG_PATH=str(folder))
    program = project / "tag_lines"
    source = project / "tag_lines.cpp"
    # The shell reads the escapes that pkg-config writes.
    run("sh", "-c", f"c++ -std=c++17 '{source}' -o '{program}' {flags.strip()}")
    check_tags(program, LD_LIBRARY_PATH=str(folder.parent))


def test_nothing_installed_names_where_it_was(installed: Path) -> None:
    for path in installed.rglob("*"):
        if path.suffix in {".cmake", ".pc"}:
            text = path.read_text(encoding="utf-8")
            assert str(installed.parent) not in text
            assert str(SOURCES) not in text


def test_no_engine_is_linked(installed: Path) -> None:
    if shutil.which("ldd") is None:
        pytest.skip("ldd is not installed")
    (library,) = installed.rglob("libbert_export.so")
    assert "onnxruntime" not in run("ldd", library)
    assert "openvino" not in run("ldd", library)


@pytest.mark.skipif(
    "BERT_EXPORT_CPP_FULL" not in os.environ, reason="BERT_EXPORT_CPP_FULL is not set"
)
def test_add_subdirectory(project: Path) -> None:
    build = project / "build"
    run("cmake", "-S", project, "-B", build, f"-DBERT_EXPORT_SOURCES={SOURCES}")
    run("cmake", "--build", build, "--parallel", "2", "--target", "tag_lines")
    check_tags(build / "tag_lines")
