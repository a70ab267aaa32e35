"""Export: BERT-base size, random weights, to a calibrated and verified INT8 bundle.

Usage::

    python scripts/bench_export.py
    python scripts/bench_export.py --task fill-mask --peers-python peers/bin/python
    python scripts/bench_export.py --long-calibration

Contenders: our command, and optimum's commands (export, then dynamic quantization), which neither
calibrate nor check more than dummy input. Commands run one after another; their times add up and
the largest peak counts. The checkpoint has a real vocabulary and is made once. With
``--long-calibration`` ours calibrates on 512 texts that fill 256 tokens each, in the place of the
built-in set; how long that took of the whole export has a column and a bound of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import click
from measuring.checkpoints import export_command, random_checkpoint
from measuring.children import run_command
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import PEERS_PYTHON, Common, benchmark, steps
from measuring.peers import Peers, find_peers, optimum_preset
from measuring.report import Report, Section
from measuring.texts import read_texts
from measuring.turns import Contender, take_turns

from bert_export.bundle import read_manifest

OURS, THEIRS = "bert-export", "optimum"
ARCHITECTURES = {"feature-extraction": "BertModel", "fill-mask": "BertForMaskedLM"}
SECONDS, CALIBRATING, PEAK = "seconds", "of which calibrating", "peak, GB"
MOST_SECONDS, MOST_LONG_SECONDS, MOST_GIGABYTES = 75.0, 180.0, 3.0
_TEXTS, _TOKENS = 512, 256
_SENTENCES = 24  # of some 14 tokens each, joined and cut
_GIGABYTE = 1e9


@benchmark(rounds=3)
@click.option(
    "--task",
    type=click.Choice(list(ARCHITECTURES)),
    default="feature-extraction",
    show_default=True,
)
@click.option("--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True)
@click.option("--long-calibration", is_flag=True, help="512 texts of 256 tokens.")
@PEERS_PYTHON
def main(
    common: Common,
    *,
    task: str,
    precision: str,
    long_calibration: bool,
    peers_python: Path | None,
) -> Report:
    """Time and memory from a checkpoint of BERT-base size to a bundle."""
    peers, notes = find_peers(peers_python)
    machine = describe_machine()
    bundle = common.work / "bundles" / f"bert-base-{task}-{precision}"
    with steps(1 + (1 if peers is None else 2) * common.rounds) as step:
        step("checkpoint")
        model = random_checkpoint(ARCHITECTURES[task], common.work, threads=common.threads)
        ours = export_command(task, model, bundle, precision=precision, threads=common.threads)
        if long_calibration:
            texts = _write_texts(common.work / "long-texts.txt")
            ours += ["--calibration", str(texts), "--max-length", str(_TOKENS)]
        contenders = [Contender(OURS, lambda: _export(ours, common.threads))]
        if peers is not None:
            output = common.work / "optimum" / "bench-export"
            theirs = _commands(peers, task, model, output, quantize=precision == "int8")
            contenders.append(
                Contender(THEIRS, lambda: _run(theirs, common.threads, remove=output))
            )
        samples = take_turns(contenders, rounds=common.rounds, announce=step)
    parity = read_manifest(bundle).engine().parity
    if parity is not None:
        gate = f"{parity.agreement:.4f}, at least {parity.min_agreement:g}"
        difference = f"largest difference {parity.max_abs_difference:.3g}"
        notes = (*notes, f"Verified: {parity.agreement_kind} agreement {gate}; {difference}.")
    return Report(
        benchmark="bench_export",
        machine=machine,
        versions=installed_versions() | (peers.versions if peers else {}),
        settings={
            "task": task,
            "precision": precision,
            "calibration": f"{_TEXTS} texts of {_TOKENS} tokens"
            if long_calibration
            else "built in",
            "threads": common.threads,
            "runs": common.rounds,
        },
        sections=[_section(samples)],
        samples=samples,
        bounds=_bounds(samples[OURS], long_calibration=long_calibration),
        notes=notes,
    )


def _write_texts(path: Path) -> Path:
    """Long texts, of real sentences one after another."""
    sentences, _ = read_texts(_TEXTS * _SENTENCES)
    lines = [
        " ".join(sentences[start : start + _SENTENCES])
        for start in range(0, len(sentences), _SENTENCES)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _commands(
    peers: Peers, task: str, model: Path, output: Path, *, quantize: bool
) -> list[list[str]]:
    exported = str(output / "exported")
    commands = [
        peers.optimum("export", "onnx", "--model", str(model), "--task", task, exported),
    ]
    if quantize:
        commands.append(
            peers.optimum(
                *("onnxruntime", "quantize", optimum_preset()),
                *("--onnx_model", exported, "-o", str(output / "quantized")),
            )
        )
    return commands


def _bounds(ours: Samples, *, long_calibration: bool) -> list[Bound]:
    most = MOST_LONG_SECONDS if long_calibration else MOST_SECONDS
    bounds = [
        Bound("export", ours.median(SECONDS), most, "at most", "s"),
        Bound("peak memory", ours.median(PEAK), MOST_GIGABYTES, "at most", "GB"),
    ]
    if long_calibration:
        bounds.append(Bound("calibration", ours.median(CALIBRATING), most, "at most", "s"))
    return bounds


def _export(command: list[str], threads: int) -> dict[str, float]:
    """Our command, which tells how long its stages took."""
    usage = run_command([*command, "--json"], threads=threads)
    stages = {stage["name"]: stage["seconds"] for stage in json.loads(usage.printed)["stages"]}
    calibrating = {CALIBRATING: stages["calibrate"]} if "calibrate" in stages else {}
    return {SECONDS: usage.seconds, **calibrating, PEAK: usage.peak_bytes / _GIGABYTE}


def _run(
    commands: list[list[str]], threads: int, *, remove: Path | None = None
) -> dict[str, float]:
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)
    usages = [run_command(command, threads=threads) for command in commands]
    return {
        SECONDS: sum(usage.seconds for usage in usages),
        PEAK: max(usage.peak_bytes for usage in usages) / _GIGABYTE,
    }


def _section(samples: Mapping[str, Samples]) -> Section:
    ours = samples[OURS].median(SECONDS)
    return Section(
        "medians",
        ("contender", SECONDS, CALIBRATING, PEAK, "times ours"),
        [
            (
                name,
                found.median(SECONDS),
                found.median(CALIBRATING),
                found.median(PEAK),
                ratio(found.median(SECONDS), ours),
            )
            for name, found in samples.items()
        ],
    )


if __name__ == "__main__":
    main()
