"""The C++ runtime: what a call costs beside its graph, its tokenizer, first answers and embedding.

Usage::

    python scripts/benchmarks/cpp_runtime.py --threads 1 TAGGER EMBEDDER

TAGGER is a bundle that tags or classifies, EMBEDDER one of sentence embedding, both for ONNX
Runtime. The program that is measured is built with CMake below ``--work``. Contenders take turns
within a second or so on one thread, and processor time counts, so that other work on the machine
moves none of them.

- *beside the graph*: what of a call with 16 and 128 tokens is not ONNX Runtime's run, in C++, in
  Python, and in Python with the compiled module where that is built; the clock is read around the
  run, within the call. The ratio is with ONNX Runtime alone, in turns, on the same feeds.
- *tokenizer*: ids, offsets and words of texts, against ``tokenizers`` one text at a time.
- *first answer*: processor time and peak memory of a process that opens TAGGER and answers once.
- *embedding*: short texts in one call, against the Python pipeline on the same engine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from unittest import mock

import click
import onnxruntime
import tokenizers

import bert_export
from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError, one_line
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.ratios import Ratio, paired_ratio
from bert_export.measuring.samples import median_interval
from bert_export.measuring.timing import Listener
from bert_export.runtime.native import SWITCH, native_state
from bert_export.runtime.sessions.onnxruntime import start_engine
from scripts.benchmarks.common.bounds import Bound
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.report import Cell, Report, Section
from scripts.benchmarks.making.texts import read_texts

SCRIPT = "scripts/benchmarks/cpp_runtime.py"
SOURCES = Path(__file__).parent / "cpp"
LENGTHS = (16, 128)
WARM_UP = 20
MOST_BESIDE = {"C++": (0.08, 0.12), "Python": (0.35, None), "Python, compiled module": (0.15, None)}
LEAST_TOKENIZER, MOST_FIRST, MOST_MEGABYTES, LEAST_EMBEDDING = 10.0, 0.45, 65.0, 1.25
_MILLI, _MEGABYTE = 1e3, 1e6
_FIRST = """
import sys, bert_export
with bert_export.load(sys.argv[1], threads=1) as pipeline:
    pipeline(sys.argv[2])
"""
_STARTER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


@dataclass(frozen=True, slots=True)
class Beside:
    """Turns of a call and of its graph alone, in seconds of processor time.

    Args:
        tokens: Of the row.
        whole: Of the calls.
        within: Of the graph, within each call.
        bare: Of the graph alone, in the same turns.
    """

    tokens: int
    whole: Sequence[float]
    within: Sequence[float]
    bare: Sequence[float]

    @property
    def milliseconds(self) -> Sequence[float]:
        """What of each call was not its graph."""
        return [_MILLI * (a - b) for a, b in zip(self.whole, self.within, strict=True)]

    @property
    def ratio(self) -> Ratio | None:
        """How many times as long a call takes as its graph."""
        return paired_ratio([self.whole], [self.bare])


@benchmark(SCRIPT, lifetimes=1, cold_starts=11)
@click.argument("tagger", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("embedder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--turns", type=click.IntRange(min=2), default=400, show_default=True)
@click.option("--texts", type=click.IntRange(min=1), default=3000, show_default=True)
def main(
    common: Common, listener: Listener, *, tagger: Path, embedder: Path, turns: int, texts: int
) -> Report:
    """Measure the C++ runtime against ONNX Runtime alone and against the Python pipelines."""
    if common.quick:
        turns, texts = 4, 20
    machine = describe_machine()
    listener.begin("building", done=0, total=5)
    program = _build(common)
    listener.begin("beside the graph", done=1, total=5)
    beside = {
        (who, length): measure(program, tagger, text_of(tagger, length), turns)
        for who, measure in _callers().items()
        for length in LENGTHS
    }
    listener.begin("tokenizer", done=2, total=5)
    lines, source = read_texts(texts)
    rounds = 2 if common.quick else 8
    tokenizer = _tokenizer(program, tagger, lines, common.work, rounds)
    listener.begin("first answers", done=3, total=5)
    first = _first_answers(program, tagger, common.under.cold_starts)
    listener.begin("embedding", done=4, total=5)
    embedding = _embedding(program, embedder, lines, common.work, 2 if common.quick else 6)
    return Report(
        benchmark="cpp_runtime",
        machine=machine,
        versions=installed_versions(),
        settings={"threads": 1, "turns": turns, "texts": f"{texts} of {source}"},
        sections=[
            _beside_section(tagger, beside),
            _ratios_section(tagger, embedder, tokenizer, first, embedding),
        ],
        figures={
            f"{who} 1x{length}": {"whole": one.whole, "within": one.within, "bare": one.bare}
            for (who, length), one in beside.items()
        },
        bounds=_bounds(beside, tokenizer, first, embedding),
    )


def _build(common: Common) -> Path:
    """The program, built below the folder of all work.

    Raises:
        MeasurementError: CMake or the compiler fails.
    """
    folder = common.work / "cpp"
    for arguments in (
        ("-S", str(SOURCES), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"),
        ("--build", str(folder), "--target", "measure", "timed_onnxruntime", "--parallel", "2"),
    ):
        cmake = shutil.which("cmake")
        if cmake is None:
            raise MeasurementError("program cmake is not installed", expected="CMake on PATH")
        done = subprocess.run([cmake, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise MeasurementError(
                "program measure cannot be built", got=one_line(done.stderr, keep_end=True)
            )
    return folder / "measure"


def text_of(bundle: Path, length: int) -> str:
    """A text that has so many tokens, special ones included."""
    record = read_manifest(bundle).tokenizer
    library = tokenizers.Tokenizer.from_file(str(bundle / record.file))
    text = ""
    for word in " ".join(read_texts(400)[0]).split():
        longer = f"{text} {word}".strip()
        if len(library.encode(longer)) > length:
            continue
        text = longer
        if len(library.encode(text)) == length:
            return text
    raise MeasurementError(f"no text has {length} tokens", expected=f"{length}")


Caller = Callable[[Path, Path, str, int], Beside]


def _callers() -> dict[str, Caller]:
    """Who calls: the compiled module only where it is built."""
    callers: dict[str, Caller] = {"C++": _in_cpp, "Python": _in_python("0")}
    if native_state() == "compiled module":
        callers["Python, compiled module"] = _in_python("1")
    return callers


def _in_cpp(program: Path, bundle: Path, text: str, turns: int) -> Beside:
    engine = program.parent / "timed_onnxruntime.so"
    command = [str(program), "overhead", str(bundle), str(turns), text, str(engine)]
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    tokens, *lines = _output(command, TIMED_ONNXRUNTIME=str(library)).split("\n")
    whole, within, bare = zip(*(map(float, line.split()) for line in lines if line), strict=True)
    return Beside(int(tokens), whole, within, bare)


class TimedSession(onnxruntime.InferenceSession):  # type: ignore[misc]  # the library has no types
    """A session that counts the processor seconds of its runs."""

    seconds = 0.0

    def run(self, *arguments: Any) -> Any:
        """As the engine's own."""
        begin = time.process_time()
        try:
            return super().run(*arguments)
        finally:
            TimedSession.seconds += time.process_time() - begin


def _in_python(switch: str) -> Caller:
    def measure(_: Path, bundle: Path, text: str, turns: int) -> Beside:
        with (
            mock.patch.dict(os.environ, {SWITCH: switch}),
            mock.patch.object(onnxruntime, "InferenceSession", TimedSession),
        ):
            return _call_python(bundle, text, turns)

    return measure


def _call_python(bundle: Path, text: str, turns: int) -> Beside:
    with bert_export.load(bundle, target="onnxruntime", threads=1) as pipeline:
        engine = read_manifest(bundle).engine("onnxruntime")
        session = start_engine(bundle / engine.graph.file, threads=1)
        names = [output.name for output in engine.graph.outputs]
        item = pipeline.item({"text": text})
        (rows,) = pipeline.encode_items([item], pipeline.defaults)
        feeds = dict(pipeline.feeds(rows))
        whole: list[float] = []
        within: list[float] = []
        bare: list[float] = []

        def answer() -> None:
            before = TimedSession.seconds
            whole.append(_seconds(lambda: pipeline(text)))
            within.append(TimedSession.seconds - before)

        def run_graph() -> None:
            bare.append(_seconds(lambda: session.run(names, feeds)))

        for turn in range(-WARM_UP, turns):
            for call in (answer, run_graph) if turn % 2 == 0 else (run_graph, answer):
                call()
        return Beside(len(rows[0]), whole[WARM_UP:], within[WARM_UP:], bare[WARM_UP:])


def _seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _output(command: Sequence[str], **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise MeasurementError(f"program {command[0]} fails", got=one_line(done.stderr))
    return done.stdout


def _turns(
    command: Sequence[str], call: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    """Processor seconds of our turns, and of the program's, which answers a line with its own."""
    ours: list[float] = []
    theirs: list[float] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        asked, answers = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)

        def ask() -> float:
            print(file=asked, flush=True)
            answer = answers.readline()
            if not answer:
                raise MeasurementError(f"program {command[0]} fails", expected="its seconds")
            return float(answer)

        call()
        ask()
        for turn in range(rounds):
            if turn % 2 == 0:
                ours.append(_seconds(call))
            theirs.append(ask())
            if turn % 2 != 0:
                ours.append(_seconds(call))
    return ours, theirs


def _tokenizer(
    program: Path, bundle: Path, lines: Sequence[str], work: Path, rounds: int
) -> Ratio | None:
    """How many times as fast the C++ tokenizer gives ids, offsets and words."""
    record = read_manifest(bundle).tokenizer
    library = tokenizers.Tokenizer.from_file(str(bundle / record.file))

    def encode() -> None:
        for line in lines:
            row = library.encode(line)
            _ = row.ids, row.offsets, row.word_ids

    command = [str(program), "tokenize", str(bundle), str(_write(work, lines))]
    ours, theirs = _turns(command, encode, rounds)
    return paired_ratio([ours], [theirs])


def _embedding(
    program: Path, bundle: Path, lines: Sequence[str], work: Path, rounds: int
) -> Ratio | None:
    """How many times the texts a second C++ embeds."""
    command = [str(program), "embed", str(bundle), str(_write(work, lines))]
    with bert_export.load(bundle, target="onnxruntime", threads=1) as pipeline:
        ours, theirs = _turns(command, lambda: pipeline(list(lines)), rounds)
    return paired_ratio([ours], [theirs])


def _write(work: Path, lines: Sequence[str]) -> Path:
    path = work / "texts.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@dataclass(frozen=True, slots=True)
class FirstAnswers:
    """Processes that answer once.

    Args:
        seconds: Median processor seconds of C++ and of Python.
        megabytes: The largest peak of C++ and of Python.
        ratio: C++'s seconds as a share of Python's.
    """

    seconds: tuple[float, float]
    megabytes: tuple[float, float]
    ratio: Ratio | None


def _first_answers(program: Path, bundle: Path, starts: int) -> FirstAnswers:
    text = text_of(bundle, LENGTHS[0])
    commands = (
        [str(program), "first", str(bundle), text],
        [sys.executable, "-c", _FIRST, str(bundle), text],
    )
    seconds: tuple[list[float], list[float]] = ([], [])
    peaks: tuple[list[float], list[float]] = ([], [])
    for start in range(-1, starts):
        sides = (0, 1) if start % 2 == 0 else (1, 0)
        for side in sides:
            used = _wait(commands[side])
            if start >= 0:
                seconds[side].append(used[0])
                peaks[side].append(used[1])
    return FirstAnswers(
        (statistics.median(seconds[0]), statistics.median(seconds[1])),
        (max(peaks[0]), max(peaks[1])),
        paired_ratio([seconds[0]], [seconds[1]]),
    )


def _wait(command: Sequence[str]) -> tuple[float, float]:
    """Processor seconds of a process, and its peak in megabytes.

    A small process starts it: a child's peak is at least that of the process that it was forked
    from.
    """
    answer = _output([sys.executable, "-S", "-c", _STARTER, *command])
    seconds, kilobytes = map(float, answer.split())
    return seconds, 1024 * kilobytes / _MEGABYTE


def _beside_section(bundle: Path, beside: dict[tuple[str, int], Beside]) -> Section:
    rows: list[list[Cell]] = []
    for (who, length), one in beside.items():
        low, high = median_interval(one.milliseconds)
        rows.append(
            [
                who,
                f"1x{length}",
                _MILLI * statistics.median(one.bare),
                statistics.median(one.milliseconds),
                f"{low:.3f} to {high:.3f}",
                one.ratio,
            ]
        )
    manifest = read_manifest(bundle)
    return Section(
        part=f"beside the graph, {manifest.task} {manifest.engine('onnxruntime').precision}",
        title="Medians of processor milliseconds, and the interval of what a call costs beside",
        header=("caller", "tokens", "graph, ms", "beside, ms", "interval", "call over graph"),
        rows=rows,
    )


def _ratios_section(
    tagger: Path, embedder: Path, tokenizer: Ratio | None, first: FirstAnswers, embedding: Any
) -> Section:
    memory = f"{first.megabytes[0]:.0f} and {first.megabytes[1]:.0f} MB"
    start = f"{_MILLI * first.seconds[0]:.0f} and {_MILLI * first.seconds[1]:.0f} ms"
    return Section(
        part=f"against Python, {read_manifest(tagger).task}, {read_manifest(embedder).task}",
        title="Processor time of Python and C++ for the same work",
        header=("what", "ratio", "details"),
        rows=[
            ["tokenizer with offsets, times as fast as tokenizers", tokenizer, ""],
            ["first answer, share of Python's processor time", first.ratio, start],
            ["first answer, peak of C++ and of Python", None, memory],
            ["embedding, times Python's texts a second", embedding, ""],
        ],
    )


def _bounds(
    beside: dict[tuple[str, int], Beside],
    tokenizer: Ratio | None,
    first: FirstAnswers,
    embedding: Ratio | None,
) -> list[Bound]:
    bounds = []
    for (who, length), one in beside.items():
        most = MOST_BESIDE[who][LENGTHS.index(length)]
        if most is not None:
            value = statistics.median(one.milliseconds)
            bounds.append(Bound(f"{who} beside 1x{length}", value, most, "at most", "ms"))
    return [
        *bounds,
        Bound("tokenizer over tokenizers", tokenizer, LEAST_TOKENIZER, "at least", "x"),
        Bound("first answer over Python's", first.ratio, MOST_FIRST, "at most", "x"),
        Bound("peak of a first answer", first.megabytes[0], MOST_MEGABYTES, "at most", "MB"),
        Bound("embedding over Python's", embedding, LEAST_EMBEDDING, "at least", "x"),
    ]


if __name__ == "__main__":
    main()
