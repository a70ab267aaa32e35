"""Let a bundle answer for long: many threads at once, batches of ever other shapes, many texts.

``python scripts/soak.py threads BUNDLE --target openvino``: 64 threads make 10,000 calls each, and
every answer must be the one that a single thread got. ``python scripts/soak.py memory BUNDLE``:
batches of random sizes for an hour; every minute a line with the resident memory. It must be flat
after ten minutes. ``python scripts/soak.py generation BUNDLE``: 1,000 prompts of random lengths,
each continued by a random number of tokens. The memory must be flat after a sixth of them; the peak
of a text as long as can be is said.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_export import load
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from bert_export.tasks.text_generation import TASK as TEXT_GENERATION

__all__ = [
    "FLAT",
    "Sample",
    "differing",
    "generated",
    "main",
    "peak_bytes",
    "ragged",
    "random_texts",
    "resident_bytes",
]

_WORDS = [
    "play",
    "some",
    "jazz",
    "book",
    "a",
    "table",
    "for",
    "four",
    "at",
    "nine",
    "rate",
    "this",
    "novel",
    "five",
    "stars",
    "find",
    "the",
    "weather",
    "in",
    "Paris",
    "tomorrow",
    "Ada",
    "Lovelace",
    "met",
    "Charles",
    "Babbage",
    "who",
    "wrote",
    "of",
    "an",
    "engine",
]
FLAT = 1.1
"""Growth after the first sixth of the time that still is flat."""

Sample = tuple[float, int, int]
"""Seconds, calls so far, resident bytes."""


def random_texts(number: int, *, longest: int, seed: int = 0) -> list[str]:
    """Texts of 1 to ``longest`` words, the same ones for the same seed."""
    source = random.Random(seed)
    return [" ".join(source.choices(_WORDS, k=source.randint(1, longest))) for _ in range(number)]


def differing(
    pipeline: Pipeline[Any, Any, Any], *, threads: int, calls: int, texts: Sequence[str]
) -> list[str]:
    """Let threads call at once, and compare each answer with a lone thread's.

    Args:
        pipeline: Of a task that answers texts.
        threads: That call.
        calls: Of each thread.
        texts: That they ask in turn, each from another place on.

    Returns:
        A line for each thread that got another answer, or an error: the first of them.
    """
    serial = [pipeline(text) for text in texts]
    start = threading.Barrier(threads)
    wrong: list[str] = []

    def call(number: int) -> None:
        start.wait()
        for index in range(calls):
            place = (number * 7 + index) % len(texts)
            try:
                answer = pipeline(texts[place])
            except Exception as error:  # noqa: BLE001  whatever comes is what is looked for
                wrong.append(f"thread {number}, call {index}: {error!r}")
                return
            if answer != serial[place]:
                wrong.append(f"thread {number}, call {index}: {answer} instead of {serial[place]}")
                return

    workers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


def ragged(
    pipeline: Pipeline[Any, Any, Any], *, seconds: float, every: float = 60.0, longest: int = 128
) -> Iterator[Sample]:
    """Run the raw graph on batches of 1 to 8 rows of 1 to ``longest`` tokens, each row its own.

    Args:
        pipeline: Whose graph reads rows of tokens.
        seconds: How long.
        every: Seconds between samples.
        longest: Tokens of a row.

    Yields:
        Samples, the first after the first call.
    """
    source, begin, calls, due = random.Random(0), time.monotonic(), 0, 0.0
    while (now := time.monotonic() - begin) < seconds:
        lengths = [source.randint(1, longest) for _ in range(source.randint(1, 8))]
        ids = np.full((len(lengths), max(lengths)), 5, np.int64)  # (B, S)
        pipeline.run(
            {
                "input_ids": ids,
                "attention_mask": (np.arange(ids.shape[1]) < np.c_[lengths]).astype(np.int64),
                "token_type_ids": np.zeros_like(ids),
            }
        )
        calls += 1
        if now >= due:
            yield now, calls, resident_bytes()
            due = now + every


def generated(
    pipeline: TextGenerationPipeline, *, texts: int, longest: int, every: int = 50
) -> Iterator[Sample]:
    """Continue prompts of random lengths by random numbers of tokens, one at a time.

    Args:
        pipeline: That continues.
        texts: How many.
        longest: Tokens of a prompt and its new ones together.
        every: Texts between samples.

    Yields:
        Samples, the first after the first text.
    """
    source, begin = random.Random(0), time.monotonic()
    words = np.random.default_rng(0)
    for number in range(texts):
        prompt = source.randint(1, longest - 1)
        ids = words.integers(0, pipeline.manifest.model.vocab_size, prompt)
        pipeline.continue_ids([ids], source.randint(1, longest - prompt))
        if number % every == 0 or number == texts - 1:
            yield time.monotonic() - begin, number + 1, resident_bytes()


def peak_bytes() -> int:
    """The most that was resident in this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (peak,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def resident_bytes(process: int | str = "self") -> int:
    """A process's resident set; this one's by default."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Soak one bundle; leaves with 1 where it does not keep its word."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["threads", "memory", "generation"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--target", help="the bundle's default when left out")
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--calls", type=int, default=10_000, help="of each thread")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--texts", type=int, default=1000, help="that generation continues")
    parser.add_argument("--longest", type=int, help="tokens of these; the bundle's when left out")
    options = parser.parse_args()
    with load(options.bundle, target=options.target, threads=1) as pipeline:
        if options.what == "threads":
            begin = time.monotonic()
            texts = random_texts(256, longest=24)
            wrong = differing(pipeline, threads=options.threads, calls=options.calls, texts=texts)
            taken = time.monotonic() - begin
            print(*wrong, f"{options.threads} x {options.calls} calls, {taken:.0f} s", sep="\n")
            sys.exit(bool(wrong))
        if options.what == "generation":
            sys.exit(_soak_generation(pipeline, options.texts, options.longest))
        samples = _printed(ragged(pipeline, seconds=options.seconds))
        settled = [resident for when, _, resident in samples if when >= options.seconds / 6]
        growth = max(settled) / settled[0]
        print(f"growth after {options.seconds / 6:.0f} s: {growth:.2f}")
        sys.exit(growth > FLAT)


def _soak_generation(pipeline: Pipeline[Any, Any, Any], texts: int, most: int | None) -> bool:
    """Continue texts, print what that took; gives whether memory grew."""
    if not isinstance(pipeline, TextGenerationPipeline):
        sys.exit(f"bundle of {pipeline.task} continues no text: expected {TEXT_GENERATION.name}.")
    longest = pipeline.tokenizer.max_length
    opened = resident_bytes()
    # The longest text first, so that the peak is its own.
    pipeline.continue_ids([np.full(1, pipeline.tokenizer.cls_id)], longest - 1)
    print(f"{opened / 1e6:.1f} MB opened, peak {peak_bytes() / 1e6:.1f} MB at {longest} tokens")
    samples = _printed(generated(pipeline, texts=texts, longest=min(most or longest, longest)))
    settled = [resident for _, done, resident in samples if done >= texts / 6]
    growth = max(settled) / settled[0]
    print(f"growth after {texts // 6} texts: {growth:.2f}, peak {peak_bytes() / 1e6:.1f} MB")
    return growth > FLAT


def _printed(samples: Iterator[Sample]) -> list[Sample]:
    """All samples, each printed when it comes."""
    seen = []
    for sample in samples:
        seen.append(sample)
        seconds, calls, resident = sample
        print(f"{seconds:6.0f} s  {calls:8} calls  {resident / 1e6:8.1f} MB", flush=True)
    return seen


if __name__ == "__main__":
    main()
