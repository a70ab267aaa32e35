"""Building the C++ runtime with CMake: the library for C++, and the module for Python."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bert_export.bundle import write_whole
from bert_export.errors import BertExportError, MissingExtraError, TargetError, one_line
from bert_export.runtime.native import MODULE

__all__ = [
    "SOURCES",
    "Advance",
    "build_library",
    "build_module",
    "cmake_folder",
    "module_options",
    "module_path",
    "sources_state",
]

SOURCES = Path(__file__).parent / "cpp"
"""The folder of the runtime's CMakeLists.txt."""

Advance = Callable[[str, int], None]
"""Hears (step, percent done)."""

_STEP = re.compile(r"\[\s*(\d+)(?:%|/(\d+))\]")
_READ = {".cpp", ".hpp", ".h", ".in", ".txt", ".cmake", ".map"}


def cmake_folder() -> Path:
    """The folder in which ``find_package(bert_export)`` finds the sources as a package."""
    return SOURCES / "cmake"


def module_path() -> Path:
    """Where the compiled module of this Python stands, or would."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    return Path(__file__).parent / f"{MODULE}{suffix}"


def sources_state() -> str:
    """A digest of all sources: a module that was built from others is not used."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in _READ:
            digest.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build_library(prefix: Path, *, advance: Advance | None = None) -> Path:
    """Configure, build and install the library with its headers, CMake package and pkg-config file.

    Args:
        prefix: The folder to install into; other files in it stay. It may be moved afterwards.
        advance: Called with (step, percent done).

    Returns:
        The folder for ``CMAKE_PREFIX_PATH``, absolute.

    Raises:
        TargetError: CMake or a C++ compiler is missing, too old, or fails.
        OSError: The folder cannot be written.
    """
    target = prefix.absolute()
    _check_tools()
    new = not target.exists()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with _build([], "all", advance) as build:
            _run("install", "--install", str(build), "--prefix", str(target), advance=advance)
    except BaseException:
        if new:
            shutil.rmtree(target, ignore_errors=True)
        raise
    return target


def build_module(*, advance: Advance | None = None) -> Path:
    """Compile the module with the C++ tokenizer and programs for :func:`bert_export.load`.

    Args:
        advance: Called with (step, percent done).

    Returns:
        The module's file, beside this one.

    Raises:
        MissingExtraError: pybind11 is not installed.
        TargetError: CMake or a C++ compiler is missing, too old, or fails.
        OSError: The package's folder cannot be written.
    """
    try:
        import pybind11
    except ImportError as error:
        raise MissingExtraError("the compiled module", extra="native") from error
    _check_tools()
    path = module_path()
    options = module_options(pybind11.get_cmake_dir())
    with _build(options, MODULE, advance) as build:
        write_whole(path, (build / path.name).read_bytes())
    return path


def module_options(pybind11_folder: str) -> list[str]:
    """CMake's options that add the module for this Python to a build."""
    return [
        "-DBERT_EXPORT_PYTHON=ON",
        f"-DBERT_EXPORT_STATE={sources_state()}",
        f"-Dpybind11_DIR={pybind11_folder}",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]


@contextmanager
def _build(options: Sequence[str], target: str, advance: Advance | None) -> Iterator[Path]:
    """A folder in which a target of the sources is built; it is there as long as it is used."""
    with tempfile.TemporaryDirectory(prefix="bert-export-") as name:
        _run("configure", "-S", str(SOURCES), "-B", name, *options, advance=advance)
        jobs = str(len(os.sched_getaffinity(0)))
        arguments = ("--build", name, "--target", target, "--parallel", jobs)
        _run("build", *arguments, advance=advance)
        yield Path(name)


def _check_tools() -> None:
    """Make sure that what compiles is there.

    Raises:
        TargetError: It is not.
    """
    compiler = os.environ.get("CXX", "c++").split() or ["c++"]
    for name, package in (("cmake", "cmake"), (compiler[0], "g++ and make")):
        if shutil.which(name) is None:
            raise TargetError(
                f"program {name} is not installed",
                expected="CMake and a C++17 compiler, which build the C++ runtime",
                got=f"no {name} on PATH",
                fix=f"Install {package}, with the system's packages or conda",
            )


def _run(step: str, *arguments: str, advance: Advance | None) -> None:
    """Run CMake, and hear how far it is.

    Raises:
        TargetError: It fails.
    """
    if advance is not None:
        advance(step, 0)
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 - the arguments are ours
        ["cmake", *arguments],  # noqa: S607 - that on PATH
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                found = _STEP.match(line)
                if found is not None and advance is not None:
                    done, total = int(found[1]), int(found[2] or 100)
                    advance(step, 100 * done // total)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise _failure(step, lines)
    if advance is not None:
        advance(step, 100)


def _failure(step: str, lines: Sequence[str]) -> BertExportError:
    """What CMake or the compiler said first, for that is the cause."""
    said = next((line for line in lines if "rror:" in line or "CMake Error" in line), None)
    index = 0 if said is None else lines.index(said)
    words = "".join(lines[index : index + 3]) if said is not None else "".join(lines[-3:])
    return TargetError(
        f"step {step} of the C++ runtime fails",
        expected="CMake 3.18 or later, and a compiler such as GCC 11 or later",
        got=one_line(words),
        fix=f"Run cmake -S {SOURCES} -B build to see all of it",
    )
