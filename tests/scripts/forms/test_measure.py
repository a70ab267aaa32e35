"""The table of forms: checked before they are timed, refused with a reason, then written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scripts.forms import BLOCKS, SIZES
from scripts.forms.form import Workload
from scripts.forms.gelu import GELU
from scripts.forms.measure import CHOSEN, main
from scripts.forms.tables import Choice, Outcome, Results, as_markdown, check_choices
from scripts.forms.timing import Case, Row

CHECKOUT = Path(__file__).resolve().parents[3]
MEASURE = "scripts/forms/measure.py"
MINUTE = 60
# In a process of its own: the pool that all sessions share has to come before the first session.
PROGRAM = """
import json
from dataclasses import replace

import numpy as np
from scripts.forms import SIZES
from scripts.forms.form import Form, Workload
from scripts.forms.gelu import GELU
from scripts.forms.timing import Pace, Row, measure_block, share_threads

share_threads(1)
forms = (
    Form("right", lambda draw: [draw.op("Gelu", draw.input("x"))], "erf"),
    Form("wrong", lambda draw: [draw.op("Relu", draw.input("x"))], "erf"),
    Form("unknown", lambda draw: [draw.op("Gallus", draw.input("x"))], "erf"),
    Form("failing", lambda draw: [draw.op("Expand", draw.input("x"), np.array([7]))], "erf"),
)
rows = [Row(form) for form in forms]
pace = Pace(rounds=2, seconds=0, calls=1)
block = replace(GELU, forms=forms)
measure_block(block, SIZES[0], [Workload(1, 3)], rows, pace, lambda case: None)
print(json.dumps({
    row.form.name: [[*row.microseconds.values()], [*row.refused.values()], row.operators]
    for row in rows
}))
"""


def run(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        timeout=MINUTE,
        cwd=CHECKOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_measured_and_written(tmp_path: Path) -> None:
    page, data = tmp_path / "new" / "FORMS.md", tmp_path / "forms.json"
    options = ("--sizes", "tiny", "--shapes", "2x8", "--rounds", "1", "--quick", "--threads", "1")
    printed = run(MEASURE, *options, "--output", str(page), "--json", str(data))

    text = page.read_text(encoding="utf-8")
    assert [path.name for path in page.parent.iterdir()] == ["FORMS.md"]
    for block in BLOCKS:
        section = text.split(f"\n## {block.name}\n")[1].split("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        assert len(lines) == 2 + len(block.forms)
        chosen = [choice.form for (name, _), choice in CHOSEN.items() if name == block.name]
        assert sum("**" in line for line in lines) == len(chosen)
        assert not any("**" in line and "refused" in line for line in lines)
        assert all(f"**{form}**" in section for form in chosen)
        assert block.name in printed
    assert "differs from the reference" not in text
    assert str(tmp_path) not in text

    found = json.loads(data.read_text(encoding="utf-8"))
    figures = found["figures"]["attention | padded | Attention 3-D; bool mask (B,1,S,S)"]
    assert len(figures["tiny 2×8, µs"]) == 1
    assert found["settings"]["threads"] == 1


def test_a_form_is_timed_only_if_it_runs_and_is_right() -> None:
    found: dict[str, Any] = json.loads(run("-c", PROGRAM))
    (times,), refused, operators = found["right"]
    assert len(times) == 2
    assert min(times) > 0
    assert not refused
    assert operators == "Gelu"
    for name, reason in (
        ("wrong", "differs from the reference"),
        ("unknown", "Gallus"),
        ("failing", "dimension"),
    ):
        times, (said,), _ = found[name]
        assert not times
        assert reason in said
        assert ".cc" not in said


def test_quick_leaves_the_committed_table_alone() -> None:
    table = CHECKOUT / "graphs" / "FORMS.md"
    before = table.read_bytes() if table.is_file() else None
    options = ("--sizes", "tiny", "--shapes", "1x2", "--block", "gelu", "--quick")
    assert "(ours)" in run(MEASURE, *options)
    assert (table.read_bytes() if table.is_file() else None) == before


def test_choices_name_forms() -> None:
    check_choices(CHOSEN, BLOCKS)
    with pytest.raises(LookupError, match="no form 'Gulu' of block 'gelu'"):
        check_choices({("gelu", "erf"): Choice("Gulu", "a slip")}, BLOCKS)


def test_forms_of_a_variant_have_names_of_their_own() -> None:
    for block in BLOCKS:
        names = [(form.variant, form.name) for form in block.forms]
        assert len(set(names)) == len(names)


def test_a_choice_that_is_not_fastest_is_visible() -> None:
    case = Case(SIZES[0].name, Workload(1, 16))
    rows = tuple(Row(form) for form in GELU.forms if form.variant == "erf")
    for row, time in zip(rows, (120.0, 100.0, 300.0), strict=False):
        row.microseconds[case] = [0.95 * time, time, 1.5 * time]
    rows[3].refused[case] = "no kernel"
    results = Results(
        machine={"date": "today", "cpu": "none", "cores": 1, "instructions": []}
        | {"load": 0.0, "python": "3"},
        versions={},
        settings={"threads": 1, "rounds": 3},
        command="measure",
        call_cost=1.0,
        outcomes=[Outcome(GELU, (case,), rows)],
        chosen=CHOSEN,
    )
    text = as_markdown(results)
    assert "| **Gelu** | **120 (1.20)** |" in text
    assert "| com.microsoft Gelu | ★ 100 |" in text
    assert "refused: no kernel" in text
    assert "at worst 1.20 (tiny 1×16: com.microsoft Gelu)" in text


@pytest.mark.parametrize("options", [("--shapes", "8"), ("--sizes", "huge"), ("--block", "hash")])
def test_an_unknown_option_says_what_there_is(options: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, ["--quick", *options])
    assert result.exit_code == 2
    assert any(word in result.stderr for word in ("8x128", "bert-base", "normalization"))
