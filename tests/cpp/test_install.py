"""Projects outside of the checkout find the library, however it comes to them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bert_export
from bert_export.exporter import Export
from bert_export.runtime.cpp_build import cmake_folder
from tests.cpp.test_builds import tool
from tests.cpp.test_bundles import TAMPERED

pytestmark = pytest.mark.long

CHECKOUT = Path(__file__).parents[2]
SOURCES = CHECKOUT / "bert_export" / "runtime" / "cpp"
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


@pytest.fixture(scope="module")
def programs(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built as a project somewhere else that finds the library."""
    project = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("programs") / "my service")
    build = Path(project) / "build"
    run("cmake", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", build)
    return build


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


def test_find_package(programs: Path, tmp_path: Path) -> None:
    check_tags(programs / "tag_lines")
    (refused,) = subprocess.run(
        [programs / "embed_lines", TAMPERED, tmp_path / "vectors.npy"],
        input="",
        capture_output=True,
        text=True,
        check=False,
    ).stderr.splitlines()
    assert refused.startswith("task sentence-embedding does not fit the bundle: expected token-c")
    assert list(tmp_path.glob("vectors*")) == []


def test_embedding_to_a_file(programs: Path, embedding: Path, tmp_path: Path) -> None:
    for texts in (["a b c", "", "b"], []):
        path = tmp_path / f"{len(texts)}.npy"
        run(programs / "embed_lines", embedding, path, text="".join(f"{one}\n" for one in texts))
        vectors = np.load(path)
        with bert_export.load(embedding) as pipeline:
            wanted = pipeline(texts) if texts else np.empty((0, vectors.shape[1]), np.float32)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, wanted, atol=1e-6)


def test_answering_from_standard_input(
    programs: Path, tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    bundle = tiny_export("question-answering", "BertForQuestionAnswering").path
    questions, context = ["a b", "who?"], "b é a\nc b a"
    path = tmp_path / "text.txt"
    path.write_text(context, encoding="utf-8")
    lines = run(
        programs / "answer_questions", bundle, path, text="".join(f"{q}\n" for q in questions)
    ).split("\n")
    found = [line.split("\t") for line in lines if "\t" in line]
    with bert_export.load(bundle) as pipeline:
        wanted = [pipeline(question=one, context=context) for one in questions]
    assert [span for _, span, _ in found] == [
        "-".join(str(len(context[: one[end]].encode())) for end in ("start", "end"))
        for one in wanted
    ]
    for (score, _, _), one in zip(found, wanted, strict=True):
        assert float(score) == pytest.approx(one["score"], abs=1e-4)


@pytest.mark.parametrize("page", [SOURCES / "README.md", CHECKOUT / "README.md"])
def test_a_page_s_program(page: Path, installed: Path, tmp_path: Path) -> None:
    """The ten lines of a page compile, and answer."""
    (code,) = re.findall(r"```cpp\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    (bundle,) = re.findall(r'open\("(.*?)"\)', code)
    (tmp_path / "page.cpp").write_text(code)
    (library,) = installed.rglob("libbert_export.so")
    run(
        "c++",
        *("-std=c++17", "-Wall", "-Wextra", "-Werror", tmp_path / "page.cpp"),
        *("-I", installed / "include", library, "-o", tmp_path / "page"),
    )
    (tmp_path / bundle).symlink_to(TAMPERED)
    done = subprocess.run(
        [tmp_path / "page"],
        cwd=tmp_path,
        env=os.environ | {"LD_LIBRARY_PATH": str(library.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    with bert_export.load(TAMPERED) as pipeline:
        wanted = pipeline(
            "Ada Lovelace met Charles Babbage in London.", aggregation_strategy="simple"
        )
    assert wanted
    assert done.stdout.splitlines() == [
        f"{one['entity_group']} {one['score']:.3f} {one['word']}" for one in wanted
    ]


def test_find_package_in_the_python_package(project: Path) -> None:
    """The folder that `bert-export cpp --cmakedir` prints: nothing is built before."""
    configured = run(
        "cmake",
        *("-S", project, "-B", project / "build", f"-Dbert_export_DIR={cmake_folder()}"),
    )
    assert "Configuring done" in configured
    other = project / "CMakeLists.txt"
    other.write_text(other.read_text().replace("bert_export REQUIRED", "bert_export 9.1 REQUIRED"))
    done = subprocess.run(
        [
            tool("cmake"),
            "-S",
            project,
            "-B",
            project / "two",
            f"-Dbert_export_DIR={cmake_folder()}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "9.1" in done.stderr


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
@pytest.mark.parametrize(
    "option", [f"-DBERT_EXPORT_SOURCES={SOURCES}", f"-Dbert_export_DIR={cmake_folder()}"]
)
def test_sources_as_a_part_of_the_build(project: Path, option: str) -> None:
    build = project / "build"
    run("cmake", "-S", project, "-B", build, option)
    run("cmake", "--build", build, "--parallel", "2", "--target", "tag_lines")
    check_tags(build / "tag_lines")


@pytest.mark.skipif(
    "BERT_EXPORT_CPP_FULL" not in os.environ, reason="BERT_EXPORT_CPP_FULL is not set"
)
def test_the_command_builds(project: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "in stalled"
    done = run(sys.executable, "-m", "bert_export", "cpp", "--build", prefix)
    assert done == f"built {prefix}\n"
    build = project / "build"
    run("cmake", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build, "--target", "tag_lines")
    check_tags(build / "tag_lines")
