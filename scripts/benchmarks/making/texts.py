"""Real short texts, always the same ones in the same order."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

from scripts.benchmarks.common.places import CHECKOUT, DATA

__all__ = ["calibration_texts", "read_texts", "real_texts", "vary"]

_CALIBRATION = CHECKOUT / "calibration"
_SEED = 0


def read_texts(count: int, file: Path | None = None) -> tuple[list[str], str]:
    """Texts to answer.

    Args:
        count: How many.
        file: One text a line; the open data beside the checkout when ``None``, or where that is
            not there the calibration sets' own texts.

    Returns:
        The texts, shuffled with a fixed seed, and where they came from.
    """
    if file is not None:
        lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
        texts, source = [line for line in lines if line], file.name
    elif DATA.is_dir():
        texts, source = list(real_texts(DATA)), "STS benchmark and Snips"
    else:
        texts, source = list(calibration_texts(_CALIBRATION)), "calibration sets"
    texts = list(dict.fromkeys(texts))
    random.Random(_SEED).shuffle(texts)
    return vary(texts, count), source


def real_texts(data: Path) -> Iterator[str]:
    """Sentences of the STS benchmark, and requests to an assistant from Snips."""
    for part in ("dev", "test"):
        path = data / "stsb_en" / f"stsb-en-{part}.csv"
        with path.open(encoding="utf-8", newline="") as file:
            for first, second, *_ in csv.reader(file):
                yield from (first, second)
    for path in sorted((data / "snips").glob("*/validate_*.json")):
        (records,) = json.loads(path.read_bytes().decode("utf-8", "replace")).values()
        for record in records:
            yield "".join(part["text"] for part in record["data"]).strip()


def calibration_texts(folder: Path) -> Iterator[str]:
    """The ``text`` of every calibration example that has one."""
    for path in sorted(folder.glob("*/examples.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            text = json.loads(line).get("text")
            if text:
                yield text


def vary(texts: list[str], count: int) -> list[str]:
    """Exactly so many texts; where they run out, each comes back with another one's first words.

    Args:
        texts: At least one.
        count: How many are wanted.
    """
    varied = texts[:count]
    while len(varied) < count:
        lap, index = divmod(len(varied), len(texts))
        other = texts[(index + lap) % len(texts)].split()
        varied.append(f"{texts[index]} {' '.join(other[: 1 + lap % 7])}")
    return varied
