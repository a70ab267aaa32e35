"""What a report finds, in sentences: which variant to take, and how far its figures hold."""

from __future__ import annotations

from bert_export.report import wording
from bert_export.report.schema import Report, Variant

__all__ = ["asked_for", "headline", "noise"]

_BUSY = 0.5


def headline(report: Report) -> str:
    """The finding in one sentence."""
    shape = report.main_shape
    chosen, reference = report.choice(shape), report.variant(report.reference)
    if chosen is None or reference is None:
        return _no_choice(report)
    answers = (
        f"{chosen.name} answers {shape} in {wording.milliseconds(chosen.latency(shape))} ms "
        f"(p95 {wording.milliseconds(chosen.p95(shape))} ms)"
    )
    why = "" if report.p95_below is None else f" It is {_why(report)}."
    limit = wording.points(report, report.limit)
    ratio = chosen.speed_up(shape)
    if ratio is None and why:
        return f"{answers}.{why}"
    if ratio is None:
        return f"{answers}; no other variant that loses at most {limit} is faster."
    change = wording.drop_text(report, chosen)
    return (
        f"{answers}, {ratio.value:.1f} times as fast as {reference.name} "
        f"(95 % interval: {ratio.interval_text}), at "
        f"{wording.quality_text(report, report.quality(chosen))} "
        f"{wording.quality_name(report)} ({change}).{why}"
    )


def asked_for(report: Report) -> str:
    """What a variant has to keep, in words; empty where nothing was asked for."""
    bounds = []
    if report.p95_below is not None:
        bounds.append(f"a p95 below {wording.bound(report.p95_below)}")
    if report.drop_below is not None:
        bounds.append(f"a loss of at most {wording.points(report, report.drop_below)}")
    return " and ".join(bounds)


def noise(report: Report) -> str:
    """How far the milliseconds of the finding are to trust; empty where nothing was timed."""
    shape = report.main_shape
    variant = report.choice(shape) or _closest(report) or report.variant(report.reference)
    timing = None if variant is None else variant.measured.timings.get(shape)
    if variant is None or timing is None:
        return ""
    low, high = timing.p95_range
    lifetimes = len(timing.lifetimes)
    text = f"p95 is of {timing.summary.calls:,} calls of {variant.name} at {shape}"
    if lifetimes > 1:
        text += (
            f"; in its {lifetimes} processes it was {wording.milliseconds(low)} to "
            f"{wording.milliseconds(high)} ms"
        )
    sentences = [f"{text}."]
    if report.p95_below is not None and low < report.p95_below <= high:
        sentences.append(
            f"The bound of {wording.bound(report.p95_below)} lies between them: measure "
            "longer, by --seconds and --lifetimes, before you rely on it."
        )
    if report.machine["load"] > _BUSY:
        sentences.append(
            f"Somebody else was working (load {report.machine['load']:g}): trust ratios more than "
            "milliseconds."
        )
    else:
        sentences.append("Another machine, or this one at another hour, has other milliseconds.")
    return " ".join(sentences)


def _why(report: Report) -> str:
    """Why the chosen variant is the one."""
    if report.drop_below is not None:
        return f"the fastest with {asked_for(report)}"
    return f"the one that loses least with {asked_for(report)}"


def _no_choice(report: Report) -> str:
    """Why no variant is the finding."""
    shape, reference = report.main_shape, report.reference
    timed = [variant for variant in report.variants if variant.latency(shape) is not None]
    if not timed:
        return f"No variant was timed at {shape}."
    if all(report.drop(variant) is None for variant in timed):
        return f"No variant timed at {shape} could be compared with {reference}."
    closest = _closest(report)
    if closest is not None:
        return (
            f"No variant timed at {shape} has {asked_for(report)}: the closest is {closest.name} "
            f"with a p95 of {wording.milliseconds(_p95(closest, shape))} ms "
            f"({wording.drop_text(report, closest)})."
        )
    limit = wording.points(report, report.limit)
    return f"No variant timed at {shape} loses at most {limit} against {reference}."


def _closest(report: Report) -> Variant | None:
    """The variant that comes closest to a bound of the p95 that none keeps."""
    shape = report.main_shape
    able = [
        variant
        for variant in report.variants
        if variant.p95(shape) is not None and (report.drop_below is None or report.keeps(variant))
    ]
    if report.p95_below is None or not able:
        return None
    return min(able, key=lambda variant: _p95(variant, shape))


def _p95(variant: Variant, shape: str) -> float:
    seconds = variant.p95(shape)
    assert seconds is not None, "the variant was timed at the shape"
    return seconds
