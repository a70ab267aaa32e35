"""Builds of the C++ runtime with its tests: once per machine and state of the sources."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_export.runtime.cpp_build import module_options

__all__ = ["SANITIZERS", "THREAD_SANITIZER", "build", "missing_tool"]

SANITIZERS = "address,undefined"
THREAD_SANITIZER = "thread"

_CHECKOUT = Path(__file__).parents[2]
_SOURCES = (_CHECKOUT / "bert_export" / "runtime" / "cpp", Path(__file__).parent)
# GCC warns of its own sanitizers' code, so the usual build alone is strict.
_OPTIONS = {
    "": ("-DCMAKE_BUILD_TYPE=Release", "-DBERT_EXPORT_WERROR=ON"),
    THREAD_SANITIZER: ("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g1"),
    SANITIZERS: ("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O0 -g1"),
}

_TARGETS = {
    "": "all",
    THREAD_SANITIZER: "thread_sanitized_programs",
    SANITIZERS: "sanitized_programs",
}
"""What is built: under sanitizers the programs that run so."""


def missing_tool() -> str | None:
    """Which program is absent without which nothing is compiled."""
    compiler = os.environ.get("CXX", "c++")
    return next((name for name in ("cmake", compiler) if shutil.which(name) is None), None)


def build(folder: Path, sanitize: str = "") -> Path:
    """Build the library and its tests, unless they stand there already.

    Args:
        folder: Where builds are kept; several processes may ask for one at a time.
        sanitize: Sanitizers, such as :data:`SANITIZERS`.

    Returns:
        The build's folder.
    """
    own = folder / f"cpp-{_state()}-{sanitize.replace(',', '-') or 'plain'}"
    folder.mkdir(parents=True, exist_ok=True)
    with own.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finished = own / "finished"
        if not finished.exists():
            _run(
                "cmake",
                *("-S", str(Path(__file__).parent), "-B", str(own)),
                f"-DBERT_EXPORT_SANITIZE={sanitize}",
                *_OPTIONS[sanitize],
                *([] if sanitize else _module_options()),
            )
            jobs = str(os.cpu_count() or 1)
            _run("cmake", "--build", str(own), "--parallel", jobs, "--target", _TARGETS[sanitize])
            finished.touch()
    return own


def _module_options() -> list[str]:
    """What builds the module for Python too, where pybind11 is installed."""
    try:
        import pybind11
    except ImportError:
        return []
    return module_options(pybind11.get_cmake_dir())


def _state() -> str:
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(str(path.relative_to(_CHECKOUT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for folder in _SOURCES:
        for path in folder.rglob("*"):
            if path.suffix in {".c", ".cpp", ".hpp", ".h", ".in", ".txt", ".cmake"}:
                yield path


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-8000:]}")
