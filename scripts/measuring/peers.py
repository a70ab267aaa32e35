"""The environment of the tools that are compared with but never installed beside the project."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from bert_export.runtime.processor import detect_processor

__all__ = ["Peers", "find_peers", "optimum_preset"]

_REQUIREMENTS = ('"optimum-onnx[onnxruntime]"', "torch==2.13.0")
_PRESETS = {"x86-64-vnni": "--avx512_vnni", "x86-64": "--avx2", "arm64": "--arm64"}
_WANTED = ("optimum", "optimum-onnx", "onnxruntime", "transformers", "torch")
_ASK = f"""
import json
from importlib.metadata import version
print(json.dumps({{name: version(name) for name in {_WANTED!r}}}))
"""


class Peers:
    """An interpreter that has optimum with its ONNX exporter.

    Args:
        python: The interpreter.
        versions: Of the packages in its environment that matter here.
    """

    def __init__(self, python: str, versions: dict[str, str]) -> None:
        self.python = python
        self.versions = {f"peers' {name}": found for name, found in versions.items()}

    def optimum(self, *arguments: str) -> list[str]:
        """The command ``optimum-cli`` with arguments."""
        return [self.python, "-m", "optimum.commands.optimum_cli", *arguments]


def optimum_preset() -> str:
    """What a user here would have optimum quantize for."""
    return _PRESETS[detect_processor()]


def find_peers(python: Path | None) -> tuple[Peers | None, tuple[str, ...]]:
    """Look whether an interpreter has the peers.

    Args:
        python: What the user gave; ``None`` where nothing was.

    Returns:
        The peers, or ``None`` and a note that says how to get them.
    """
    if python is not None:
        asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            return Peers(str(python), json.loads(asked.stdout)), ()
        reason = f"{python} lacks optimum-onnx"
    else:
        reason = "no --peers-python was given"
    note = (
        f"optimum was not measured: {reason}. Make an environment for it with\n"
        f"    python -m venv peers && peers/bin/pip install {' '.join(_REQUIREMENTS)}\n"
        "and pass --peers-python peers/bin/python."
    )
    return None, (note,)
