"""Sentence embeddings of one checkpoint: ours, and what a user would otherwise run.

Usage::

    python scripts/benchmarks/peers.py --json peers.json
    python scripts/benchmarks/peers.py --python optimum=env/bin/python --quick
    python scripts/benchmarks/peers.py --only transformers --only "ours onnxruntime int8"

Peers run in virtual environments of their own, made below ``--work`` the first time unless an
interpreter is given. Measured are the first answer, the graph at each shape, real sentences in
batches sorted by length, and where the contender tokenizes, the same sentences as text. All get the
same token ids; ours and sentence-transformers pool inside, the others give hidden states, which is
a little less work. Quality is the cosine to PyTorch in FP32 and, where the STS benchmark lies
beside the checkout, Spearman's correlation with its scores. What fails is a row with its reason,
and a row that a peer wins says so.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from bert_export.measuring.child import call_apart
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.ratios import Ratio
from bert_export.measuring.timing import Listener, time_first_answers
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.bounds import interval_of, quotient
from scripts.benchmarks.common.commands import Usage
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import DATA, WORKERS
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.checkpoints import (
    BASE_DEMO,
    base_folder,
    demo_checkpoint,
    export_bundle,
)
from scripts.benchmarks.making.shapes import LABELS
from scripts.benchmarks.making.stock_graphs import CTRANSLATE2_INT8, NNCF_INT8, StockGraphs
from scripts.benchmarks.making.texts import read_texts

TASK = "sentence-embedding"
REFERENCE = "transformers PyTorch FP32"
ROWS, TEXTS = "rows/s", "texts/s"
COLD, PEAK = "first answer, s", "memory, MB"
SIZE, MAKING, MAKING_PEAK, SPEARMAN = "size, MB", "making, s", "making, MB", "STS Spearman"
_STS = DATA / "stsb_en" / "stsb-en-test.csv"
_MEGABYTE = 1e6
_EACH = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are while contenders are prepared.

    Args:
        common: The options.
        hugging_face: The checkpoint as transformers reads it.
        sentence: The same with its pooling, as sentence-transformers reads it.
        folder: For what is made.
        stock: Makes what other tools give.
        usages: By name, what making a contender took.
    """

    common: Common
    hugging_face: Path
    sentence: Path
    folder: Path
    stock: StockGraphs
    usages: dict[str, Usage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """A row of the table.

    Args:
        environment: Whose interpreter opens it; ``None`` for this one.
        kind: An opener of ``workers/contenders.py``.
        prepare: Makes what it opens, under the contender's name; gives the path.
        options: Of the opener.
    """

    environment: str | None
    kind: str
    prepare: Callable[[Place, str], Path]
    options: Mapping[str, Any] = field(default_factory=dict)


def _hugging_face(place: Place, name: str) -> Path:
    del name
    return place.hugging_face


def _sentence(place: Place, name: str) -> Path:
    del name
    return place.sentence


def _bundle(place: Place, name: str, *, target: str, precision: str) -> Path:
    output = place.folder / f"ours-{target}-{precision}"
    if not (place.common.reuse and output.is_dir()):
        place.usages[name] = export_bundle(
            TASK,
            place.sentence,
            output,
            precision=precision,
            threads=place.common.threads,
            options=("--target", target),
        )
    return output


def _stock(place: Place, name: str, *, graph: str) -> Path:
    path = place.stock.stock(graph)
    return _noted(place, name, graph, path)


def _nncf(place: Place, name: str) -> Path:
    return _noted(place, name, NNCF_INT8, place.stock.nncf(place.folder / "tokens"))


def _ctranslate2(place: Place, name: str) -> Path:
    return _noted(place, name, CTRANSLATE2_INT8, place.stock.ctranslate2())


def _noted(place: Place, name: str, graph: str, path: Path) -> Path:
    """Keep what making a foreign graph took, where it was made now."""
    if graph in place.stock.usages:
        place.usages[name] = place.stock.usages[graph]
    return path


def _torch(precision: str, *, compiled: bool = False) -> Peer:
    options = {"task": "feature-extraction", "precision": precision, "compiled": compiled}
    return Peer("transformers", "transformers", _hugging_face, options)


def _ours(target: str, precision: str) -> Peer:
    prepare = partial(_bundle, target=target, precision=precision)
    return Peer(None, "bundle", prepare, {"target": target})


def _optimum(graph: str) -> Peer:
    return Peer("optimum", "onnxruntime", partial(_stock, graph=graph))


PEERS: Mapping[str, Peer] = {
    REFERENCE: _torch("float32"),
    "transformers PyTorch BF16": _torch("bfloat16"),
    "transformers torch.compile FP32": _torch("float32", compiled=True),
    "sentence-transformers FP32": Peer(
        "transformers", "sentence-transformers", _sentence, {"precision": "float32"}
    ),
    "optimum ONNX FP32": _optimum("exported FP32"),
    "optimum ONNX O3": _optimum("optimized FP32 O3"),
    "optimum ONNX dynamic INT8": _optimum("exported INT8"),
    "OpenVINO NNCF INT8": Peer("openvino", "openvino", _nncf),
    "CTranslate2 INT8": Peer("ctranslate2", "ctranslate2", _ctranslate2),
    "ours onnxruntime fp32": _ours("onnxruntime", "fp32"),
    "ours onnxruntime int8": _ours("onnxruntime", "int8"),
    "ours openvino bf16": _ours("openvino", "bf16"),
    "ours openvino int8": _ours("openvino", "int8"),
}


@dataclass(slots=True)
class Quality:
    """What a contender's vectors are worth.

    Args:
        cosine, least_cosine: To the reference's vectors, the mean and the least.
        spearman: Correlation of the pairs' cosines with their scores.
    """

    cosine: float | None = None
    least_cosine: float | None = None
    spearman: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that tables show.

    Args:
        comparison: Speeds, first answers and memory.
        costs: Size and making by figure and contender, as far as they are known.
        quality: By contender.
    """

    comparison: Comparison
    costs: Mapping[str, Mapping[str, float]]
    quality: Mapping[str, Quality]


@benchmark("scripts/benchmarks/peers.py")
@click.option("--only", multiple=True, help="A contender, or how its name begins; may be repeated.")
@click.option(
    "--model",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A sentence-transformers directory.  [default: all-MiniLM-L6-v2]",
)
@click.option("--pairs", type=click.IntRange(min=8), default=400, show_default=True)
def main(
    common: Common, listener: Listener, *, only: Sequence[str], model: Path | None, pairs: int
) -> Report:
    """Latency, throughput, start, size, making and quality of ours and of every peer."""
    chosen = choose(only)

    def announce(what: str) -> None:
        listener.begin(what, done=0, total=1)

    machine = describe_machine()
    announce("checkpoint")
    hugging_face = model or demo_checkpoint(BASE_DEMO, common.work, threads=common.threads)
    place = Place(
        common=common,
        hugging_face=hugging_face,
        sentence=model or base_folder(threads=common.threads),
        folder=common.work / "peers",
        stock=StockGraphs(
            "feature-extraction",
            hugging_face,
            common.work,
            common.environments,
            threads=common.threads,
            announce=announce,
            fresh=not common.reuse,
        ),
    )
    place.folder.mkdir(parents=True, exist_ok=True)
    texts, gold, source = sentences(32 if common.quick else pairs)
    announce("sentences")
    files = _write_batches(place, texts)
    comparison = Comparison(common.under)
    for index, name in enumerate(chosen):
        listener.begin(f"make {name}", done=index, total=len(chosen))
        _add(place, name, comparison)
    listener.begin("first answers", done=0, total=1)
    time_first_answers(
        list(comparison.contenders.values()),
        method="first_answer",
        request={"batches": files[LABELS[0]]},
        under=common.under,
        results=comparison.results,
    )
    comparison.time(_workloads(files, len(texts)), listener)
    quality = _judge(place, comparison, files, gold)
    found = Found(comparison, _known_costs(place, comparison), quality)
    used = [PEERS[name].environment for name in comparison.contenders]
    return Report(
        benchmark="peers",
        machine=machine,
        versions=installed_versions()
        | common.environments.versions(name for name in used if name is not None),
        settings={
            "checkpoint": place.sentence.name if model else BASE_DEMO,
            "sentences": f"{len(texts)} of {source}",
            **common.settings,
        },
        sections=_sections(found, whole=not only and model is None),
        figures={
            "measured": comparison.results,
            "costs": found.costs,
            "quality": quality,
        },
        notes=comparison.failures,
    )


def choose(only: Sequence[str]) -> list[str]:
    """The contenders that are asked for, and the reference, which quality is compared with."""
    for name in only:
        if not any(known.startswith(name) for known in PEERS):
            raise click.BadParameter(f"{name}: must begin one of {', '.join(PEERS)}")
    return [
        name
        for name in PEERS
        if not only or name == REFERENCE or any(name.startswith(one) for one in only)
    ]


def sentences(pairs: int) -> tuple[list[str], list[float] | None, str]:
    """Pairs of sentences one after the other, and their scores where there are any."""
    if not _STS.is_file():
        texts, source = read_texts(2 * pairs)
        return texts, None, source
    with _STS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows = [rows[index * len(rows) // pairs] for index in range(min(pairs, len(rows)))]
    texts = [text for first, second, _ in rows for text in (first, second)]
    return texts, [float(score) for _, _, score in rows], "the STS benchmark"


def _write_batches(place: Place, texts: list[str]) -> dict[str, str]:
    """Write texts, shapes and batches once, with the tokenizer of our own bundle."""
    bundle = place.folder / "tokens"
    if not bundle.is_dir():
        export_bundle(TASK, place.sentence, bundle, precision="fp32", threads=1)
    files = {"texts": "texts.json", "batches": "batches.npz", "order": "order.npy"}
    files |= {label: f"{label}.npz" for label in LABELS}
    files = {key: str(place.folder / name) for key, name in files.items()}
    Path(files["texts"]).write_text(json.dumps(texts), encoding="utf-8")
    request = {
        "bundle": str(bundle),
        "texts": files["texts"],
        "shapes": LABELS,
        "shape_files": [files[label] for label in LABELS],
        "batches": files["batches"],
        "order": files["order"],
    }
    call_apart(WORKERS / "feeds.py", "write_batches", request, threads=1)
    return files


def _workloads(files: Mapping[str, str], count: int) -> list[Workload]:
    shapes = [
        Workload(label=label, rows=int(label.partition("x")[0]), request={"batches": files[label]})
        for label in LABELS
    ]
    texts = {"texts": files["texts"], "each": _EACH}
    return [
        *shapes,
        Workload(label=ROWS, rows=count, request={"batches": files["batches"]}),
        Workload(label=TEXTS, rows=count, request=texts),
    ]


def _add(place: Place, name: str, comparison: Comparison) -> None:
    peer = PEERS[name]
    environment = peer.environment

    def make() -> Mapping[str, Any]:
        path = peer.prepare(place, name)
        return {"kind": peer.kind, "path": str(path), **peer.options}

    if environment is None:
        comparison.add(name, make)
    else:
        comparison.add(name, make, python=lambda: place.common.environments.python(environment))


def _judge(
    place: Place,
    comparison: Comparison,
    files: Mapping[str, str],
    gold: Sequence[float] | None,
) -> dict[str, Quality]:
    """Compare vectors with the reference's, and with the scores of the pairs."""
    vectors: dict[str, Any] = {}
    for name in comparison.contenders:
        file = place.folder / f"vectors {name}.npy"
        request = {"batches": files["batches"], "vectors": str(file)}
        if comparison.ask(name, "save_vectors", request) is not None:
            vectors[name] = np.load(file).astype(np.float64)
    order = np.argsort(np.load(files["order"]))
    quality = {}
    for name, own in vectors.items():
        quality[name] = one = Quality()
        if REFERENCE in vectors:
            cosines = (own * vectors[REFERENCE]).sum(axis=-1)
            one.cosine, one.least_cosine = float(cosines.mean()), float(cosines.min())
        if gold is not None:
            from scipy.stats import spearmanr

            pairs = own[order].reshape(len(gold), 2, -1)
            scores = (pairs[:, 0] * pairs[:, 1]).sum(axis=-1)
            one.spearman = float(spearmanr(scores, gold).statistic)
    return quality


def _known_costs(place: Place, comparison: Comparison) -> dict[str, dict[str, float]]:
    costs: dict[str, dict[str, float]] = {SIZE: {}, MAKING: {}, MAKING_PEAK: {}, PEAK: {}}
    for name, contender in comparison.contenders.items():
        costs[SIZE][name] = size_of(Path(contender.request["path"])) / _MEGABYTE
        if name in place.usages:
            costs[MAKING][name] = place.usages[name].seconds
            costs[MAKING_PEAK][name] = place.usages[name].peak_bytes / _MEGABYTE
        memory = comparison.results[name].first_answer_bytes
        if memory is not None:
            costs[PEAK][name] = memory / _MEGABYTE
    return costs


def size_of(path: Path) -> int:
    """Bytes of what a service has to carry: a graph file brings its folder's weights along."""
    folder = path if path.is_dir() else path.parent
    return sum(
        file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and file.name != "rows.npz"
    )


def _sections(found: Found, *, whole: bool) -> list[Section]:
    """All tables; for the page where all contenders of the usual checkpoint are in them."""
    sections = [speed_section(found), cost_section(found), *winner_sections(found)]
    return sections if whole else [replace(section, part=None) for section in sections]


def speed_section(found: Found) -> Section:
    """Milliseconds by shape, and rates."""
    comparison = found.comparison
    rows: list[list[Cell]] = []
    for (name, *times), result in zip(
        comparison.table(LABELS), comparison.results.values(), strict=True
    ):
        rates = [result.timings.get(label) for label in (ROWS, TEXTS)]
        rows.append(
            [
                name,
                *times,
                *(None if rate is None else rate.rows_per_second for rate in rates),
                "failed" if result.failure else "",
            ]
        )
    return Section(
        part="speed",
        title="Milliseconds of a call, median (95th percentile), and rates",
        header=("contender", *LABELS, ROWS, TEXTS, ""),
        rows=rows,
    )


def cost_section(found: Found) -> Section:
    """First answer, memory, size, making and quality."""
    rows: list[list[Cell]] = []
    for name in found.comparison.results:
        quality = found.quality.get(name, Quality())
        rows.append(
            [
                name,
                found.comparison.first_answer(name),
                *(found.costs[cost].get(name) for cost in (PEAK, SIZE, MAKING, MAKING_PEAK)),
                _decimals(quality.cosine, 5),
                _decimals(quality.least_cosine, 4),
                _decimals(quality.spearman, 4),
            ]
        )
    costs = (COLD, PEAK, SIZE, MAKING, MAKING_PEAK)
    return Section(
        part="costs",
        title="Start, memory, size, making, quality",
        header=("contender", *costs, "cosine", "least cosine", SPEARMAN),
        rows=rows,
    )


def _decimals(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def winner_sections(found: Found) -> list[Section]:
    """The best of ours beside the best peer, figure by figure, and who wins."""
    comparison = found.comparison
    ours = [name for name in comparison.results if name.startswith("ours")]
    peers = [name for name in comparison.results if name not in ours]
    rows: list[list[Cell]] = []
    for label in (*LABELS, ROWS, TEXTS):
        own, peer = comparison.fastest(ours, label), comparison.fastest(peers, label)
        if own is not None and peer is not None:
            rows.append([label, own, peer, *_verdict(comparison.ratio(own, peer, label))])
    starts = {
        name: start
        for name in comparison.results
        if (start := comparison.first_answer(name)) is not None
    }
    own, peer = _least(starts, ours), _least(starts, peers)
    if own is not None and peer is not None:
        rows.append([COLD, own, peer, *_verdict(comparison.first_answer_ratio(own, peer))])
    for cost, values in found.costs.items():
        own, peer = _least(values, ours), _least(values, peers)
        if own is not None and peer is not None:
            rows.append([cost, own, peer, *_verdict(quotient(values[peer], values[own]))])
    header = ("figure", "best of ours", "best peer", "ours, times better", "wins")
    title = "Best of ours against the best peer (95 % interval)"
    return [Section(part="winners", title=title, header=header, rows=rows)] if rows else []


def _least(values: Mapping[str, float], names: Sequence[str]) -> str | None:
    known = [name for name in names if name in values]
    return min(known, key=lambda name: values[name], default=None)


def _verdict(times: Ratio | float | None) -> tuple[Ratio | float | None, str]:
    """The figure, and who wins; nobody where the interval holds 1, or there is none."""
    if times is None:
        return None, ""
    interval = interval_of(times)
    if interval is None:
        return times, "unsure"
    low, high = interval
    if low <= 1 <= high:
        return times, "level"
    return times, "ours" if low > 1 else "the peer"


if __name__ == "__main__":
    main()
