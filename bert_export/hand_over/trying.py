"""A written folder in the consumer itself, where that is installed here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bert_export.errors import VerificationError
from bert_export.hand_over.answers import differences, questions
from bert_export.hand_over.consumer import Bundle, Consumer, Trial

__all__ = ["try_folder"]

_SECONDS = 600


def try_folder(
    consumer: Consumer, bundle: Bundle, folder: Path, *, python: str | Path | None = None
) -> str:
    """Load a folder in its consumer, in a process of its own, and compare the answers.

    Args:
        consumer: Who reads it.
        bundle: That the folder was made of.
        folder: The folder.
        python: The interpreter of an environment that has the consumer; this one when ``None``.

    Returns:
        What was done: the answers were equal, or the consumer is not installed here.

    Raises:
        VerificationError: The consumer cannot load the folder, or answers otherwise.
    """
    trial, call = consumer.trial, consumer.call
    if trial is None or call is None:
        return f"{consumer.name} cannot be run from here: not loaded"
    missing = (
        []
        if python and not trial.node
        else [name for name in trial.needs if not _is_there(name, trial)]
    )
    if missing:
        return f"{', '.join(missing)} not installed: not loaded in {consumer.name}"
    inputs = questions(bundle)
    command = ["node", "-e"] if trial.node else [str(python or sys.executable), "-c"]
    told = [trial.program, str(folder.absolute()), bundle.manifest.task, json.dumps(inputs)]
    theirs = _run(consumer.name, [*command, *told])
    ours = call(bundle, inputs)
    wrong = list(differences(ours, theirs))
    if wrong:
        raise VerificationError(
            f"folder for {consumer.name} answers differently there",
            expected="the bundle's answers",
            got=f"{wrong[0]}; {len(wrong)} differences",
        )
    return f"loaded in {consumer.name}: {len(inputs)} answers equal"


def _is_there(name: str, trial: Trial) -> bool:
    if trial.node:
        program = shutil.which("node")
        if program is None:
            return False
        resolve = [program, "-e", f"require.resolve({json.dumps(name)})"]
        found = subprocess.run(resolve, capture_output=True, check=False)  # noqa: S603  our own text
        return found.returncode == 0
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even its package
        return False


def _run(name: str, command: list[str]) -> Any:
    try:
        done = subprocess.run(  # noqa: S603  an interpreter, a program of ours
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise VerificationError(
            f"folder for {name} is not answered there", got=f"nothing for {_SECONDS} s"
        ) from error
    except OSError as error:
        raise VerificationError(
            f"folder for {name} cannot be loaded there", got=f"{command[0]}: {error.strerror}"
        ) from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise VerificationError(f"folder for {name} cannot be loaded there", got=said[-1][:300])
    return json.loads(lines[-1])
