"""Answering needs neither PyTorch nor any other tool of the export."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bert_export
from bert_export.runtime import pipelines

HEAVY = (
    "click",
    "huggingface_hub",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "rich",
    "safetensors",
    "sentence_transformers",
    "torch",
    "transformers",
)
PIPELINES = tuple(info.name for info in pkgutil.iter_modules(pipelines.__path__))
MODULES = (
    "bert_export",
    "bert_export.bundle",
    "bert_export.runtime.loading",
    "bert_export.runtime.tokenization",
    *(f"bert_export.runtime.pipelines.{name}" for name in PIPELINES),
)
PROGRAM = """
import sys
from importlib import import_module

for name in sys.argv[1].split(","):
    import_module(name)
    found = [heavy for heavy in sys.argv[2].split(",") if heavy in sys.modules]
    if found:
        sys.exit(f"{name} imports {', '.join(found)}")
print(len(sys.modules))
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(bert_export.__file__).parents[1],
    )


def test_runtime_imports_nothing_heavy() -> None:
    """Module after module, so that the message names the culprit."""
    finished = run(PROGRAM, ",".join(MODULES), ",".join(HEAVY))
    assert finished.returncode == 0, finished.stderr


def test_load_is_reached_lightly() -> None:
    program = "import bert_export, sys; bert_export.load; print('torch' in sys.modules)"
    finished = run(program)
    assert (finished.returncode, finished.stdout.strip()) == (0, "False"), finished.stderr


def test_the_package_alone_imports_no_engine() -> None:
    program = "import bert_export, sys; print({'numpy', 'onnxruntime'} & set(sys.modules))"
    finished = run(program)
    assert (finished.returncode, finished.stdout.strip()) == (0, "set()"), finished.stderr


def test_a_pipeline_leaves_the_others_alone() -> None:
    program = (
        "import sys, bert_export.runtime.loading as l;"
        "print(*sorted(n for n in sys.modules if n.startswith('bert_export.runtime.pipelines.')))"
    )
    finished = run(program)
    shared = [f"bert_export.runtime.pipelines.{name}" for name in ("inputs", "pipeline")]
    assert finished.stdout.split() == shared, finished.stderr


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bert_export.nothing  # noqa: B018 - the access is what is tested
