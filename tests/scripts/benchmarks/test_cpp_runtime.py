"""The benchmark of the C++ runtime: turns of two processes, and its tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError
from bert_export.measuring.ratios import Ratio
from bert_export.runtime.tokenization import Tokenizer
from scripts.benchmarks import cpp_runtime
from scripts.benchmarks.common.report import cell_text
from scripts.benchmarks.cpp_runtime import Beside, FirstAnswers, text_of

BUNDLE = Path(__file__).parents[2] / "bundle" / "older" / "v2-token-classification-fp32"
ECHO = "import sys\nfor line in sys.stdin: print(0.5, flush=True)"


def test_what_a_call_costs_beside_its_graph() -> None:
    graph = [0.002, 0.002, 0.002, 0.002]
    one = Beside(16, whole=[0.003, 0.004, 0.003, 0.003], within=graph, bare=graph)
    assert one.milliseconds == pytest.approx([1, 2, 1, 1])
    assert one.ratio is not None
    assert 1.5 <= one.ratio.value <= 2
    section = cpp_runtime._beside_section(BUNDLE, {("C++", 16): one})
    assert [cell_text(cell) for cell in section.rows[0][:4]] == ["C++", "1x16", "2", "1"]
    sure = Ratio(value=12.0, interval=(11.0, 13.0), lifetimes=1, laps=6)
    share = Ratio(value=1 / 12, interval=(1 / 13, 1 / 11), lifetimes=1, laps=6)
    first = FirstAnswers((0.1, 0.5), (60.0, 90.0), share)
    bounds = cpp_runtime._bounds({("C++", 16): one, ("C++", 128): one}, sure, first, sure)
    verdicts = [bound.verdict for bound in bounds]
    assert verdicts == ["MISS", "MISS", "PASS", "PASS", "PASS", "PASS"]


@pytest.mark.parametrize("length", [16, 20])
def test_a_text_of_a_length(length: int) -> None:
    record = read_manifest(BUNDLE).tokenizer
    tokenizer = Tokenizer.from_file(BUNDLE / record.file, record)
    ((row,),) = tokenizer.encode([text_of(BUNDLE, length)])
    assert len(row) == length


def test_processes_take_turns() -> None:
    calls: list[None] = []
    ours, theirs = cpp_runtime._turns(
        [sys.executable, "-c", ECHO], lambda: calls.append(None), rounds=3
    )
    assert len(ours) == len(theirs) == 3
    assert theirs == [0.5] * 3
    assert len(calls) == 4
    with pytest.raises(MeasurementError, match="fails"):
        cpp_runtime._turns([sys.executable, "-c", ""], lambda: None, rounds=1)


def test_a_process_s_own_peak() -> None:
    ballast = bytearray(200 << 20)
    seconds, megabytes = cpp_runtime.wait_for([sys.executable, "-c", "bytearray(50 << 20)"])
    assert 50 <= megabytes < 200 < len(ballast)
    assert seconds > 0
    with pytest.raises(MeasurementError, match="fails"):
        cpp_runtime.wait_for([sys.executable, "-c", "raise SystemExit(3)"])
