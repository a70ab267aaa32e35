"""Figures as a reader sees them: the same words in the page, the picture and the table."""

from __future__ import annotations

from bert_export.measuring.ratios import Ratio
from bert_export.report.schema import Report, Variant

__all__ = [
    "DASH",
    "bound",
    "drop_text",
    "error_text",
    "milliseconds",
    "percent",
    "points",
    "quality_name",
    "quality_text",
    "rate",
    "seconds",
    "size",
    "speed_text",
    "times",
]

DASH = "–"
_UNIT_FREE = ("concordance", "correlation", "cosine", "pearson", "spearman")


def milliseconds(seconds: float | None) -> str:
    """Three significant digits."""
    if seconds is None:
        return DASH
    value = 1000 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def bound(seconds: float) -> str:
    """A time as it was asked for."""
    return f"{1000 * seconds:g} ms"


def times(ratio: Ratio | None) -> str:
    """A ratio and its 95 % interval."""
    if ratio is None:
        return DASH
    return f"{ratio.value:.2f} × ({ratio.interval_text})"


def rate(value: float | None) -> str:
    """Rows a second."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def size(count: int | None) -> str:
    """Megabytes."""
    return DASH if count is None else f"{count / 1e6:,.1f} MB"


def seconds(value: float | None) -> str:
    """Seconds of a start."""
    return DASH if value is None else f"{value:.2f} s"


def percent(report: Report) -> bool:
    """Whether the quality is a share, and not a correlation or a cosine."""
    return not any(word in quality_name(report).lower() for word in _UNIT_FREE)


def quality_name(report: Report) -> str:
    """What is drawn against latency."""
    if report.labelled:
        return report.metric
    kinds = [
        variant.score.agreement_kind for variant in report.variants if variant.score is not None
    ]
    kind = next((kind for kind in kinds if kind), "answers")
    return f"agreement with {report.reference} ({kind})"


def quality_text(report: Report, value: float | None) -> str:
    """A quality with its unit."""
    if value is None:
        return DASH
    return f"{100 * value:.2f} %" if percent(report) else f"{value:.4f}"


def drop_text(report: Report, variant: Variant) -> str:
    """What was lost against the reference, in points of the quality, and its standard error."""
    drop = report.drop(variant)
    if drop is None:
        return DASH
    if variant.name == report.reference:
        return "reference"
    change = -drop if abs(drop) >= 5e-7 else 0.0
    scale, digits = (100, 2) if percent(report) else (1, 4)
    text = f"{scale * change:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    error = None if variant.score is None else variant.score.gain_error
    return text if error is None else f"{text} \N{PLUS-MINUS SIGN} {scale * error:.{digits}f}"


def speed_text(report: Report, variant: Variant, label: str) -> str:
    """How many times as fast a variant is as the reference, with the 95 % interval."""
    if variant.name == report.reference:
        return "reference" if variant.latency(label) is not None else DASH
    return times(variant.speed_up(label))


def error_text(variant: Variant) -> str:
    """How far the outputs are from the reference's, of their own spread."""
    error = None if variant.score is None else variant.score.output_error
    if error is None:
        return DASH
    value = 100 * error
    return f"{value:,.0f} %" if value >= 10 else f"{value:.2g} %"


def points(report: Report, drop: float) -> str:
    """A bound on the loss, in words."""
    if percent(report):
        value = 100 * drop
        return f"{value:g} point{'' if value == 1 else 's'}"
    return f"{drop:g}"
