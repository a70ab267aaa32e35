"""The C++ runtime compiles without a warning, passes its tests, and shows its own names alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

_HEADERS = Path(__file__).parents[2] / "bert_export" / "runtime" / "cpp" / "include"


def tool(name: str) -> str:
    path = shutil.which(name)
    assert path is not None
    return path


def own_tests(build: Path) -> None:
    done = subprocess.run(
        [tool("ctest"), "--output-on-failure", "--parallel", "2"],
        cwd=build,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
    assert "No tests were found" not in done.stdout + done.stderr


def test_own_tests(plain: Path) -> None:
    own_tests(plain)


def test_own_tests_under_sanitizers(sanitized: Path) -> None:
    own_tests(sanitized)


def symbols(library: Path) -> list[str]:
    listed = subprocess.run(
        [tool("nm"), "-D", "-C", "--defined-only", str(library)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split(maxsplit=2)[2] for line in listed.stdout.splitlines()]


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_only_own_symbols_are_shown(plain: Path) -> None:
    shown = symbols(plain / "library" / "libbert_export.so")
    assert any(name.startswith("bert_export::Tokenizer::encode") for name in shown)
    foreign = [
        name
        for name in shown
        if not name.removeprefix("vtable for ")
        .removeprefix("typeinfo for ")
        .removeprefix("typeinfo name for ")
        .startswith(("bert_export::", "bert_export_"))
    ]
    assert foreign == []
    inner = [name for name in shown if "::tokenization::" in name.split("(")[0]]
    assert inner == []


def test_library_is_small(plain: Path) -> None:
    assert (plain / "library" / "libbert_export.so").stat().st_size <= 2 << 20


@pytest.mark.usefixtures("builds")
@pytest.mark.parametrize("header", sorted(_HEADERS.rglob("*.hpp")), ids=lambda path: path.name)
def test_headers_stand_alone(header: Path) -> None:
    flags = ("-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only")
    done = subprocess.run(
        [
            tool("c++"),
            *flags,
            "-I",
            str(_HEADERS),
            "-include",
            str(header),
            "-x",
            "c++",
            os.devnull,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
