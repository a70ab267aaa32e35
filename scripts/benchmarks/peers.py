"""Sentence embeddings of one checkpoint: ours, and what a user would otherwise run.

Usage::

    python scripts/compare_peers.py --json peers.json
    python scripts/compare_peers.py --python optimum=env/bin/python --quick
    python scripts/compare_peers.py --only transformers --only "ours onnxruntime int8"

Peers run in virtual environments of their own, made below ``--work`` the first time unless an
interpreter is given. A turn is one process: start to first answer, the graph at each shape, real
sentences in batches sorted by length, and where the contender tokenizes, the same sentences as
text. Turns are interleaved. All get the same token ids; ours and sentence-transformers pool inside,
the others give hidden states, which is a little less work. Quality is the cosine to PyTorch in FP32
and, where the STS benchmark lies beside the checkout, Spearman's correlation with its scores. What
fails is a row with its reason, and a row that a peer wins says so.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from measuring.checkpoints import BASE_DEMO, base_folder, demo_checkpoint, export_command
from measuring.children import ChildError, Usage, run_command, run_worker
from measuring.environments import REQUIREMENTS, find_environment, parse_pythons
from measuring.figures import Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import Common, benchmark, steps
from measuring.peers import optimum_preset
from measuring.report import Report, Section
from measuring.texts import read_texts
from measuring.turns import interleave

TASK = "sentence-embedding"
SHAPES = ("1x16", "1x128", "8x128", "32x64")
REFERENCE = "transformers PyTorch FP32"
COLD, PEAK, ROWS, TEXTS = "first answer, s", "memory, MB", "rows/s", "texts/s"
SIZE, MAKING, MAKING_PEAK, SPEARMAN = "size, MB", "making, s", "making, MB", "STS Spearman"
_COSTS = (COLD, PEAK, SIZE, MAKING, MAKING_PEAK)
_MORE_IS_BETTER = (ROWS, TEXTS, SPEARMAN)
_STS = Path(__file__).parents[2] / "shared" / "data" / "stsb_en" / "stsb-en-test.csv"
_MEGABYTE = 1e6
_TAIL = 300
_CALIBRATION_ROWS = 128


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are while contenders are prepared.

    Args:
        hugging_face: The checkpoint as transformers reads it.
        sentence: The same with its pooling, as sentence-transformers reads it.
        folder: For what is made.
        python: Gives an environment's interpreter, made where needed.
        threads: Of everything.
        reuse: Whether what is there is taken.
    """

    hugging_face: Path
    sentence: Path
    folder: Path
    python: Callable[[str], str]
    threads: int
    reuse: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a contender opens, and what making it took.

    Args:
        path: A file or folder; its size is the artifact's.
        usage: ``None`` where nothing is made, or it was there.
    """

    path: Path
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Contender:
    """A row of the table.

    Args:
        environment: A key of ``REQUIREMENTS``; ``None`` for this one.
        kind: An opener of ``worker_peers``.
        prepare: Makes what it opens.
        options: Of the opener.
    """

    environment: str | None
    kind: str
    prepare: Callable[[Place], Prepared]
    options: Mapping[str, Any] = field(default_factory=dict)


def _hugging_face(place: Place) -> Prepared:
    return Prepared(place.hugging_face, None)


def _sentence(place: Place) -> Prepared:
    return Prepared(place.sentence, None)


def _bundle(place: Place, *, target: str, precision: str) -> Prepared:
    output = place.folder / f"ours-{target}-{precision}"
    command = export_command(
        TASK, place.sentence, output, precision=precision, threads=place.threads
    )
    return _made(place, output, lambda: _run(place, [*command, "--target", target]))


def _run(place: Place, command: Sequence[str]) -> Usage:
    return run_command(command, threads=place.threads)


def _made(place: Place, output: Path, make: Callable[[], Usage]) -> Prepared:
    """Make a file or folder, unless it is there and may be taken."""
    if place.reuse and output.exists():
        return Prepared(output, None)
    if output.is_dir():
        shutil.rmtree(output)
    output.unlink(missing_ok=True)
    return Prepared(output, make())


def _optimum(place: Place, *arguments: str) -> Usage:
    python = place.python("optimum")
    return _run(place, [python, "-m", "optimum.commands.optimum_cli", *arguments])


def _exported(place: Place) -> Prepared:
    output = place.folder / "optimum-fp32"
    export = ("export", "onnx", "--model", str(place.hugging_face), "--task", "feature-extraction")
    options = ("--library", "transformers", str(output))
    made = _made(place, output, lambda: _optimum(place, *export, *options))
    return Prepared(output / "model.onnx", made.usage)


def _export_there(place: Place) -> Path:
    """The exported graph that other peers start from."""
    path = place.folder / "optimum-fp32" / "model.onnx"
    return path if path.is_file() else _exported(place).path


def _optimized(place: Place) -> Prepared:
    source, output = _export_there(place).parent, place.folder / "optimum-o3"
    command = ("onnxruntime", "optimize", "--onnx_model", str(source), "-O3", "-o", str(output))
    made = _made(place, output, lambda: _optimum(place, *command))
    return Prepared(output / "model_optimized.onnx", made.usage)


def _dynamic(place: Place) -> Prepared:
    source, output = _export_there(place).parent, place.folder / "optimum-int8"
    command = ("onnxruntime", "quantize", optimum_preset(), "--onnx_model", str(source))
    made = _made(place, output, lambda: _optimum(place, *command, "-o", str(output)))
    return Prepared(output / "model_quantized.onnx", made.usage)


def _nncf(place: Place) -> Prepared:
    """NNCF's quantization for transformers, calibrated on the text that calibrates ours."""
    graph = _export_there(place)
    rows, output = place.folder / "calibration.npz", place.folder / "nncf"
    output_file = output / "model.xml"
    bundle = place.folder / "ours-onnxruntime-fp32"
    if not bundle.is_dir():
        _bundle(place, target="onnxruntime", precision="fp32")
    asked = {"bundle": str(bundle), "output": str(rows), "most": _CALIBRATION_ROWS}
    run_worker("worker_calibration_rows", asked, threads=place.threads)

    def make() -> Usage:
        output.mkdir()
        request = {"graph": str(graph), "rows": str(rows), "output": str(output_file)}
        _, usage = run_worker(
            "worker_nncf_quantize",
            request,
            threads=place.threads,
            python=place.python("openvino"),
        )
        return usage

    return Prepared(output_file, _made(place, output, make).usage)


def _ctranslate2(place: Place) -> Prepared:
    output = place.folder / "ctranslate2"

    def make() -> Usage:
        request = {"do": "convert", "model": str(place.hugging_face), "output": str(output)}
        _, usage = run_worker(
            "worker_peers",
            request,
            threads=place.threads,
            python=place.python("ctranslate2"),
        )
        return usage

    return _made(place, output, make)


def _torch(dtype: str, *, compiled: bool = False) -> Contender:
    options = {"dtype": dtype, "compiled": compiled}
    return Contender("transformers", "transformers", _hugging_face, options)


def _ours(target: str, precision: str) -> Contender:
    prepare = partial(_bundle, target=target, precision=precision)
    return Contender(None, "ours", prepare, {"target": target})


CONTENDERS: Mapping[str, Contender] = {
    REFERENCE: _torch("float32"),
    "transformers PyTorch BF16": _torch("bfloat16"),
    "transformers torch.compile FP32": _torch("float32", compiled=True),
    "sentence-transformers FP32": Contender("transformers", "sentence-transformers", _sentence),
    "optimum ONNX FP32": Contender("optimum", "onnxruntime", _exported),
    "optimum ONNX O3": Contender("optimum", "onnxruntime", _optimized),
    "optimum ONNX dynamic INT8": Contender("optimum", "onnxruntime", _dynamic),
    "OpenVINO NNCF INT8": Contender("openvino", "openvino", _nncf),
    "CTranslate2 INT8": Contender("ctranslate2", "ctranslate2", _ctranslate2),
    "ours onnxruntime fp32": _ours("onnxruntime", "fp32"),
    "ours onnxruntime int8": _ours("onnxruntime", "int8"),
    "ours openvino bf16": _ours("openvino", "bf16"),
    "ours openvino int8": _ours("openvino", "int8"),
}


@dataclass(slots=True)
class Found:
    """What is known of a contender so far."""

    prepared: Prepared | None = None
    samples: Samples = field(default_factory=Samples)
    cosine: float | None = None
    least_cosine: float | None = None
    spearman: float | None = None
    failure: str | None = None


@benchmark(rounds=3)
@click.option("--only", multiple=True, help="A contender, or how its name begins; may be repeated.")
@click.option("--python", "pythons", multiple=True, metavar="NAME=PATH", help="An interpreter.")
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A sentence-transformers directory.  [default: all-MiniLM-L6-v2]",
)
@click.option("--pairs", type=click.IntRange(min=8), default=400, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=0.6,
    show_default=True,
    help="Per shape and turn, at least.",
)
@click.option("--reuse", is_flag=True, help="Take what was made before; then making has no time.")
@click.option("--quick", is_flag=True, help="One turn, few sentences: whether everything runs.")
def main(
    common: Common,
    *,
    only: Sequence[str],
    pythons: Sequence[str],
    model: Path | None,
    pairs: int,
    seconds: float,
    reuse: bool,
    quick: bool,
) -> Report:
    """Latency, throughput, start, size, making and quality of ours and of every peer."""
    chosen = _choose(only)
    try:
        given = parse_pythons(pythons)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    rounds, seconds, pairs = (1, 0.1, 32) if quick else (common.rounds, seconds, pairs)
    place = Place(
        hugging_face=model or demo_checkpoint(BASE_DEMO, common.work, threads=common.threads),
        sentence=model or base_folder(threads=common.threads),
        folder=common.work / "peers",
        python=lambda name: find_environment(name, common.work, given),
        threads=common.threads,
        reuse=reuse,
    )
    place.folder.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    texts, gold, source = _sentences(pairs)
    found = {name: Found() for name in chosen}
    with steps(1 + len(chosen) * (1 + rounds)) as step:
        step("sentences")
        files = _encode(place, texts)
        for name in chosen:
            step(f"make {name}")
            _guard(found[name], partial(_prepare, place, name, found))
        for turn, name in interleave(chosen, rounds):
            step(f"{name}, turn {turn + 1}")
            if found[name].failure is None:
                measured = partial(_turn, place, name, found[name], files, seconds=seconds)
                _guard(found[name], partial(measured, count=len(texts), first=turn == 0))
    _judge(place, found, files, gold)
    for one in found.values():
        one.samples.add(_facts(one))
    return Report(
        benchmark="compare_peers",
        machine=machine,
        versions=installed_versions() | _versions(place, chosen, found),
        settings={
            "checkpoint": place.sentence.name if model else BASE_DEMO,
            "sentences": f"{len(texts)} of {source}",
            "threads": common.threads,
            "turns": rounds,
        },
        sections=[_speed(found), _costs(found), *_winners(found)],
        samples={name: one.samples for name, one in found.items()},
        bounds=(),
        notes=[f"{name} failed: {one.failure}" for name, one in found.items() if one.failure],
    )


def _choose(only: Sequence[str]) -> list[str]:
    """The contenders that are asked for, and the reference, which quality is compared with."""
    for name in only:
        if not any(known.startswith(name) for known in CONTENDERS):
            raise click.BadParameter(f"{name}: must begin one of {', '.join(CONTENDERS)}")
    return [
        name
        for name in CONTENDERS
        if not only or name == REFERENCE or any(name.startswith(one) for one in only)
    ]


def _sentences(pairs: int) -> tuple[list[str], list[float] | None, str]:
    """Pairs of sentences one after the other, and their scores where there are any."""
    if not _STS.is_file():
        texts, source = read_texts(2 * pairs)
        return texts, None, source
    with _STS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows = [rows[index * len(rows) // pairs] for index in range(min(pairs, len(rows)))]
    texts = [text for first, second, _ in rows for text in (first, second)]
    return texts, [float(score) for _, _, score in rows], "the STS benchmark"


def _encode(place: Place, texts: list[str]) -> dict[str, str]:
    """Write texts, shapes and batches once, with the tokenizer of our own bundle."""
    bundle = place.folder / "tokens"
    if not bundle.is_dir():
        command = export_command(TASK, place.sentence, bundle, precision="fp32", threads=1)
        run_command(command, threads=place.threads)
    names = {"texts_file": "texts.json", "shapes_file": "shapes.npz"}
    names |= {"batches_file": "batches.npz", "order_file": "order.npy"}
    files = {key: str(place.folder / name) for key, name in names.items()}
    Path(files["texts_file"]).write_text(json.dumps(texts), encoding="utf-8")
    request = {"do": "encode", "bundle": str(bundle), "shapes": SHAPES, **files}
    run_worker("worker_peers", request, threads=1)
    return files


def _guard(found: Found, step: Callable[[], None]) -> None:
    """What fails is a row with its reason."""
    try:
        step()
    except (ChildError, OSError) as error:
        found.failure = " ".join(str(error).split())[-_TAIL:]


def _prepare(place: Place, name: str, found: Mapping[str, Found]) -> None:
    contender = CONTENDERS[name]
    if contender.environment is not None:
        place.python(contender.environment)  # made before any clock runs
    found[name].prepared = contender.prepare(place)


def _vectors_file(place: Place, name: str) -> Path:
    return place.folder / f"vectors {name}.npy"


def _turn(
    place: Place,
    name: str,
    found: Found,
    files: Mapping[str, str],
    *,
    seconds: float,
    count: int,
    first: bool,
) -> None:
    contender = CONTENDERS[name]
    if found.prepared is None:
        raise RuntimeError(f"{name} is measured before it is made")
    request = {
        "do": "measure",
        "kind": contender.kind,
        "path": str(found.prepared.path),
        "shapes": SHAPES,
        "seconds": seconds,
        "vectors_file": str(_vectors_file(place, name)) if first else None,
        **contender.options,
        **files,
    }
    python = sys.executable
    if contender.environment is not None:
        python = place.python(contender.environment)
    messages, _ = run_worker("worker_peers", request, threads=place.threads, python=python)
    figures: dict[str, float] = {}
    for message in messages:
        if message["event"] == "first":
            figures[COLD] = message["seconds"]
        elif message["event"] == "shape":
            figures[message["label"]] = 1000 * message["seconds"]
        elif message["event"] == "rows":
            figures[ROWS] = count / message["seconds"]
        elif message["event"] == "texts":
            figures[TEXTS] = count / message["seconds"]
        elif message["event"] == "done":
            figures[PEAK] = message["peak_bytes"] / _MEGABYTE
    found.samples.add(figures)


def _judge(
    place: Place,
    found: Mapping[str, Found],
    files: Mapping[str, str],
    gold: Sequence[float] | None,
) -> None:
    """Compare vectors with the reference's, and with the scores of the pairs."""
    reference_file = _vectors_file(place, REFERENCE)
    reference = found[REFERENCE].failure is None and reference_file.is_file()
    order = np.argsort(np.load(files["order_file"]))
    for name, one in found.items():
        if one.failure is not None:
            continue
        vectors = np.load(_vectors_file(place, name)).astype(np.float64)
        if reference:
            cosines = (vectors * np.load(reference_file)).sum(axis=-1)
            one.cosine, one.least_cosine = float(cosines.mean()), float(cosines.min())
        if gold is not None:
            from scipy.stats import spearmanr

            pairs = vectors[order].reshape(len(gold), 2, -1)
            scores = (pairs[:, 0] * pairs[:, 1]).sum(axis=-1)
            one.spearman = float(spearmanr(scores, gold).statistic)


def _versions(place: Place, chosen: Sequence[str], found: Mapping[str, Found]) -> dict[str, str]:
    """Versions in every environment that took part."""
    used = {CONTENDERS[name].environment for name in chosen if found[name].failure is None}
    versions: dict[str, str] = {}
    for environment in sorted(name for name in used if name is not None):
        names = sorted(
            {
                requirement.partition("=")[0].partition(">")[0].partition("[")[0]
                for requirement in REQUIREMENTS[environment]
            }
        )
        messages, _ = run_worker(
            "worker_versions", {"names": names}, threads=1, python=place.python(environment)
        )
        versions |= {
            f"{environment}: {name}": version for name, version in messages[-1]["versions"].items()
        }
    return versions


def _speed(found: Mapping[str, Found]) -> Section:
    figures = (*SHAPES, ROWS, TEXTS)
    rows = [
        (name, *(one.samples.median(figure) for figure in figures), _state(one))
        for name, one in found.items()
    ]
    header = ("contender", *(f"{shape}, ms" for shape in SHAPES), ROWS, TEXTS, "")
    return Section("Speed: medians over turns", header, rows)


def _facts(one: Found) -> dict[str, float]:
    """What is known once: size, making and quality, as far as they are there."""
    facts: dict[str, float | None] = {
        "cosine": one.cosine,
        "least cosine": one.least_cosine,
        SPEARMAN: one.spearman,
    }
    if one.prepared is not None:
        facts[SIZE] = _size(one.prepared.path) / _MEGABYTE
        if one.prepared.usage is not None:
            facts[MAKING] = one.prepared.usage.seconds
            facts[MAKING_PEAK] = one.prepared.usage.peak_bytes / _MEGABYTE
    return {name: value for name, value in facts.items() if value is not None}


def _costs(found: Mapping[str, Found]) -> Section:
    rows = [
        (
            name,
            *map(one.samples.median, _COSTS),
            None if one.cosine is None else f"{one.cosine:.5f}",
            None if one.least_cosine is None else f"{one.least_cosine:.4f}",
            None if one.spearman is None else f"{one.spearman:.4f}",
        )
        for name, one in found.items()
    ]
    header = ("contender", *_COSTS, "cosine", "least cosine", SPEARMAN)
    return Section("Start, size, making, quality", header, rows)


def _size(path: Path) -> int:
    """Bytes of what a service has to carry: a graph file brings its folder's weights along."""
    folder = path if path.is_dir() else path.parent
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _state(one: Found) -> str:
    return "failed" if one.failure else ""


def _winners(found: Mapping[str, Found]) -> list[Section]:
    """The fastest of ours beside the fastest peer, figure by figure, and who wins."""
    ours = [name for name in found if name.startswith("ours")]
    peers = [name for name in found if not name.startswith("ours")]
    rows: list[tuple[str | float | None, ...]] = []
    for figure in (*SHAPES, ROWS, TEXTS, *_COSTS, SPEARMAN):
        more_is_better = figure in _MORE_IS_BETTER
        best = [
            _best(found, names, figure, more_is_better=more_is_better) for names in (ours, peers)
        ]
        if None in best:
            continue
        (own, mine), (peer, theirs) = [pair for pair in best if pair is not None]
        times = ratio(mine, theirs) if more_is_better else ratio(theirs, mine)
        winner = "ours" if times is not None and times >= 1 else "the peer"
        rows.append((figure, own, mine, peer, theirs, times, winner))
    header = ("figure", "best of ours", "", "best peer", "", "times better", "wins")
    return [Section("Best of ours against the best peer", header, rows)] if rows else []


def _best(
    found: Mapping[str, Found], names: Sequence[str], figure: str, *, more_is_better: bool
) -> tuple[str, float] | None:
    medians = [
        (name, value) for name in names if (value := found[name].samples.median(figure)) is not None
    ]
    if not medians:
        return None
    choose = max if more_is_better else min
    return choose(medians, key=lambda pair: pair[1])


if __name__ == "__main__":
    main()
