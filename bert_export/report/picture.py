"""``report.png`` and ``report.svg``: the finding as a picture for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bert_export.report import wording
from bert_export.report.files import write_report_file
from bert_export.report.schema import Report, Variant

__all__ = ["PICTURES", "draw_report", "write_picture"]

PICTURES = ("report.svg", "report.png")
_DPI = 160
_INK, _SOFT, _LINE, _BAD = "#18202f", "#566072", "#dfe3ea", "#b3261e"
_HUES = ("#2a62d9", "#c2500d", "#0e7c72", "#7a3fd0", "#a1245f")
_MARKS = {"int8": "D", "fp16": "s", "bf16": "^"}
_LEVELS = (9, -17, 24, -32, 39)  # of names over their points, in points
_NAME_WIDTH, _NAME_HEIGHT = 124.0, 17.0  # of a name, in pixels
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "svg.hashsalt": "bert-export",  # the same report gives the same file
    "svg.fonttype": "none",
    "text.color": _INK,
    "text.parse_math": False,  # a model's path may hold dollars
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
}


def write_picture(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write the pictures; gives their paths."""
    paths = tuple(folder / name for name in PICTURES)
    with mpl.rc_context(_STYLE):
        figure = draw_report(report)
        for path in paths:
            metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {}
            drawn = BytesIO()
            figure.savefig(drawn, format=path.suffix[1:], dpi=_DPI, metadata=metadata)
            write_report_file(path, drawn.getvalue())
    return paths


def draw_report(report: Report) -> Figure:
    """Quality against latency on the left, latency by shape on the right."""
    figure = Figure(figsize=(10.4, 4.7), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    source = report.model.source if report.model is not None else ""
    figure.suptitle(
        f"{report.task}, {source}: {wording.quality_name(report)} against latency",
        x=0.012,
        ha="left",
        fontsize=12.5,
        fontweight="bold",
    )
    _draw_plot(left, report)
    _draw_bars(right, report)
    figure.supxlabel(
        f"{report.machine['cpu']}, {report.conditions.threads} threads, load "
        f"{report.machine['load']:g} before · {report.data.records:,} "
        f"records · {report.created[:10]} · bert-export {report.versions.get('bert-export', '')}",
        x=0.012,
        ha="left",
        fontsize=8,
        color=_SOFT,
    )
    return figure


def _hue(report: Report, variant: Variant) -> str:
    targets = list(dict.fromkeys(variant.target for variant in report.variants))
    return _HUES[targets.index(variant.target) % len(_HUES)]


def _draw_plot(axes: Axes, report: Report) -> None:
    shape = report.main_shape
    scale = 100 if wording.percent(report) else 1
    points = [
        (variant, latency, quality)
        for variant in report.variants
        if (latency := variant.latency(shape)) is not None
        and (quality := report.quality(variant)) is not None
    ]
    _frame(axes)
    if not points:
        axes.text(
            0.5, 0.5, "nothing was both scored and timed", ha="center", transform=axes.transAxes
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    values = [scale * quality for _, _, quality in points]
    reference = report.variant(report.reference)
    reached = None if reference is None else report.quality(reference)
    if reached is not None:
        floor = scale * (reached - report.limit)
        values.append(floor)
        axes.axhline(floor, color=_BAD, linewidth=1, linestyle=(0, (5, 4)), alpha=0.75)
        axes.annotate(
            "least that counts as the same answers",
            (1, floor),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize=8,
            color=_BAD,
        )
    middle = (max(values) + min(values)) / 2
    half = max(0.01 * scale, 1.35 * (max(values) - min(values))) / 2
    bound = report.p95_below if report.shows_bound(shape) else None
    fastest = [latency for _, latency, _ in points]
    low = 1000 * min(*fastest, fastest[0] if bound is None else bound) / 1.35
    slowest = [variant.p95(shape) or latency for variant, latency, _ in points]
    high = 1000 * max(*slowest, bound or 0.0) * 1.5
    axes.set(xscale="log", xlim=(low, high), ylim=(middle - half, middle + half))
    _draw_frontier(axes, report, scale, high, middle - half)
    if bound is not None:
        _draw_bound(axes, bound)
    for variant, latency, quality in points:
        _draw_tail(axes, _hue(report, variant), latency, variant.p95(shape), scale * quality)
        hollow = not report.keeps(variant)
        hue = _hue(report, variant)
        axes.plot(
            1000 * latency,
            scale * quality,
            marker=_MARKS.get(variant.precision, "o"),
            markersize=9,
            markerfacecolor="white" if hollow else hue,
            markeredgecolor=hue if hollow else "white",
            markeredgewidth=1.6,
            linestyle="none",
            zorder=3,
        )
    _label(axes, [(v.name, 1000 * t, scale * q) for v, t, q in points])
    axes.set_xlabel(f"median latency at {shape}, line to the p95, ms (log), left is faster")
    unit = ", %" if scale == 100 else ""
    axes.set_ylabel(f"{report.metric if report.labelled else 'agreement'}{unit}")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.xaxis.set_minor_formatter(plain if high / low < 12 else NullFormatter())
    axes.tick_params(which="both", length=0)
    axes.grid(which="major", color=_LINE, linewidth=0.8)


def _draw_bound(axes: Axes, seconds: float) -> None:
    """The p95 that was asked for."""
    axes.axvline(1000 * seconds, color=_BAD, linewidth=1, linestyle=(0, (5, 4)), alpha=0.75)
    axes.annotate(
        f"p95 below {wording.bound(seconds)}",
        (1000 * seconds, 0),
        xycoords=("data", "axes fraction"),
        xytext=(4, 5),
        textcoords="offset points",
        ha="left",
        fontsize=8,
        color=_BAD,
    )


def _draw_tail(axes: Axes, hue: str, median: float, p95: float | None, height: float) -> None:
    """A thin line from a point to its p95."""
    if p95 is not None:
        axes.plot([1000 * median, 1000 * p95], [height, height], color=hue, linewidth=1, zorder=2)
        axes.plot([1000 * p95], [height], color=hue, marker="|", markersize=8, linestyle="none")


def _draw_frontier(axes: Axes, report: Report, scale: int, right: float, bottom: float) -> None:
    """A step down from every best point to the next faster one."""
    xs: list[float] = []
    ys: list[float] = []
    height = bottom
    for variant in report.frontier(report.main_shape):
        latency, quality = variant.latency(report.main_shape), report.quality(variant)
        assert latency is not None, "a frontier is of measured variants"
        assert quality is not None, "the same"
        xs += [1000 * latency, 1000 * latency]
        ys += [height, scale * quality]
        height = scale * quality
    axes.plot([*xs, right], [*ys, height], color=_SOFT, linewidth=1.4, zorder=2)


def _label(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Names above their points, or at the first level above or below where none is in the way."""
    figure = axes.get_figure(root=True)
    assert figure is not None, "the axes were made by it"
    figure.draw_without_rendering()  # settles where the axes are
    to_pixels = axes.transData.transform
    taken: list[tuple[float, float]] = []
    for name, x, y in sorted(points, key=lambda point: point[1]):
        across, up = to_pixels((x, y))
        places = [(across, up + level * figure.dpi / 72) for level in _LEVELS]
        free = [
            all(
                abs(place[0] - o[0]) > _NAME_WIDTH or abs(place[1] - o[1]) > _NAME_HEIGHT
                for o in taken
            )
            for place in places
        ]
        index = free.index(True) if True in free else 0
        axes.annotate(
            name,
            (x, y),
            xytext=(0, _LEVELS[index]),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=4,
        )
        taken.append(places[index])


def _draw_bars(axes: Axes, report: Report) -> None:
    """Latency by shape, relative to the reference, with milliseconds written on."""
    _frame(axes)
    measured = [variant for variant in report.variants if variant.measured.timings]
    shapes = [
        shape
        for shape in report.conditions.shapes
        if any(variant.latency(shape) is not None for variant in measured)
    ]
    row, ticks, names = 0.0, [], []
    for shape in shapes:
        slowest = max(variant.latency(shape) or 0.0 for variant in measured)
        for variant in measured:
            latency = variant.latency(shape)
            if latency is not None:
                share = latency / slowest
                hue, precise = _hue(report, variant), variant.precision == "int8"
                axes.barh(row, share, height=0.76, color=hue, alpha=1 if precise else 0.45)
                axes.annotate(
                    f"{wording.milliseconds(latency)} ms",
                    (share, row),
                    xytext=(5, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                )
                ticks.append(row)
                names.append(variant.name)
            row += 1
        axes.annotate(
            shape.replace("x", " \N{MULTIPLICATION SIGN} "),
            (0, row - len(measured) - 0.62),
            xytext=(1, 0),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
            color=_SOFT,
        )
        row += 1.1
    axes.set_yticks(ticks, names, fontsize=8.5)
    axes.set(
        xlim=(0, 1.24), xticks=[], xlabel="latency by shape (rows \N{MULTIPLICATION SIGN} tokens)"
    )
    axes.set_ylim(max(row, 1) - 1.2, -1.2)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)


def _frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
