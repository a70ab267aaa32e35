"""What the benchmarks share: bounds, reports, the page of numbers, commands, texts."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bert_export.errors import InputError, MeasurementError
from bert_export.measuring.ratios import Ratio
from bert_export.measuring.timing import Listener
from scripts.benchmarks.common import options
from scripts.benchmarks.common.bounds import Bound, quotient
from scripts.benchmarks.common.commands import run_command
from scripts.benchmarks.common.numbers_page import (
    Place,
    replace_section,
    typed_command,
    write_numbers,
)
from scripts.benchmarks.common.options import Common, benchmark
from scripts.benchmarks.common.places import NUMBERS
from scripts.benchmarks.common.report import Report, Section, cell_text
from scripts.benchmarks.making.environments import REQUIREMENTS, Environments, parse_pythons
from scripts.benchmarks.making.texts import read_texts, vary


def ratio(value: float, low: float, high: float) -> Ratio:
    return Ratio(value=value, interval=(low, high), lifetimes=3, laps=30)


def make_report(*bounds: Bound, processor: str = "AMX", figure: float = 2.0) -> Report:
    header = ("contender", "seconds", "times as fast")
    rows = [("a | b", figure, ratio(1.5, 1.4, 1.6)), ("c", None, None)]
    return Report(
        benchmark="nothing",
        machine={
            "cpu": "none",
            "processor": processor,
            "cores": 2,
            "load": 0.1,
            "date": "2026-01-02T03:04:05",
            "instructions": ["one", "two"],
        },
        versions={},
        settings={"threads": 2},
        sections=[
            Section(part="whole", title="medians", header=header, rows=rows, notes=["A note."]),
            Section(part=None, title="not for the page", header=header, rows=rows),
        ],
        figures={"a": {"seconds": [1.0, 3.0]}},
        bounds=bounds,
        notes=["Brackets [such as these] are text."],
    )


@pytest.mark.parametrize(
    ("value", "side", "verdict"),
    [
        (0.5, "at most", "PASS"),
        (0.6, "at most", "PASS"),
        (0.61, "at most", "MISS"),
        (0.5, "at least", "MISS"),
        (0.6, "at least", "PASS"),
        (None, "at least", "UNMEASURED"),
        (ratio(0.7, 0.6, 0.8), "at least", "PASS"),
        (ratio(0.7, 0.59, 0.8), "at least", "OPEN"),
        (ratio(0.5, 0.4, 0.61), "at least", "OPEN"),
        (ratio(0.5, 0.4, 0.59), "at least", "MISS"),
        (ratio(0.5, 0.4, 0.6), "at most", "PASS"),
        (ratio(0.5, 0.4, 0.61), "at most", "OPEN"),
        (ratio(0.7, 0.61, 0.8), "at most", "MISS"),
        (Ratio(value=0.7, interval=None, lifetimes=1, laps=2), "at least", "OPEN"),
    ],
)
def test_verdicts_hold_the_whole_interval_against_the_limit(
    value: float | Ratio | None, side: str, verdict: str
) -> None:
    bound = Bound("it", value, 0.6, side, "x")  # type: ignore[arg-type]
    assert bound.verdict == verdict
    assert bound.as_json()["verdict"] == verdict
    assert json.dumps(bound.as_json())


def test_quotients_of_what_was_not_measured() -> None:
    assert quotient(6.0, 2.0) == 3.0
    assert quotient(None, 2.0) is None
    assert quotient(6.0, None) is None
    assert quotient(6.0, 0.0) is None


def test_cells_are_read_alike_everywhere() -> None:
    cells = (None, "text", 12345.6, 0.123456, ratio(1.234, 1.2, 1.26))
    assert list(map(cell_text, cells)) == ["-", "text", "12,346", "0.1235", "1.23 (1.20 to 1.26)"]


def command(report: Report) -> click.Command:
    @benchmark("scripts/benchmarks/nothing.py")
    def main(common: Common, listener: Listener) -> Report:
        del listener
        assert common.threads == 1
        return report

    return main


def invoke(report: Report, work: Path, *arguments: str) -> click.testing.Result:
    given = ["--work", str(work), "--threads", "1", *arguments]
    return CliRunner().invoke(command(report), given)


def test_report_is_printed_with_verdicts(tmp_path: Path) -> None:
    result = invoke(make_report(Bound("first answer", 0.7, 0.6, "at most", "s")), tmp_path)
    assert result.exit_code == 0, result.output
    row = next(line for line in result.stdout.splitlines() if "first answer" in line)
    assert row.split() == ["first", "answer", "0.7", "s", "at", "most", "0.6", "s", "MISS"]
    assert "instructions one two" in result.stdout
    assert "Brackets [such as these] are text." in result.stdout
    assert "1.50 (1.40 to 1.60)" in result.stdout


def test_json_goes_to_standard_output_alone(tmp_path: Path) -> None:
    result = invoke(make_report(), tmp_path, "--json", "-")
    assert json.loads(result.stdout)["figures"]["a"]["seconds"] == [1.0, 3.0]
    assert "medians" in result.stderr


def test_json_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    invoke(make_report(), tmp_path, "--json", str(file))
    assert json.loads(file.read_text(encoding="utf-8"))["settings"] == {"threads": 2}


@pytest.mark.parametrize(("value", "code"), [(0.5, 0), (0.7, 1), (None, 0)])
def test_strict_fails_on_a_miss_only(tmp_path: Path, value: float | None, code: int) -> None:
    report = make_report(Bound("it", value, 0.6, "at most", "s"))
    assert invoke(report, tmp_path, "--strict").exit_code == code


def test_a_quick_run_is_not_written(tmp_path: Path) -> None:
    result = invoke(make_report(), tmp_path, "--quick", "--write")
    assert result.exit_code == 2
    assert "no measurement" in result.stderr


def test_write_puts_the_tables_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "NUMBERS.md"
    page.write_text("# Numbers\n", encoding="utf-8")
    monkeypatch.setattr(options, "NUMBERS", page)
    monkeypatch.setattr(sys, "argv", ["nothing.py", "--write", "--only", "this row"])
    assert invoke(make_report(), tmp_path, "--write").exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "## nothing" in text
    assert "### whole, AMX" in text
    assert "| a \\| b | 2 | 1.50 (1.40 to 1.60) |" in text
    assert "| --- | ---: | ---: |" in text
    assert "A note." in text
    assert "`python scripts/benchmarks/nothing.py --only 'this row'`" in text
    assert "2026-01-02, none, 2 cores" in text
    assert "not for the page" not in text


def test_a_run_replaces_its_own_section_alone(tmp_path: Path) -> None:
    page = tmp_path / "NUMBERS.md"
    page.write_text("# Numbers\n\nBy hand.\n", encoding="utf-8")
    write_numbers(page, make_report(figure=1.25), "first")
    write_numbers(page, make_report(processor="AVX2", figure=7.5), "second")
    write_numbers(page, make_report(figure=3.75), "third")
    text = page.read_text(encoding="utf-8")
    assert "1.25" not in text
    assert "By hand." in text
    assert text.index("3.75") < text.index("7.5")  # each in its place
    assert text.count("## nothing\n") == 1
    assert text.count("<!-- begin ") == text.count("<!-- end ") == 2


def test_a_new_section_stands_by_its_relatives() -> None:
    text = "# Numbers\n"
    for place in (("b", "x", "AMX"), ("a", "x", "AMX"), ("a", "y", "AMX"), ("a", "x", "AVX2")):
        text = replace_section(text, Place(*place), " ".join(place))
    order = [line for line in text.splitlines() if line.startswith("<!-- begin")]
    assert order == [
        f"<!-- begin {place} -->"
        for place in ("b / x / AMX", "a / x / AMX", "a / x / AVX2", "a / y / AMX")
    ]


def test_the_committed_page_is_whole() -> None:
    text = NUMBERS.read_text(encoding="utf-8")
    begun = [line[11:-4] for line in text.splitlines() if line.startswith("<!-- begin ")]
    ended = [line[9:-4] for line in text.splitlines() if line.startswith("<!-- end ")]
    assert begun == ended
    assert len(set(begun)) == len(begun)
    for place in begun:  # every section is found by its place
        benchmark_, part, processor = place.strip().split(" / ")
        replaced = replace_section(text, Place(benchmark_, part, processor), "replaced")
        assert len(replaced) < len(text)
        scripts = {path.stem for path in (NUMBERS.parent / "benchmarks").glob("*.py")}
        scripts |= {path.stem.removeprefix("check_") for path in NUMBERS.parent.glob("check_*.py")}
        assert benchmark_.partition(",")[0] in scripts


def test_what_is_of_this_machine_is_not_in_the_command() -> None:
    arguments = ["--only", "a b", "--json", "x.json", "--work=/tmp/w", "--write", "--threads", "2"]
    assert typed_command("s.py", arguments) == "python s.py --only 'a b' --threads 2"
    assert typed_command("s.py", ["/here/bundle"]) == "python s.py bundle"


def test_a_bad_interpreter_is_one_line(tmp_path: Path) -> None:
    result = invoke(make_report(), tmp_path, "--python", "nobody=/bin/sh")
    assert result.exit_code == 1
    assert "environment 'nobody=/bin/sh' is unknown" in result.stderr


def test_command_is_accounted_for() -> None:
    usage = run_command([sys.executable, "-c", "x = bytearray(200_000_000)"], threads=1)
    assert usage.seconds > 0
    assert usage.peak_bytes > 200_000_000


def test_command_tells_what_it_printed() -> None:
    code = "import sys; print('figures'); print('progress', file=sys.stderr)"
    assert run_command([sys.executable, "-c", code], threads=1).printed == "figures\n"


def test_failed_command_shows_its_last_words() -> None:
    with pytest.raises(MeasurementError, match=r"ended with status 1: got last words"):
        run_command([sys.executable, "-c", "raise SystemExit('last words')"], threads=1)


def test_interpreters_are_named() -> None:
    given = parse_pythons([f"optimum={sys.executable}"])
    environments = Environments(Path("nowhere"), given)
    assert environments.python("optimum") == sys.executable
    assert environments.optimum("export")[1:] == ["-m", "optimum.commands.optimum_cli", "export"]


@pytest.mark.parametrize("pair", ["", "optimum", "optimum=", "nobody=/bin/sh", "optimum=/no/such"])
def test_a_malformed_interpreter_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match=r"is unknown|has no interpreter"):
        parse_pythons([pair])


def test_versions_of_an_environment() -> None:
    environments = Environments(Path("nowhere"), {"transformers": sys.executable})
    versions = environments.versions(["transformers", "transformers"])
    assert set(versions) <= {f"transformers: {name}" for name in ("torch", "transformers")} | {
        "transformers: sentence-transformers"
    }
    assert "transformers: torch" in versions
    assert all("[" not in text for text in REQUIREMENTS["transformers"])


def test_texts_are_varied_when_they_run_out() -> None:
    assert vary(["a b", "c d"], 1) == ["a b"]
    assert vary(["a b", "c d"], 4) == ["a b", "c d", "a b c d", "c d a b"]


def test_texts_of_a_file_are_shuffled_alike_every_time(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    lines = [f"text {index}" for index in range(20)]
    file.write_text("\n".join([*lines, "", lines[0]]), encoding="utf-8")
    random.seed(time.time_ns())
    texts, source = read_texts(20, file)
    assert (sorted(texts), source) == (sorted(lines), "texts.txt")
    assert texts != lines
    assert read_texts(20, file)[0] == texts


def test_texts_come_from_somewhere() -> None:
    texts, source = read_texts(50)
    assert len(texts) == 50
    assert source
