"""Which variant a report chooses by what is asked for, and how it says so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bert_export.measuring.timing import Measured, timing_of
from bert_export.report.finding import asked_for, headline, noise
from bert_export.report.markdown import markdown_table
from bert_export.report.page import render_page
from bert_export.report.picture import write_picture
from bert_export.report.schema import Report
from tests.report.sample import sample_report

# Of the sample at 1x128: onnxruntime fp32 9.2 ms, int8 3.5; openvino fp32 8.4, bf16 4.9, int8 3.05.
# Their losses: none, 0.15 points; none, none, 1.86.


def asked(*, p95_below: float | None = None, drop_below: float | None = None) -> Report:
    report = sample_report()
    report.p95_below, report.drop_below = p95_below, drop_below
    return report


@pytest.mark.parametrize(
    ("p95_below", "drop_below", "chosen"),
    [
        (None, None, "onnxruntime int8"),  # the fastest within max_drop, a point
        (0.020, None, "openvino bf16"),  # loses nothing; of those, the fastest
        (0.0045, None, "onnxruntime int8"),
        (0.0033, None, "openvino int8"),  # alone in time, though it loses more than a point
        (0.001, None, None),
        (None, 0.05, "openvino int8"),
        (None, 0.0, "openvino bf16"),
        (0.020, 0.01, "onnxruntime int8"),  # the fastest of those that keep both
        (0.020, 0.0, "openvino bf16"),
        (0.0045, 0.0, None),
        (0.0033, 0.05, "openvino int8"),
    ],
)
def test_a_variant_is_chosen_by_what_is_asked_for(
    p95_below: float | None, drop_below: float | None, chosen: str | None
) -> None:
    report = asked(p95_below=p95_below, drop_below=drop_below)
    choice = report.choice("1x128")
    assert (None if choice is None else choice.name) == chosen


def test_the_bound_itself_is_too_long() -> None:
    report = asked(drop_below=0.01)
    variant = report.variants[1]
    report.p95_below = variant.p95("1x128")
    assert not report.in_time(variant, "1x128")
    assert report.choice("1x128") is None


def test_the_headline_has_the_p95_and_says_why() -> None:
    plain = headline(asked())
    assert plain.startswith("onnxruntime int8 answers 1x128 in 3.50 ms (p95 3.58 ms), 2.6 times as")
    assert plain.endswith("at 98.14 % accuracy (−0.15 ± 0.21).")
    both = headline(asked(p95_below=0.02, drop_below=0.005))
    assert both.startswith("onnxruntime int8 answers 1x128 in 3.50 ms (p95 3.58 ms)")
    assert both.endswith(
        "It is the fastest with a p95 below 20 ms and a loss of at most 0.5 points."
    )
    one = headline(asked(p95_below=0.02))
    assert one.startswith("openvino bf16 answers 1x128")
    assert one.endswith("It is the one that loses least with a p95 below 20 ms.")
    report = asked(p95_below=0.02)
    report.variants = report.variants[:1]
    assert headline(report) == (
        "onnxruntime fp32 answers 1x128 in 9.20 ms (p95 9.45 ms). It is the one that loses least "
        "with a p95 below 20 ms."
    )


def test_the_headline_says_what_comes_closest() -> None:
    assert headline(asked(p95_below=0.001)) == (
        "No variant timed at 1x128 has a p95 below 1 ms: the closest is openvino int8 with a "
        "p95 of 3.11 ms (−1.86 ± 0.21)."
    )
    assert headline(asked(p95_below=0.001, drop_below=0.0)) == (
        "No variant timed at 1x128 has a p95 below 1 ms and a loss of at most 0 points: the "
        "closest is openvino bf16 with a p95 of 5.01 ms (+0.00 ± 0.21)."
    )
    report = asked(drop_below=0.001)
    report.variants = [report.variants[0], report.variants[4]]
    del report.variants[0].measured.timings["1x128"]
    assert headline(report) == (
        "No variant timed at 1x128 loses at most 0.1 points against onnxruntime fp32."
    )


def test_noise_is_said_beside_the_finding() -> None:
    text = noise(asked())
    assert text.startswith(
        "p95 is of 180 calls of onnxruntime int8 at 1x128; in its 3 processes it"
    )
    assert "it was 3.49 to 3.58 ms." in text
    assert text.endswith("Another machine, or this one at another hour, has other milliseconds.")
    busy = asked()
    busy.machine["load"] = 1.7
    assert noise(busy).endswith("(load 1.7): trust ratios more than milliseconds.")
    close = asked(p95_below=0.00355, drop_below=0.01)
    assert "The bound of 3.55 ms lies between them: measure longer" in noise(close)
    assert "lies between" not in noise(asked(p95_below=0.0045, drop_below=0.01))
    empty = asked()
    for variant in empty.variants:
        variant.measured = Measured()
    assert noise(empty) == ""


def test_the_range_of_a_p95_is_that_of_its_processes() -> None:
    lifetimes = [[[0.01] * 19 + [0.05]], [[0.02] * 20, []], [[0.03]]]
    timing = timing_of(rows=1, lifetimes=lifetimes)
    assert timing.p95_range == (0.01, 0.03)


def test_page_table_and_picture_have_the_p95(tmp_path: Path) -> None:
    report = asked(p95_below=0.02, drop_below=0.005)
    page = render_page(report)
    assert "p95 at 1x128" in page
    assert '<p class="about" id="noise">p95 is of 180 calls' in page
    assert "<dt>asked for</dt><dd>a p95 below 20 ms and a loss of at most 0.5 points" in page
    assert "hollow: loses more than 0.5 points" in page
    found = re.search(r'id="plot-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    plot = json.loads(found[1])
    assert plot["bound"] == {"shape": "1x128", "p95": 20.0, "text": "p95 below 20 ms"}
    assert plot["variants"][1]["latency"]["1x128"]["p95"] == pytest.approx(3.58, abs=0.01)
    header, _, first, *_ = markdown_table(report).splitlines()
    column = header.split(" | ").index("p95 at 1x128, ms")
    assert first.split(" | ")[column] == "9.45"
    svg, _ = write_picture(report, tmp_path)
    drawn = "".join(ET.fromstring(svg.read_text(encoding="utf-8")).itertext())  # noqa: S314  ours
    assert "p95 below 20 ms" in drawn
    assert "asked for" not in render_page(asked())


@pytest.mark.parametrize(
    ("seconds", "drawn"), [(1e-6, False), (0.001, True), (0.15, True), (50.0, False)]
)
def test_a_bound_that_is_far_away_is_not_drawn(seconds: float, drawn: bool, tmp_path: Path) -> None:
    report = asked(p95_below=seconds)
    assert report.shows_bound("1x128") is drawn
    svg, _ = write_picture(report, tmp_path)
    assert ("p95 below" in svg.read_text(encoding="utf-8")) is drawn
    assert ('"bound":null' in render_page(report)) is not drawn


def test_labels_that_were_matched_are_said() -> None:
    report = asked()
    note = "labels matched in another letter case: 'A' as 'a'"
    for variant in report.variants[:-1]:
        assert variant.score is not None
        variant.score = msgspec.structs.replace(variant.score, notes=(note,))
    assert report.notes == (note,)
    assert "<dt>note</dt><dd>labels matched in another" in render_page(report)


def test_what_is_asked_for_is_kept_in_the_file() -> None:
    report = asked(p95_below=0.02, drop_below=0.005)
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert (again.p95_below, again.drop_below) == (0.02, 0.005)
    assert asked_for(again) == "a p95 below 20 ms and a loss of at most 0.5 points"
    assert asked_for(asked()) == ""
