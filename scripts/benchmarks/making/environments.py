"""Virtual environments of tools that are compared with but never installed beside the project."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bert_export.errors import InputError
from bert_export.measuring.child import call_apart
from bert_export.runtime.processor import detect_processor
from scripts.benchmarks.common.commands import run_command
from scripts.benchmarks.common.places import WORKERS

__all__ = ["REQUIREMENTS", "Environments", "optimum_preset", "parse_pythons"]

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "transformers": ("torch==2.13.0", "transformers>=4.57,<5", "sentence-transformers>=5,<6"),
    "optimum": ("torch==2.13.0", "optimum-onnx[onnxruntime]"),
    "openvino": ("torch==2.13.0", "nncf>=3", "openvino>=2026", "onnx"),
    "ctranslate2": ("torch==2.13.0", "transformers>=4.57,<5", "ctranslate2>=4.5"),
}
"""By environment: what pip is asked for."""

_PRESETS = {"x86-64-vnni": "--avx512_vnni", "x86-64": "--avx2", "arm64": "--arm64"}


def parse_pythons(pairs: Sequence[str]) -> dict[str, str]:
    """Interpreters as typed, ``NAME=PATH`` each.

    Raises:
        InputError: A pair is malformed, its name is unknown, or there is no such file.
    """
    pythons = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if name not in REQUIREMENTS:
            raise InputError(
                f"environment {pair!r} is unknown", expected=f"one of {', '.join(REQUIREMENTS)}"
            )
        if not os.access(path, os.X_OK):
            raise InputError(f"environment {pair!r} has no interpreter", expected="a file to run")
        pythons[name] = path
    return pythons


class Environments:
    """Interpreters by environment: those that were given, and others that are made once.

    Args:
        work: The folder of all work.
        given: See :func:`parse_pythons`.
    """

    def __init__(self, work: Path, given: Mapping[str, str]) -> None:
        self._work = work
        self._given = given

    def python(self, name: str) -> str:
        """The environment's interpreter, made where it is not there.

        Args:
            name: A key of :data:`REQUIREMENTS`.

        Raises:
            MeasurementError: It cannot be made.
        """
        if name in self._given:
            return self._given[name]
        folder = self._work / "environments" / name
        python = folder / "bin" / "python"
        ready = folder / "ready"
        if not ready.is_file():
            run_command([sys.executable, "-m", "venv", "--clear", str(folder)], threads=1)
            install = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]]
            run_command(install, threads=1)
            ready.touch()
        return str(python)

    def optimum(self, *arguments: str) -> list[str]:
        """The command ``optimum-cli`` with arguments."""
        return [self.python("optimum"), "-m", "optimum.commands.optimum_cli", *arguments]

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """Versions of what was asked for in these environments."""
        versions: dict[str, str] = {}
        for environment in sorted(set(names)):
            asked = {"packages": [_package(text) for text in REQUIREMENTS[environment]]}
            python = self.python(environment)
            reply = call_apart(
                WORKERS / "versions.py", "versions", asked, threads=1, python=python
            ).reply
            versions |= {f"{environment}: {name}": text for name, text in reply.items()}
        return versions


def optimum_preset() -> str:
    """What a user here would have optimum quantize for."""
    return _PRESETS[detect_processor()]


def _package(requirement: str) -> str:
    for mark in ("=", ">", "<", "["):
        requirement = requirement.partition(mark)[0]
    return requirement
