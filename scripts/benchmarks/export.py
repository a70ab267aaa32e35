"""Export: BERT-base size, random weights, to a calibrated and verified INT8 bundle.

Usage::

    python scripts/benchmarks/export.py
    python scripts/benchmarks/export.py --task fill-mask
    python scripts/benchmarks/export.py --long-calibration

Contenders: our command, and optimum's commands (export, then dynamic quantization), which neither
calibrate nor check more than dummy input. Commands run one after another, the contenders in
mirrored rounds, ``--lifetimes`` of each; the times of a contender's commands add up and the largest
peak counts. The checkpoint has a real vocabulary and is made once. With ``--long-calibration`` ours
calibrates on 512 texts that fill 256 tokens each, in the place of the built-in set; how long that
took of the whole export has a column and a bound of its own.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import click

from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.ratios import Ratio, paired_ratio
from bert_export.measuring.schedule import laps
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.commands import run_command
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Report, Section
from scripts.benchmarks.making.checkpoints import (
    ARCHITECTURES,
    export_command,
    random_checkpoint,
)
from scripts.benchmarks.making.environments import optimum_preset
from scripts.benchmarks.making.texts import read_texts

OURS, THEIRS = "bert-export", "optimum"
TASKS = ("feature-extraction", "fill-mask")
MOST_SECONDS, MOST_LONG_SECONDS, MOST_GIGABYTES = 75.0, 180.0, 3.0
_TEXTS, _TOKENS = 512, 256
_SENTENCES = 24  # of some 14 tokens each, joined and cut
_GIGABYTE = 1e9


@dataclass(slots=True)
class Runs:
    """What the runs of a contender took, one value per run.

    Args:
        seconds: Wall time.
        calibrating: Of it, where the contender tells.
        peak_bytes: Largest resident set.
        failure: Why there are no more.
    """

    seconds: list[float] = field(default_factory=list)
    calibrating: list[float] = field(default_factory=list)
    peak_bytes: list[int] = field(default_factory=list)
    failure: str | None = None

    @property
    def gigabytes(self) -> float | None:
        """The median peak."""
        middle = _median(self.peak_bytes)
        return None if middle is None else middle / _GIGABYTE


@benchmark("scripts/benchmarks/export.py")
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0], show_default=True)
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option("--long-calibration", is_flag=True, help="512 texts of 256 tokens.")
def main(
    common: Common, listener: Listener, *, task: str, precision: str, long_calibration: bool
) -> Report:
    """Time and memory from a checkpoint of BERT-base size to a bundle."""
    machine = describe_machine()
    listener.begin("checkpoint", done=0, total=1)
    bundle = common.work / "bundles" / f"bert-base-{task}-{precision}"
    bundle.parent.mkdir(exist_ok=True)
    model = random_checkpoint(ARCHITECTURES[task], common.work, threads=common.threads)
    options: list[str] = []
    if long_calibration:
        texts = _write_texts(common.work / "long-texts.txt")
        options = ["--calibration", str(texts), "--max-length", str(_TOKENS)]
    ours = export_command(
        task, model, bundle, precision=precision, threads=common.threads, options=options
    )
    contenders: dict[str, Callable[[Runs], None]] = {
        OURS: lambda runs: _run_ours(ours, common.threads, runs)
    }
    runs = {OURS: Runs(), THEIRS: Runs()}
    try:
        theirs = _commands(common, task, model, quantize=precision == "int8")
        contenders[THEIRS] = lambda runs: _run_theirs(theirs, common, runs)
    except MeasurementError as error:
        runs[THEIRS].failure = str(error)
    take_turns(contenders, runs, common.under.lifetimes, listener)
    notes = [f"{name} failed: {own.failure}" for name, own in runs.items() if own.failure]
    if runs[OURS].seconds:
        notes += _verified(bundle)
    ratio = runs_ratio(runs[THEIRS], runs[OURS])
    return Report(
        benchmark="export",
        machine=machine,
        versions=installed_versions(),
        settings={
            "precision": precision,
            "calibration": f"{_TEXTS} texts of {_TOKENS} tokens"
            if long_calibration
            else "built in",
            "threads": common.threads,
            "runs": common.under.lifetimes,
        },
        sections=[_section(task, runs, ratio, long_calibration=long_calibration)],
        figures=runs,
        bounds=_bounds(runs[OURS], long_calibration=long_calibration),
        notes=notes,
    )


def take_turns(
    contenders: Mapping[str, Callable[[Runs], None]],
    runs: Mapping[str, Runs],
    rounds: int,
    listener: Listener,
) -> None:
    """Run the contenders in mirrored rounds; one that fails is out, with its reason.

    Args:
        contenders: By name, what adds a run.
        runs: By name, filled.
        rounds: How many.
        listener: Hears of each run.
    """
    orders = laps(tuple(contenders), random.Random(0))
    for number in range(rounds):
        for name in next(orders):
            listener.begin(f"{name}, run {number + 1}", done=number, total=rounds)
            if runs[name].failure is None:
                try:
                    contenders[name](runs[name])
                except MeasurementError as error:
                    runs[name].failure = str(error)


def runs_ratio(numerator: Runs, denominator: Runs) -> Ratio | None:
    """The ratio of two contenders' times: a run is a process's whole life."""
    above, below = ([[run] for run in own.seconds] for own in (numerator, denominator))
    return paired_ratio(above, below)


def _write_texts(path: Path) -> Path:
    """Long texts, of real sentences one after another."""
    sentences, _ = read_texts(_TEXTS * _SENTENCES)
    lines = [
        " ".join(sentences[start : start + _SENTENCES])
        for start in range(0, len(sentences), _SENTENCES)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _commands(common: Common, task: str, model: Path, *, quantize: bool) -> list[list[str]]:
    """Optimum's commands."""
    output = _their_folder(common)
    exported = str(output / "exported")
    commands = [
        common.environments.optimum(
            "export", "onnx", "--model", str(model), "--task", task, exported
        )
    ]
    if quantize:
        commands.append(
            common.environments.optimum(
                *("onnxruntime", "quantize", optimum_preset()),
                *("--onnx_model", exported, "-o", str(output / "quantized")),
            )
        )
    return commands


def _their_folder(common: Common) -> Path:
    return common.work / "optimum-export"


def _run_ours(command: Sequence[str], threads: int, runs: Runs) -> None:
    """Our command, which tells how long its stages took."""
    usage = run_command([*command, "--json"], threads=threads)
    stages = {stage["name"]: stage["seconds"] for stage in json.loads(usage.printed)["stages"]}
    if "calibrate" in stages:
        runs.calibrating.append(stages["calibrate"])
    runs.seconds.append(usage.seconds)
    runs.peak_bytes.append(usage.peak_bytes)


def _run_theirs(commands: Sequence[Sequence[str]], common: Common, runs: Runs) -> None:
    shutil.rmtree(_their_folder(common), ignore_errors=True)
    usages = [run_command(command, threads=common.threads) for command in commands]
    runs.seconds.append(sum(usage.seconds for usage in usages))
    runs.peak_bytes.append(max(usage.peak_bytes for usage in usages))


def _verified(bundle: Path) -> list[str]:
    parity = read_manifest(bundle).engine().parity
    if parity is None:
        return []
    agreement = f"{parity.agreement:.4f}, at least {parity.min_agreement:g}"
    difference = f"largest difference {parity.max_abs_difference:.3g}"
    return [f"Verified: {parity.agreement_kind} agreement {agreement}; {difference}."]


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _section(
    task: str, runs: Mapping[str, Runs], ratio: Ratio | None, *, long_calibration: bool
) -> Section:
    return Section(
        part=f"{task}, long calibration" if long_calibration else task,
        title=f"{task}: medians, and how many times as long as ours",
        header=("contender", "seconds", "of which calibrating", "peak, GB", "times ours"),
        rows=[
            (
                name,
                _median(own.seconds),
                _median(own.calibrating),
                own.gigabytes,
                ratio if name == THEIRS else None,
            )
            for name, own in runs.items()
        ],
    )


def _bounds(ours: Runs, *, long_calibration: bool) -> list[Bound]:
    most = MOST_LONG_SECONDS if long_calibration else MOST_SECONDS
    bounds = [
        Bound("export", _median(ours.seconds), most, "at most", "s"),
        Bound("peak memory", ours.gigabytes, MOST_GIGABYTES, "at most", "GB"),
    ]
    if long_calibration:
        bounds.append(Bound("calibration", _median(ours.calibrating), most, "at most", "s"))
    return bounds


if __name__ == "__main__":
    main()
