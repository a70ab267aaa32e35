"""The table that goes into a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT
from bert_export.report import wording
from bert_export.report.schema import Report, Variant

__all__ = ["markdown_table"]


def markdown_table(report: Report) -> str:
    """One row per variant; a failed one has its reason. The fastest that keeps is in bold."""
    labels = [*report.conditions.shapes, *([ONE_TEXT] if report.conditions.texts else [])]
    header = [
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
    ]
    chosen = report.choice(report.main_shape)
    lines = [_line(header), _line(["---", *("---:" for _ in header[1:])])]
    for variant in report.variants:
        if variant.reason is not None and not variant.measured.timings:
            lines.append(
                _line([variant.name, f"failed: {variant.reason}", *[""] * (len(header) - 2)])
            )
            continue
        cells = list(_cells(report, variant, labels))
        if variant is chosen:
            cells[0] = f"**{cells[0]}**"
        if variant.reason is not None:
            cells[0] += f" (failed: {variant.reason})"
        lines.append(_line(cells))
    return "\n".join(lines)


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


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
