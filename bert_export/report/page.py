"""``report.html``: one file that needs nothing else, not even a network.

Figures and tables are plain HTML written by jinja2; the bars are boxes with a width. Only the plot
of quality against latency is drawn by a script, some two hundred lines that stand in the file, as
SVG with a focusable element per point. A plotting library would bring four megabytes per report,
fixed sizes on phones, and points that neither a keyboard nor a screen reader reaches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bert_export.measuring.timing import Timing
from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT
from bert_export.report import wording
from bert_export.report.files import write_report_file
from bert_export.report.finding import asked_for, headline, noise
from bert_export.report.markdown import markdown_table
from bert_export.report.schema import Report, Variant

__all__ = ["PAGE", "render_page", "write_page"]

PAGE = "report.html"

_ENCODER_LAYER = re.compile(r".*encoder\.layer\.(\d+)\.(.+)")
_PARTS = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention out",
    "intermediate.dense": "feed-forward in",
    "output.dense": "feed-forward out",
}


def write_page(report: Report, folder: Path) -> Path:
    """Write ``report.html``; gives its path."""
    path = folder / PAGE
    write_report_file(path, render_page(report).encode())
    return path


def render_page(report: Report) -> str:
    """The page's text."""
    environment = Environment(
        loader=PackageLoader("bert_export.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        plot=_script_json(_plot(report)),
        headline=headline(report),
        noise=noise(report),
        asked_for=asked_for(report),
        tiles=_tiles(report),
        latency=[_shape_bars(report, shape) for shape in report.conditions.shapes],
        throughput=[_rate_bars(report, shape) for shape in _by_batch(report)],
        answers=list(_answer_bars(report)),
        resources=list(_resource_bars(report)),
        layers=[_layers(variant) for variant in report.variants if variant.layers],
        table=_table(report),
        failures=[variant for variant in report.variants if variant.reason is not None],
        refusals=[
            (variant, label, reason)
            for variant in report.variants
            for label, reason in variant.measured.refusals.items()
        ],
        quality_name=wording.quality_name(report),
        main_shape=report.main_shape,
        markdown=markdown_table(report),
        wording=wording,
    )


def _script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element whatever its strings hold."""
    text = msgspec.json.encode(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  nothing that ends an element is left in it


def _plot(report: Report) -> dict[str, Any]:
    """What the script draws."""
    share = wording.percent(report)
    return {
        "quality": {
            "name": wording.quality_name(report),
            "scale": 100 if share else 1,
            "unit": "%" if share else "",
        },
        "floor": _floor(report),
        "bound": _bound(report),
        "shapes": [
            {"label": shape, "frontier": [variant.name for variant in report.frontier(shape)]}
            for shape in report.conditions.shapes
        ],
        "variants": [
            {
                "name": variant.name,
                "target": variant.target,
                "precision": variant.precision,
                "quality": report.quality(variant),
                "keeps": report.keeps(variant),
                "facts": _facts(report, variant),
                "latency": {
                    label: _latency(timing)
                    for label, timing in variant.measured.timings.items()
                    if label in report.conditions.shapes
                },
            }
            for variant in report.variants
        ],
    }


def _floor(report: Report) -> float | None:
    """The least quality that still counts as the same answers."""
    reference = report.variant(report.reference)
    quality = None if reference is None else report.quality(reference)
    return None if quality is None else quality - report.limit


def _bound(report: Report) -> dict[str, Any] | None:
    """The p95 that was asked for, in milliseconds; ``None`` where it is far from all others."""
    if report.p95_below is None or not report.shows_bound(report.main_shape):
        return None
    return {
        "shape": report.main_shape,
        "p95": 1000 * report.p95_below,
        "text": f"p95 below {wording.bound(report.p95_below)}",
    }


def _latency(timing: Timing) -> dict[str, Any]:
    summary = timing.summary
    figures = {"p50": summary.p50, "p95": summary.p95, "p99": summary.p99}
    low, high = wording.milliseconds(summary.low), wording.milliseconds(summary.high)
    return {
        **{name: 1000 * value for name, value in figures.items()},
        "low": 1000 * summary.low,
        "high": 1000 * summary.high,
        "text": {name: f"{wording.milliseconds(value)} ms" for name, value in figures.items()},
        "interval": f"{low} to {high} ms",
    }


def _facts(report: Report, variant: Variant) -> list[list[str]]:
    return [
        [wording.quality_name(report), wording.quality_text(report, report.quality(variant))],
        ["change", wording.drop_text(report, variant)],
        ["size", wording.size(variant.bytes)],
        ["peak memory", wording.size(variant.measured.peak_bytes)],
        ["first answer", wording.seconds(variant.first_answer)],
    ]


def _tiles(report: Report) -> list[dict[str, str]]:
    """The chosen variant's figures beside the reference's."""
    shape = report.main_shape
    chosen, reference = report.choice(shape), report.variant(report.reference)
    if chosen is None or reference is None:
        return []
    columns: list[tuple[str, Callable[[Variant], str]]] = [
        (
            f"median at {shape}",
            lambda variant: f"{wording.milliseconds(variant.latency(shape))} ms",
        ),
        (f"p95 at {shape}", lambda variant: f"{wording.milliseconds(variant.p95(shape))} ms"),
        (
            wording.quality_name(report),
            lambda variant: wording.quality_text(report, report.quality(variant)),
        ),
        ("size", lambda variant: wording.size(variant.bytes)),
        ("first answer", lambda variant: wording.seconds(variant.first_answer)),
        ("peak memory", lambda variant: wording.size(variant.measured.peak_bytes)),
    ]
    return [
        {
            "name": name,
            "value": value(chosen),
            "beside": "" if chosen is reference else f"{reference.name}: {value(reference)}",
        }
        for name, value in columns
    ]


def _bars(
    report: Report,
    title: str,
    value: Callable[[Variant], float | None],
    text: Callable[[float], str],
    note: Callable[[Variant], str] = lambda _: "",
) -> dict[str, Any]:
    """A group of bars: variants that have the figure, and widths relative to the largest."""
    figures = [
        (variant, figure) for variant in report.variants if (figure := value(variant)) is not None
    ]
    largest = max((figure for _, figure in figures), default=1.0)
    return {
        "title": title,
        "rows": [
            {
                "variant": variant,
                "width": f"{100 * figure / largest:.2f}",
                "text": text(figure),
                "note": note(variant),
            }
            for variant, figure in figures
        ],
    }


def _milliseconds(figure: float) -> str:
    return f"{wording.milliseconds(figure)} ms"


def _note(variant: Variant, label: str) -> str:
    """The long calls, and the speed beside the reference's."""
    summary = variant.measured.timings[label].summary
    text = f"p95 {wording.milliseconds(summary.p95)}, p99 {wording.milliseconds(summary.p99)}"
    ratio = variant.speed_up(label)
    return text if ratio is None else f"{wording.times(ratio)}, {text}"


def _shape_bars(report: Report, shape: str) -> dict[str, Any]:
    return _bars(
        report,
        shape,
        lambda variant: variant.latency(shape),
        _milliseconds,
        lambda variant: _note(variant, shape),
    )


def _by_batch(report: Report) -> list[str]:
    return sorted(report.conditions.shapes, key=lambda shape: tuple(map(int, shape.split("x"))))


def _rate_bars(report: Report, shape: str) -> dict[str, Any]:
    batch, _, sequence = shape.partition("x")
    rows = "row" if batch == "1" else "rows"
    return _bars(
        report,
        f"{batch} {rows} of {sequence} tokens",
        lambda variant: _rate(variant, shape),
        lambda figure: f"{wording.rate(figure)} rows/s",
    )


def _answer_bars(report: Report) -> Iterator[dict[str, Any]]:
    if not report.conditions.texts:
        return
    yield _bars(
        report,
        "One text a call",
        lambda variant: variant.latency(ONE_TEXT),
        _milliseconds,
        lambda variant: _note(variant, ONE_TEXT),
    )
    counts = [
        variant.measured.timings[MANY_TEXTS].rows
        for variant in report.variants
        if _texts_rate(variant)
    ]
    count = counts[0] if counts else report.conditions.texts
    yield _bars(
        report,
        f"{count} texts in one call",
        _texts_rate,
        lambda figure: f"{wording.rate(figure)} texts/s",
    )


def _resource_bars(report: Report) -> Iterator[dict[str, Any]]:
    yield _bars(
        report,
        "Size of the bundle",
        lambda variant: variant.bytes,
        lambda figure: wording.size(int(figure)),
    )
    yield _bars(
        report, "Start to first answer", lambda variant: variant.first_answer, wording.seconds
    )
    yield _bars(
        report,
        "Memory at the first answer",
        lambda variant: variant.measured.first_answer_bytes,
        lambda figure: wording.size(int(figure)),
    )
    yield _bars(
        report,
        "Peak memory",
        lambda variant: variant.measured.peak_bytes,
        lambda figure: wording.size(int(figure)),
    )


def _layers(variant: Variant) -> dict[str, Any]:
    """A grid of encoder layers by part, the other layers, and why some stayed in float."""
    grid: dict[int, dict[str, str]] = {}
    others = []
    for layer in variant.layers:
        match = _ENCODER_LAYER.fullmatch(layer.layer)
        if match is not None and match[2] in _PARTS:
            grid.setdefault(int(match[1]), {})[_PARTS[match[2]]] = layer.precision
        else:
            others.append(layer)
    return {
        "variant": variant,
        "parts": list(_PARTS.values()),
        "grid": sorted(grid.items()),
        "others": others,
        "in_float": [layer for layer in variant.layers if layer.precision != "int8"],
        "quantized": sum(layer.precision == "int8" for layer in variant.layers),
    }


def _table(report: Report) -> dict[str, Any]:
    """Every figure, with the number that a column is sorted by beside its text."""
    shapes: Sequence[str] = report.conditions.shapes
    columns: list[tuple[str, Callable[[Variant], tuple[float | str | None, str]]]] = [
        ("variant", lambda variant: (variant.name, variant.name)),
        (
            wording.quality_name(report) if report.labelled else "agreement",
            lambda variant: _pair(
                report.quality(variant), lambda v: wording.quality_text(report, v)
            ),
        ),
        (
            "change",
            lambda variant: (_negated(report.drop(variant)), wording.drop_text(report, variant)),
        ),
        (
            "outputs off by",
            lambda variant: (
                None if variant.score is None else variant.score.output_error,
                wording.error_text(variant),
            ),
        ),
    ]
    for shape in shapes:
        columns += [_timing_column(shape, figure) for figure in ("p50", "p95", "p99")]
        columns.append(_speed_column(report, shape))
    if report.conditions.texts:
        columns += [_timing_column(ONE_TEXT, figure) for figure in ("p50", "p95")]
        columns.append(("texts/s", lambda variant: _pair(_texts_rate(variant), wording.rate)))
    columns += [
        ("size", lambda variant: _pair(variant.bytes, wording.size)),
        ("first answer", lambda variant: _pair(variant.first_answer, wording.seconds)),
        ("peak memory", lambda variant: _pair(variant.measured.peak_bytes, wording.size)),
        (
            "export",
            lambda variant: _pair(variant.export_seconds, lambda value: f"{value:.1f} s"),
        ),
    ]
    return {
        "header": [name for name, _ in columns],
        "rows": [
            {"variant": variant, "cells": [value(variant) for _, value in columns]}
            for variant in report.variants
            if variant.reason is None or variant.measured.timings
        ],
    }


def _pair(value: Any, text: Callable[[Any], str]) -> tuple[Any, str]:
    return value, wording.DASH if value is None else text(value)


def _negated(value: float | None) -> float | None:
    return None if value is None else -value


def _rate(variant: Variant, workload: str) -> float | None:
    """Rows a second in a workload, where it was timed."""
    timing = variant.measured.timings.get(workload)
    return None if timing is None else timing.rows_per_second


def _texts_rate(variant: Variant) -> float | None:
    return _rate(variant, MANY_TEXTS)


def _timing_column(
    label: str, figure: str
) -> tuple[str, Callable[[Variant], tuple[float | None, str]]]:
    def value(variant: Variant) -> tuple[float | None, str]:
        timing = variant.measured.timings.get(label)
        return _pair(
            None if timing is None else getattr(timing.summary, figure), wording.milliseconds
        )

    return f"{label} {figure}, ms", value


def _speed_column(
    report: Report, label: str
) -> tuple[str, Callable[[Variant], tuple[float | None, str]]]:
    def value(variant: Variant) -> tuple[float | None, str]:
        ratio = variant.speed_up(label)
        return None if ratio is None else ratio.value, wording.speed_text(report, variant, label)

    return f"{label} speed", value
