"""The table of a terminal and of a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT
from bert_export.report import wording
from bert_export.report.schema import Report, Variant

__all__ = ["ReportTable", "markdown_table", "report_table"]


@dataclass(frozen=True, slots=True)
class ReportTable:
    """The figures of a report in words.

    Args:
        header: Names of the columns.
        rows: A variant's cells each; of one that failed the name and the reason.
        chosen: Which of the rows is the finding; ``None`` where there is none.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int | None


def report_table(report: Report) -> ReportTable:
    """One row per variant; a failed one has its reason."""
    labels = [*report.conditions.shapes, *([ONE_TEXT] if report.conditions.texts else [])]
    header = (
        "variant",
        wording.quality_name(report),
        "change",
        "outputs off by",
        *(f"{label}, ms" for label in labels),
        f"p95 at {report.main_shape}, ms",
        f"speed at {report.main_shape}",
        *(["texts/s"] if report.conditions.texts else []),
        "size",
        "first answer",
        "peak memory",
    )
    chosen = report.choice(report.main_shape)
    rows = tuple(_row(report, variant, labels, len(header)) for variant in report.variants)
    return ReportTable(header, rows, None if chosen is None else report.variants.index(chosen))


def markdown_table(report: Report) -> str:
    """The table as Markdown; the finding is in bold."""
    table = report_table(report)
    lines = [_line(table.header), _line(["---", *("---:" for _ in table.header[1:])])]
    for index, (name, *others) in enumerate(table.rows):
        lines.append(_line([f"**{name}**" if index == table.chosen else name, *others]))
    return "\n".join(lines)


def _row(report: Report, variant: Variant, labels: list[str], columns: int) -> tuple[str, ...]:
    if variant.reason is not None and not variant.measured.timings:
        return (variant.name, f"failed: {variant.reason}", *[""] * (columns - 2))
    name, *others = _cells(report, variant, labels)
    if variant.reason is not None:
        name = f"{name} (failed: {variant.reason})"
    return (name, *others)


def _cells(report: Report, variant: Variant, labels: list[str]) -> Iterator[str]:
    yield variant.name
    yield wording.quality_text(report, report.quality(variant))
    yield wording.drop_text(report, variant)
    yield wording.error_text(variant)
    for label in labels:
        yield wording.milliseconds(variant.latency(label))
    yield wording.milliseconds(variant.p95(report.main_shape))
    yield wording.speed_text(report, variant, report.main_shape)
    if report.conditions.texts:
        many = variant.measured.timings.get(MANY_TEXTS)
        yield wording.rate(None if many is None else many.rows_per_second)
    yield wording.size(variant.bytes)
    yield wording.seconds(variant.first_answer)
    yield wording.size(variant.measured.peak_bytes)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
