"""Whether the oldest versions that pyproject.toml allows answer as the newest do.

``python scripts/check_oldest.py``: exports a small head in FP32 and INT8 with the packages that are
installed, makes an environment of the oldest versions of every dependency of the runtime and of the
extra ``openvino``, and lets that environment answer from the bundles, as folders and behind links.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bert_export import export
from bert_export.tracing import CACHE_VARIABLE

__all__ = ["main", "oldest"]

_ROOT = Path(__file__).resolve().parents[1]
_MOST_ERROR = 0.08
"""Root mean square of the logits' error in INT8, as a share of their spread."""

_TEXTS = [
    f"{verb} {what} {when}"
    for verb in ("play", "book", "rate", "find", "add")
    for what in ("some jazz", "a table for four", "this book five stars", "the weather in Paris")
    for when in ("tonight", "on Friday at nine")
]
_TARGETS = ("onnxruntime", "openvino")
_REQUIREMENT = re.compile(r"(?P<name>[\w-]+)>=(?P<version>[\d.]+)")
_ANSWER = """
import json, sys
from bert_export import load

bundle, target, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with load(bundle, target=target, threads=1) as pipeline:
    answers = pipeline(texts, top_k=None, function_to_apply="none")
by_label = [sorted(scores, key=lambda one: one["label"]) for scores in answers]
logits = [[one["score"] for one in scores] for scores in by_label]
print(json.dumps(logits))
"""


def oldest() -> list[str]:
    """The runtime's dependencies and OpenVINO, each pinned to the oldest version allowed."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(_pinned([*project["dependencies"], *project["optional-dependencies"]["openvino"]]))


def _pinned(requirements: list[str]) -> Iterator[str]:
    """A requirement's floor; its patch releases where the floor names none."""
    for requirement in requirements:
        floor = _REQUIREMENT.match(requirement)
        if floor is None:
            raise SystemExit(f"{requirement} has no floor")
        name, version = floor["name"], floor["version"]
        whole = version.count(".") >= 2
        yield f"{name}=={version}" if whole else f"{name}~={version}.0"


def main() -> None:
    """Compare, print a line per bundle, and leave with 1 where one is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.setdefault(CACHE_VARIABLE, str(folder / "traces"))
        python = _make_environment(folder / "environment")
        bundles = _export(folder)
        exact = _logits(Path(sys.executable), bundles["fp32"], "onnxruntime")
        wrong = 0
        for kind, bundle in bundles.items():
            for target in _TARGETS:
                found = _logits(python, bundle, target)
                error = float(np.sqrt(np.mean((found - exact) ** 2)) / exact.std())
                good = error < (_MOST_ERROR if kind.startswith("int8") else 1e-3)
                wrong += not good
                print(f"{target} {kind}: error {100 * error:.2f} %{'' if good else ', too much'}")
    sys.exit(wrong > 0)


def _make_environment(folder: Path) -> Path:
    """The interpreter of an environment with the oldest versions."""
    pins = oldest()
    print("oldest:", " ".join(pins))
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-compile"]
    subprocess.run([*pip, "-qq", "--disable-pip-version-check", *pins], check=True)
    return python


def _export(folder: Path) -> dict[str, Path]:
    """Bundles by kind."""
    bundles: dict[str, Path] = {}
    for precision in ("fp32", "int8"):
        bundles[precision] = export(
            task="text-classification",
            model="demo:snips",
            output=folder / precision,
            targets=_TARGETS,
            precision=precision,
            max_length=32,  # texts are short, and calibration and proof with them
        ).path
    links = bundles["int8 behind links"] = folder / "links"
    links.mkdir()
    for path in bundles["int8"].iterdir():
        (links / path.name).symlink_to(path)
    return bundles


def _logits(python: Path, bundle: Path, target: str) -> np.ndarray:
    """What an interpreter answers, (texts, labels)."""
    done = subprocess.run(
        [str(python), "-c", _ANSWER, str(bundle), target, json.dumps(_TEXTS)],
        stdout=subprocess.PIPE,
        check=True,
        cwd=_ROOT,
    )
    return np.array(json.loads(done.stdout))


if __name__ == "__main__":
    main()
