"""The measured checkpoints, as directories that every tool reads, and our bundles of them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import bert_export
from bert_export.tasks import find_task
from measuring.children import Usage, run_command, run_worker

__all__ = [
    "BASE_DEMO",
    "base_folder",
    "demo_checkpoint",
    "demo_of",
    "export_bundle",
    "export_command",
    "random_checkpoint",
    "weights_digest",
]

BASE_DEMO = "minilm"
"""The demonstration that is the base model itself."""

_CARD = "card.json"
_WEIGHTS = "model.safetensors"
_WORKER = "worker_checkpoints"


def demo_of(task: str) -> str | None:
    """The demonstration that a task's bundle is made of; ``None`` where it is not there."""
    name = find_task(task).demo
    card = Path(bert_export.__file__).parent / "demonstrations" / str(name) / _CARD
    return name if name == BASE_DEMO or card.is_file() else None


def base_folder(*, threads: int) -> Path:
    """The base model's own folder, as sentence-transformers reads it."""
    messages, _ = run_worker(_WORKER, {"kind": "base"}, threads=threads)
    return Path(messages[-1]["folder"])


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
    request = {
        "kind": "demo",
        "name": name,
        "folder": str(folder),
        "random_labels": random_labels,
    }
    run_worker(_WORKER, request, threads=threads)
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
        request = {"kind": "random", "architecture": architecture, "folder": str(folder)}
        run_worker(_WORKER, request, threads=threads)
    return folder


def weights_digest(checkpoint: Path) -> str:
    """First digits of the sha256 of a directory's weights: names what is derived from them."""
    with (checkpoint / _WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def export_command(
    task: str, model: str | Path, output: Path, *, precision: str, threads: int
) -> list[str]:
    """The command that a user types to export a checkpoint."""
    return [
        sys.executable,
        *("-m", "bert_export.cli"),
        *("--task", task, "--model", str(model), "--precision", precision),
        *("--output", str(output), "--threads", str(threads), "--force", "--quiet"),
    ]


def export_bundle(
    task: str, model: str | Path, output: Path, *, precision: str, threads: int
) -> Usage:
    """Export a checkpoint with the command; gives what that took.

    Raises:
        ChildError: The export failed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    return run_command(
        export_command(task, model, output, precision=precision, threads=threads), threads=threads
    )
