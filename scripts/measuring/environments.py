"""Virtual environments of tools that are compared with but never installed beside the project."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from measuring.children import run_command

__all__ = ["REQUIREMENTS", "find_environment", "parse_pythons"]

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "transformers": ("torch==2.13.0", "transformers>=4.57,<5", "sentence-transformers>=5,<6"),
    "optimum": ("torch==2.13.0", "optimum-onnx[onnxruntime]"),
    "openvino": ("torch==2.13.0", "nncf>=3", "openvino>=2026", "onnx"),
    "ctranslate2": ("torch==2.13.0", "transformers>=4.57,<5", "ctranslate2>=4.5"),
}
"""By environment: what pip is asked for."""


def parse_pythons(pairs: Sequence[str]) -> dict[str, str]:
    """Interpreters as typed, ``NAME=PATH`` each.

    Raises:
        ValueError: A pair is malformed, its name is unknown, or there is no such file.
    """
    found = {}
    for pair in pairs:
        name, _, path = pair.partition("=")
        if name not in REQUIREMENTS:
            raise ValueError(f"{pair}: the name must be one of {', '.join(REQUIREMENTS)}")
        if not os.access(path, os.X_OK):
            raise ValueError(f"{pair}: no interpreter is there")
        found[name] = path
    return found


def find_environment(name: str, work: Path, given: Mapping[str, str]) -> str:
    """The environment's interpreter: the one that was given, or one that is made once.

    Args:
        name: A key of :data:`REQUIREMENTS`.
        work: The folder of all work.
        given: See :func:`parse_pythons`.

    Raises:
        ChildError: It cannot be made.
    """
    if name in given:
        return given[name]
    folder = work / "environments" / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.is_file():
        run_command([sys.executable, "-m", "venv", "--clear", str(folder)], threads=1)
        install = [str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]]
        run_command(install, threads=1)
        ready.touch()
    return str(python)
