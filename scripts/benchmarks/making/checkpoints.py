"""The measured checkpoints, as directories that every tool reads, and our bundles of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bert_export
from bert_export.measuring.child import call_apart
from bert_export.tasks import find_task
from scripts.benchmarks.common.commands import Usage, run_command
from scripts.benchmarks.common.places import WORKERS

__all__ = [
    "ARCHITECTURES",
    "BASE_DEMO",
    "CAUSAL",
    "base_folder",
    "demo_bundle",
    "demo_checkpoint",
    "demo_of",
    "export_bundle",
    "export_command",
    "measured_checkpoint",
    "random_checkpoint",
    "upstream_folder",
    "weights_digest",
]

BASE_DEMO = "minilm"
"""The demonstration that is the base model itself."""

ARCHITECTURES = {
    "feature-extraction": "BertModel",
    "text-classification": "BertForSequenceClassification",
    "fill-mask": "BertForMaskedLM",
}
"""Classes of ``transformers`` by task."""

CAUSAL = "BertLMHeadModel"
"""The class whose tokens see only those before them."""

_CLASSIFIER_LABELS = 7
_CARD = "card.json"
_WEIGHTS = "model.safetensors"
_WORKER = WORKERS / "checkpoints.py"


def demo_of(task: str) -> str | None:
    """The demonstration that a task's bundle is made of; ``None`` where it is not there."""
    name = find_task(task).demo
    card = Path(bert_export.__file__).parent / "demonstrations" / str(name) / _CARD
    return name if name == BASE_DEMO or card.is_file() else None


def base_folder(*, threads: int) -> Path:
    """The base model's own folder, as sentence-transformers reads it."""
    return Path(call_apart(_WORKER, "find_base_folder", {}, threads=threads).reply["folder"])


def demo_checkpoint(
    name: str, work: Path, *, threads: int, random_labels: int | None = None
) -> Path:
    """Write a demonstration, base and adapter merged, as a Hugging Face directory.

    Args:
        name: Such as ``minilm`` or ``snips``.
        work: The folder of all work.
        threads: Of the child that writes it.
        random_labels: Put a random text-classification head with so many labels on it, where
            speed is all that matters.

    Returns:
        The directory, written anew: a demonstration may have been trained again.
    """
    suffix = "" if random_labels is None else f"-{random_labels}-labels"
    folder = work / "checkpoints" / f"{name}{suffix}"
    request = {"name": name, "folder": str(folder), "random_labels": random_labels}
    call_apart(_WORKER, "write_demo", request, threads=threads)
    return folder


def random_checkpoint(architecture: str, work: Path, *, threads: int) -> Path:
    """A Hugging Face directory of BERT-base size with random weights and a real vocabulary.

    Args:
        architecture: A class of ``transformers``, such as ``BertModel``.
        work: The folder of all work; what it holds already is taken, the seed is fixed.
        threads: Of the child that writes it.
    """
    folder = work / "checkpoints" / f"bert-base-{architecture}"
    if not (folder / _WEIGHTS).is_file():
        request: dict[str, Any] = {"architecture": architecture, "folder": str(folder)}
        if architecture == CAUSAL:
            request["config"] = {"is_decoder": True}
        call_apart(_WORKER, "write_random", request, threads=threads)
    return folder


def measured_checkpoint(weights: str, task: str, work: Path, *, threads: int) -> Path:
    """The checkpoint behind a row of a table of speeds.

    Args:
        weights: ``minilm``, with the task's demonstration head or a random one, or ``bert-base``,
            random weights of that size.
        task: A key of :data:`ARCHITECTURES`.
        work: The folder of all work.
        threads: Of the child that writes it.
    """
    if weights == "bert-base":
        return random_checkpoint(ARCHITECTURES[task], work, threads=threads)
    demo = BASE_DEMO if task == "feature-extraction" else demo_of(task)
    if demo is not None:
        return demo_checkpoint(demo, work, threads=threads)
    return demo_checkpoint(BASE_DEMO, work, threads=threads, random_labels=_CLASSIFIER_LABELS)


def weights_digest(checkpoint: Path) -> str:
    """First digits of the sha256 of a directory's weights: names what is derived from them."""
    with (checkpoint / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def upstream_folder(task: str, work: Path, *, threads: int) -> Path:
    """The very weights of the task's demonstration, as upstream libraries read them."""
    demo = str(demo_of(task))
    if demo == BASE_DEMO:
        return base_folder(threads=threads)
    return demo_checkpoint(demo, work, threads=threads)


def demo_bundle(task: str, precision: str, work: Path, *, threads: int) -> Path:
    """A bundle of the task's demonstration, exported anew."""
    bundle = work / "bundles" / f"{task}-{precision}"
    export_bundle(task, f"demo:{demo_of(task)}", bundle, precision=precision, threads=threads)
    return bundle


def export_command(
    task: str,
    model: str | Path,
    output: Path,
    *,
    precision: str,
    threads: int,
    options: Sequence[str] = (),
) -> list[str]:
    """The command that a user types to export a checkpoint, further options behind it."""
    return [
        sys.executable,
        *("-m", "bert_export.cli"),
        *("--task", task, "--model", str(model), "--precision", precision),
        *("--output", str(output), "--threads", str(threads), "--force", "--quiet"),
        *options,
    ]


def export_bundle(
    task: str,
    model: str | Path,
    output: Path,
    *,
    precision: str,
    threads: int,
    options: Sequence[str] = (),
) -> Usage:
    """Export a checkpoint with the command; gives what that took.

    Raises:
        MeasurementError: The export failed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    command = export_command(
        task, model, output, precision=precision, threads=threads, options=options
    )
    return run_command(command, threads=threads)
