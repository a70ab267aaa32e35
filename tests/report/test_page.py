"""What is written of a report: page, picture, table and JSON."""

from __future__ import annotations

import errno
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from bert_export.errors import InputError
from bert_export.measuring.timing import Measured
from bert_export.report import wording
from bert_export.report.files import write_report_file
from bert_export.report.markdown import markdown_table
from bert_export.report.page import PAGE, render_page, write_page
from bert_export.report.picture import PICTURES, write_picture
from bert_export.report.schema import REPORT, Report, read_report, write_report
from tests.report.sample import sample_report

FOREIGN = re.compile(r"""(?:src|href|action)\s*=\s*["'](?!data:|#)|@import|url\(|https?://""")
VOID = {"meta", "link", "input", "br", "path", "circle", "rect"}


class Outline(HTMLParser):
    """Checks that elements are closed in order, and gathers texts by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.ids: list[str] = []
        self.labelled: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids += [str(given["id"])] if "id" in given else []
        self.labelled += [str(given["aria-labelledby"])] if "aria-labelledby" in given else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def test_page_is_whole_and_needs_nothing_else() -> None:
    page = render_page(sample_report())
    outline = Outline(page)
    assert set(outline.labelled) <= set(outline.ids)
    assert len(set(outline.ids)) == len(outline.ids)
    style_free = page.replace("http://www.w3.org/2000/svg", "")
    assert FOREIGN.search(style_free) is None
    assert len(page) < 120_000


def test_page_escapes_what_libraries_say() -> None:
    page = render_page(sample_report())
    assert "</script><b>" not in page
    assert "&lt;/script&gt;&lt;b&gt;this&lt;/b&gt;" in page
    data = re.search(r'id="plot-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    plot = json.loads(data[1])
    assert [one["name"] for one in plot["variants"]][-1] == "openvino fp16"


def test_page_says_what_was_found() -> None:
    page = render_page(sample_report())
    assert "onnxruntime int8 answers 1x128 in 3.50 ms (p95 3.58 ms), 2.6 times as fast" in page
    assert "36 of 38 linear layers in INT8" in page
    assert "the search kept it in float" in page
    assert "at most 1 point below onnxruntime fp32" in page
    assert "Not finished" not in page


def test_page_of_an_interrupted_report() -> None:
    report = sample_report()
    report.complete = False
    report.model = None
    for variant in report.variants:
        variant.measured, variant.score = Measured(), None
    page = render_page(report)
    Outline(page)
    assert "Not finished" in page
    assert "No variant was timed at 1x128." in page


def test_headline_tells_why_there_is_no_finding() -> None:
    report = sample_report()
    report.variants[0].score = None
    assert "No variant timed at 1x128 could be compared with onnxruntime fp32." in render_page(
        report
    )
    report = sample_report()
    report.variants = [report.variants[0], report.variants[4]]
    del report.variants[0].measured.timings["1x128"]
    assert "No variant timed at 1x128 loses at most 1 point against onnxruntime fp32." in (
        render_page(report)
    )


def test_page_has_the_workloads_that_were_refused() -> None:
    report = sample_report()
    report.variants.pop()
    report.variants[0].measured.refusals["8x128"] = "shape 8x128 is too <long>."
    page = render_page(report)
    assert "<strong>onnxruntime fp32</strong>, 8x128: shape 8x128 is too &lt;long&gt;." in page


def test_page_names_targets_that_were_left_out() -> None:
    report = sample_report()
    assert "left out" not in render_page(report)
    report.left_out = ("target x needs <y>.",)
    assert "<dt>left out</dt><dd>target x needs &lt;y&gt;.</dd>" in render_page(report)


def test_without_labels_agreement_counts() -> None:
    report = sample_report(labelled=False)
    assert not report.labelled
    assert wording.quality_name(report) == (
        "agreement with onnxruntime fp32 (share of equal labels)"
    )
    assert report.quality(report.variants[1]) == 0.9943
    assert "because the data has no labels" in render_page(report)


def test_frontier_has_what_nothing_beats() -> None:
    report = sample_report()
    names = [variant.name for variant in report.frontier("1x128")]
    assert names == ["openvino int8", "onnxruntime int8", "openvino bf16"]
    chosen = report.choice("1x128")
    assert chosen is not None
    assert chosen.name == "onnxruntime int8"
    report.max_drop = 0.05
    wider = report.choice("1x128")
    assert wider is not None
    assert wider.name == "openvino int8"
    report.max_drop = 0.001
    strict = report.choice("1x128")
    assert strict is not None
    assert strict.name == "openvino bf16"
    strict.failure = "its bundle is damaged"
    left = report.choice("1x128")
    assert left is not None
    assert left.name == "openvino fp32"


def test_a_loss_of_just_the_limit_keeps_the_answers() -> None:
    report = sample_report()
    for variant, accuracy in zip(report.variants[:2], (0.90, 0.89), strict=True):
        assert variant.score is not None
        variant.score = msgspec.structs.replace(variant.score, scores={"accuracy": accuracy})
    assert report.max_drop < 0.90 - 0.89
    assert report.keeps(report.variants[1])
    plot = re.search(r'id="plot-data">(.*?)</script>', render_page(report), re.DOTALL)
    assert plot is not None
    kept = [variant["keeps"] for variant in json.loads(plot[1])["variants"]]
    assert kept == [True, True, True, True, True, False]


def test_markdown_has_a_row_per_variant() -> None:
    lines = markdown_table(sample_report()).splitlines()
    off_by = lines[0].split(" | ").index("outputs off by")
    assert [line.split(" | ")[off_by] for line in lines[2:4]] == ["0 %", "1.2 %"]
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]
    assert len({len(row) for row in cells}) == 1
    assert len(lines) == 2 + 6
    assert lines[3].startswith("| **onnxruntime int8** | 98.14 % | −0.15 ± 0.21 |")
    assert "failed: openvino cannot open" in lines[-1]


def test_a_variant_that_failed_later_has_its_reason_beside_its_figures() -> None:
    report = sample_report()
    report.variants[2].failure = "weights.data has the wrong size"
    row = markdown_table(report).splitlines()[4]
    assert row.startswith("| openvino fp32 (failed: weights.data has the wrong size) | 98.29 % |")


@pytest.mark.parametrize(
    ("error", "text"),
    [(1.4, "140 %"), (0.998, "100 %"), (0.1049, "10 %"), (0.0996, "10 %"), (0.0123, "1.2 %")],
)
def test_output_errors_have_two_digits_or_whole_percents(error: float, text: str) -> None:
    variant = sample_report().variants[0]
    assert variant.score is not None
    variant.score = msgspec.structs.replace(variant.score, output_error=error)
    assert wording.error_text(variant) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.00059, "0.590"), (0.0035, "3.50"), (0.025, "25.0"), (1.24, "1,240")],
)
def test_milliseconds_have_three_digits(seconds: float | None, text: str) -> None:
    assert wording.milliseconds(seconds) == text


def test_pictures_are_small_and_the_same_every_time(tmp_path: Path) -> None:
    report = sample_report()
    svg, png = write_picture(report, tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size < 200_000
    assert svg.stat().st_size < 100_000
    text = svg.read_text(encoding="utf-8")
    assert "openvino bf16" in "".join(ET.fromstring(text).itertext())  # noqa: S314  our own file
    write_picture(report, tmp_path)
    assert svg.read_text(encoding="utf-8") == text


def test_dollars_in_a_path_are_no_formula(tmp_path: Path) -> None:
    report = sample_report()
    assert report.model is not None
    report.model = msgspec.structs.replace(report.model, source="a$x_{$b")
    svg, _ = write_picture(report, tmp_path)
    assert "a$x_{$b" in "".join(ET.fromstring(svg.read_text(encoding="utf-8")).itertext())  # noqa: S314  our own file


@pytest.mark.parametrize("name", [REPORT, PAGE, *PICTURES])
def test_a_full_disk_leaves_every_file_as_it_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(path: Path, target: Path) -> None:
        if target.name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(path, target)

    rename = Path.replace
    (tmp_path / name).write_text("as before", encoding="utf-8")
    monkeypatch.setattr(Path, "replace", fill)
    with pytest.raises(InputError, match=rf"{re.escape(name)} cannot be written.*No space left"):
        _write_all(sample_report(), tmp_path)
    assert (tmp_path / name).read_text(encoding="utf-8") == "as before"
    assert not list(tmp_path.glob(".*"))


def _write_all(report: Report, folder: Path) -> None:
    write_report(folder, report)
    write_page(report, folder)
    write_picture(report, folder)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/report\.json cannot be written"):
        write_report_file(tmp_path / "none" / REPORT, b"{}")


def test_picture_of_nothing_is_drawn_too(tmp_path: Path) -> None:
    report = sample_report()
    report.variants = report.variants[-1:]
    assert all(path.is_file() for path in write_picture(report, tmp_path))


def test_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = sample_report()
    write_report(tmp_path, report)
    assert [path.name for path in tmp_path.iterdir()] == [REPORT]
    assert read_report(tmp_path) == report
    raw = json.loads((tmp_path / REPORT).read_bytes())
    assert raw["schema_version"] == 2
    timing = raw["variants"][0]["measured"]["timings"]["1x16"]
    assert [len(lifetime) for lifetime in timing["lifetimes"]] == [6, 6, 6]
    assert {len(turn) for lifetime in timing["lifetimes"] for turn in lifetime} == {10}


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}', "[" * 100_000, "\udcff"])
def test_a_malformed_report_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / REPORT).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="is malformed"):
        read_report(tmp_path)


def test_no_report_and_another_version_are_none(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None
    other = msgspec.to_builtins(sample_report()) | {"schema_version": 99}
    (tmp_path / REPORT).write_bytes(msgspec.json.encode(other))
    assert read_report(tmp_path) is None


def test_unknown_fields_are_refused() -> None:
    other = msgspec.to_builtins(sample_report()) | {"unknown": 1}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(other, Report)
