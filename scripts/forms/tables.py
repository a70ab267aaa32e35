"""What was measured, for a reader: cells, Markdown, and a verdict on each choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any, NamedTuple

from bert_export.measuring.ratios import paired_ratio
from scripts.benchmarks.common.report import Report, Section
from scripts.forms.form import Block
from scripts.forms.timing import Case, Row

__all__ = ["Choice", "Outcome", "Results", "as_markdown", "as_report", "check_choices"]

_FASTEST = "★"
_REFUSED = "refused"
_PRECISE_BELOW = 100  # microseconds: a decimal below, none above


class Choice(NamedTuple):
    """The form that our recipes emit, and why in a line."""

    form: str
    reason: str


Choices = Mapping[tuple[str, str], Choice]
"""By block and variant."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A block with one row per form."""

    block: Block
    cases: tuple[Case, ...]
    rows: tuple[Row, ...]

    def rivals(self, row: Row) -> list[Row]:
        """The rows of the same variant."""
        return [other for other in self.rows if other.form.variant == row.form.variant]

    def fastest(self, row: Row, case: Case) -> Row | None:
        """The fastest of a row's rivals."""
        timed = [other for other in self.rivals(row) if other.median(case) is not None]
        return min(timed, key=lambda other: other.median(case) or 0.0, default=None)

    def ratio(self, row: Row, case: Case) -> float | None:
        """A row's time over the fastest one's, from rounds in which both had a turn."""
        fastest = self.fastest(row, case)
        if fastest is None or case not in row.microseconds:
            return None
        if fastest is row:
            return 1.0
        ratio = paired_ratio([row.microseconds[case]], [fastest.microseconds[case]])
        return None if ratio is None else ratio.value


@dataclass(frozen=True, slots=True)
class Results:
    """All that a run found.

    Args:
        machine, versions, settings: See :class:`scripts.benchmarks.common.report.Report`.
        command: What reproduces it.
        call_cost: Microseconds of a call that does nothing.
        outcomes: One per block.
        chosen: What our recipes emit.
    """

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    command: str
    call_cost: float
    outcomes: Sequence[Outcome]
    chosen: Choices

    def is_chosen(self, outcome: Outcome, row: Row) -> bool:
        """Whether our recipes emit the row's form."""
        choice = self.chosen.get((outcome.block.name, row.form.variant))
        return choice is not None and choice.form == row.form.name


def check_choices(chosen: Choices, blocks: Sequence[Block]) -> None:
    """Check that each choice names a form.

    Raises:
        LookupError: One does not.
    """
    known = {(block.name, form.variant, form.name) for block in blocks for form in block.forms}
    for (block, variant), choice in chosen.items():
        if (block, variant, choice.form) not in known:
            raise LookupError(f"no form {choice.form!r} of block {block!r}, variant {variant!r}")


def as_report(results: Results) -> Report:
    """For the terminal and for JSON."""
    figures = {
        f"{outcome.block.name} | {row.form.variant} | {row.form.name}": {
            f"{case}, µs": values for case, values in row.microseconds.items()
        }
        for outcome in results.outcomes
        for row in outcome.rows
        if row.microseconds
    }
    sections = [
        Section(
            part=None,
            title=outcome.block.name,
            header=("variant", "form", *map(str, outcome.cases)),
            rows=[
                (
                    row.form.variant,
                    f"{row.form.name} (ours)" if results.is_chosen(outcome, row) else row.form.name,
                    *(_cell(outcome, row, case) for case in outcome.cases),
                )
                for row in outcome.rows
            ],
        )
        for outcome in results.outcomes
    ]
    refusals = [
        f"refused: {outcome.block.name}, {row.form.name}: {reason}"
        for outcome in results.outcomes
        for row in outcome.rows
        for reason in dict.fromkeys(row.refused.values())
    ]
    verdicts = [
        f"{outcome.block.name}: {line}"
        for outcome in results.outcomes
        for line in _verdicts(results, outcome)
    ]
    return Report(
        benchmark="forms",
        machine=results.machine,
        versions=results.versions,
        settings={**results.settings, "µs of an empty call": round(results.call_cost, 2)},
        sections=sections,
        figures=figures,
        notes=(*refusals, *verdicts),
    )


def as_markdown(results: Results) -> str:
    """The page that is committed."""
    machine, settings = results.machine, results.settings
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    instructions = " ".join(machine["instructions"])
    empty = f"{results.call_cost:.1f}"
    lines = [
        "# Forms, measured",
        "",
        "Which way of writing each block of a layer is fastest on ONNX Runtime's CPU provider, and",
        "which one our recipes emit. Written by a command; do not edit:",
        "",
        f"    {results.command}",
        "",
        "| | |",
        "|---|---|",
        f"| date | {machine['date']} |",
        f"| CPU | {machine['cpu']}, {machine['cores']} cores, {instructions} |",
        f"| threads | {settings['threads']} |",
        f"| rounds | {settings['rounds']} |",
        f"| load before | {machine['load']} |",
        f"| versions | Python {machine['python']}, {versions} |",
        "",
        "Microseconds of a call: the forms of a block take turns, each turn has the median of its",
        f"calls, the table the median over turns; a call that does nothing takes {empty} µs. In",
        f"brackets: times the fastest of the same variant, which has a {_FASTEST}, from turns of",
        "the same round. **Bold**: what our recipes emit. The error is relative to a float32",
        "reference (root mean square). The last column has what ONNX Runtime runs once it has",
        "optimized the graph, at the basic level or at the level named. Weights stay in the caches",
        "from call to call; in a whole model they may not.",
    ]
    for outcome in results.outcomes:
        lines += ["", f"## {outcome.block.name}", "", outcome.block.what, ""]
        lines += _table(results, outcome)
        verdicts = _verdicts(results, outcome)
        if verdicts:
            lines += ["", *(f"- {verdict}" for verdict in verdicts)]
    return "\n".join(lines) + "\n"


def _table(results: Results, outcome: Outcome) -> list[str]:
    varied = len(outcome.block.variants) > 1
    header = [*(["variant"] if varied else []), "form", *map(str, outcome.cases), "error", "runs"]
    rules = [
        "---:" if name == "error" or name in map(str, outcome.cases) else "---" for name in header
    ]
    lines = [_line(header), _line(rules)]
    for row in outcome.rows:
        strong = "**" if results.is_chosen(outcome, row) else ""
        reasons = dict.fromkeys(row.refused.values())
        ends = f"{_REFUSED}: {'; '.join(reasons)}" if reasons else row.operators
        cells = [row.form.name, *(_cell(outcome, row, case) for case in outcome.cases)]
        lines.append(
            _line(
                [
                    *([row.form.variant] if varied else []),
                    *(f"{strong}{cell}{strong}" for cell in cells),
                    f"{max(row.error.values()):.0e}" if row.error else "",
                    ends,
                ]
            )
        )
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(outcome: Outcome, row: Row, case: Case) -> str:
    """Such as ``★ 41.2``, or ``433 (1.05)``."""
    time, ratio = row.median(case), outcome.ratio(row, case)
    if time is None or ratio is None:
        return _REFUSED
    figure = f"{time:.1f}" if time < _PRECISE_BELOW else f"{time:.0f}"
    if len(outcome.rivals(row)) == 1:
        return figure
    return f"{_FASTEST} {figure}" if ratio == 1 else f"{figure} ({ratio:.2f})"


def _verdicts(results: Results, outcome: Outcome) -> list[str]:
    """One line per choice: the reason, and what it costs against the fastest."""
    lines = []
    for row in outcome.rows:
        if not results.is_chosen(outcome, row):
            continue
        variant = row.form.variant
        choice = results.chosen[outcome.block.name, variant]
        ratios = {case: outcome.ratio(row, case) for case in outcome.cases}
        found = {case: ratio for case, ratio in ratios.items() if ratio is not None}
        about = f"{variant}: {choice.form}" if variant else choice.form
        text = f"{about} — {choice.reason}"
        if len(found) < len(ratios):
            text += f"; {_REFUSED} in {len(ratios) - len(found)} of {len(ratios)} columns"
        if found and len(outcome.rivals(row)) > 1:
            worst = max(found, key=lambda case: found[case])
            text += f"; {geometric_mean(found.values()):.2f} times the fastest in the mean"
            rival = outcome.fastest(row, worst)
            if rival is not None and rival is not row:
                text += f", at worst {found[worst]:.2f} ({worst}: {rival.form.name})"
        lines.append(text + ".")
    return lines
