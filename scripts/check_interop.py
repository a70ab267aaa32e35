"""Whether other tools, in environments without this package, answer from folders made for them.

``python scripts/check_interop.py --write``: exports every head's demonstration in FP32 and INT8,
and sentence embeddings with prompts; makes an environment per tool (pip, and npm where there is
Node), hands every bundle over, lets the tool answer, and puts a table per head into
``scripts/NUMBERS.md``, each when it is done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from bert_export import export
from bert_export.bundle import write_whole
from bert_export.checkpoints.demo import find_base
from bert_export.errors import BertExportError
from bert_export.hand_over import CONSUMERS, hand_over
from bert_export.hand_over.sentence_transformers import SENTENCE_TRANSFORMERS
from bert_export.tasks.sentence_embedding import TASK as EMBEDDING
from bert_export.tracing import CACHE_VARIABLE
from scripts.benchmarks.common.numbers_page import Place, replace_section
from scripts.benchmarks.making.checkpoints import BASE_DEMO

__all__ = ["main"]

_NUMBERS = Path(__file__).with_name("NUMBERS.md")
_COMMAND = "python scripts/check_interop.py --write"
_TRANSFORMERS = (
    "torch==2.13.0",
    "transformers>=4.57,<5",
    "optimum-onnx[onnxruntime]>=0.1",
    "sentence-transformers>=5",
)
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "optimum": _TRANSFORMERS,
    "sentence-transformers": _TRANSFORMERS,
    "fastembed": ("fastembed>=0.7",),
}
_PROMPTS = {"query": "Represent this question: ", "passage": "Represent this passage: "}


class Head(NamedTuple):
    """A head whose bundles are handed over.

    Args:
        name: In the table.
        task: Of its bundles.
        tools: That read them.
        model: Makes the checkpoint below a folder; the task's demonstration when ``None``.
    """

    name: str
    task: str
    tools: Collection[str]
    model: Callable[[Path], Path] | None = None


class Outcome(NamedTuple):
    """What one tool made of one bundle."""

    head: str
    precision: str
    tool: str
    opset: int | None
    difference: float | None
    said: str
    failed: bool


def main() -> None:
    """Hand over, let answer, print a line each; leaves with 1 where one differs."""
    heads = {head.name: head for head in _heads()}
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="Bundles and environments are kept in it.")
    parser.add_argument("--only", choices=heads, action="append", help="May be repeated.")
    parser.add_argument("--write", action="store_true", help="Put tables into NUMBERS.md.")
    options = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault(CACHE_VARIABLE, str(folder / "traces"))
        interpreters = _make_environments(folder)
        for name in options.only or heads:
            outcomes = []
            for outcome in _outcomes(heads[name], folder, interpreters):
                outcomes.append(outcome)
                print(*outcome, flush=True)
            failed |= any(outcome.failed for outcome in outcomes)
            if options.write:
                text = _NUMBERS.read_text(encoding="utf-8")
                text = replace_section(text, Place("interop", name, "any"), _table(outcomes))
                write_whole(_NUMBERS, text.encode())
    sys.exit(failed)


def _make_environments(folder: Path) -> dict[str, Path | None]:
    """The interpreter of each tool's environment; environments of equal packages are one.

    A tool of Node has none: Node finds its packages by the variable ``NODE_PATH``, which is set.
    """
    made: dict[tuple[str, ...], Path] = {}
    for packages in _PACKAGES.values():
        if packages in made:
            continue
        place = folder / f"environment{len(made)}"
        if not place.exists():
            venv.create(place, with_pip=False, symlinks=True)
            pip = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]
            quiet = ["-qq", "--no-compile", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", *quiet, *packages], check=True)
        made[packages] = place / "bin" / "python"
    interpreters: dict[str, Path | None] = {
        tool: made[packages] for tool, packages in _PACKAGES.items()
    }
    npm = shutil.which("npm")
    if npm is not None:
        place = folder / "node"
        place.mkdir(exist_ok=True)
        if not (place / "node_modules").exists():
            # Its own scripts fetch engines for GPUs.
            install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run([*install, "@huggingface/transformers"], cwd=place, check=True)
        os.environ["NODE_PATH"] = str(place / "node_modules")
        interpreters["transformers.js"] = None
    return interpreters


def _heads() -> Iterator[Head]:
    for task in dict.fromkeys(task for tool in _PACKAGES for task in CONSUMERS[tool].tasks):
        yield Head(task, task, [name for name in CONSUMERS if task in CONSUMERS[name].tasks])
    tools = (SENTENCE_TRANSFORMERS.name,)
    yield Head(f"{EMBEDDING.name}-prompts", EMBEDDING.name, tools, _with_prompts)


def _with_prompts(folder: Path) -> Path:
    """The base model as people train it who write prompts before their sentences."""
    made = folder / "prompts"
    if not made.exists():
        shutil.copytree(find_base(BASE_DEMO), made)
        settings = {"prompts": _PROMPTS, "default_prompt_name": next(iter(_PROMPTS))}
        (made / "config_sentence_transformers.json").write_text(json.dumps(settings))
    return made


def _outcomes(
    head: Head, folder: Path, interpreters: Mapping[str, Path | None]
) -> Iterator[Outcome]:
    for precision in ("fp32", "int8"):
        bundle = folder / f"{head.name}-{precision}"
        if not bundle.exists():
            model = "demo" if head.model is None else head.model(folder)
            export(task=head.task, model=model, output=bundle, precision=precision)
        for tool, python in interpreters.items():
            if tool in head.tools:
                yield _hand_over(bundle, head.name, precision, tool, python)


def _hand_over(bundle: Path, head: str, precision: str, tool: str, python: Path | None) -> Outcome:
    with tempfile.TemporaryDirectory() as place:
        try:
            done = hand_over(bundle, tool, Path(place) / "model", python=python)
        except BertExportError as error:
            return Outcome(head, precision, tool, None, None, str(error), failed=True)
    return Outcome(
        head,
        precision,
        tool,
        done.opset,
        done.largest_difference,
        done.loaded,
        failed="not loaded" in done.loaded,
    )


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        f"### interop: {outcomes[0].head}",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}. `{_COMMAND}`",
        "",
        "| precision | tool | opset | default session | answers |",
        "|---|---|---:|---:|---|",
    ]
    for one in outcomes:
        difference = "–" if one.difference is None else f"{one.difference:.1e}"
        opset = "–" if one.opset is None else one.opset
        said = one.said.replace("|", "\\|")
        lines.append(f"| {one.precision} | {one.tool} | {opset} | {difference} | {said} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
