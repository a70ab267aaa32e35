"""``report.json``: everything that the page shows, raw samples included, under a version.

Records are filled in as the work proceeds and the file is replaced atomically after every step, so
an interrupted report is a valid one with ``complete`` false.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bert_export.bundle import FileRecord
from bert_export.errors import InputError
from bert_export.measuring.ratios import Ratio
from bert_export.measuring.timing import Conditions, Measured
from bert_export.quantization.mixed_precision.search import allowed_drop
from bert_export.regular_files import read_regular
from bert_export.report.files import write_report_file

__all__ = [
    "REPORT",
    "SCHEMA_VERSION",
    "DataRecord",
    "LayerRecord",
    "ModelRecord",
    "Report",
    "Score",
    "Variant",
    "read_report",
    "write_report",
]

REPORT = "report.json"
SCHEMA_VERSION = 2

_NEAR = 20.0  # times


class DataRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that answers were scored on.

    Args:
        name: Its name, without folders.
        sha256: Of its bytes.
        records: How many.
        built_in: Whether it is the set that INT8 was calibrated on too.
        fields: By field, the column that holds it where it has another name.
        label_map: The checkpoint's label by the data's.
    """

    name: str
    sha256: str
    records: int
    built_in: bool
    fields: dict[str, str] = {}
    label_map: dict[str, str] = {}


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was exported: see :class:`bert_export.bundle.ModelRecord`."""

    source: str
    architecture: str
    weights_sha256: str
    parameters: int
    attribution: str | None


class LayerRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A linear layer of an INT8 graph: its precision, and why it stayed in float where it did."""

    layer: str
    precision: str
    reason: str | None


class Score(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a variant's answers are worth.

    Args:
        metric: The figure that counts.
        scores: Figures by name, ``metric`` among them; empty without labels.
        agreement: With the reference variant's answers; ``None`` where that cannot be said.
        agreement_kind: What agreement means here, in words.
        seconds: That the answering took.
        output_error: Root mean square of the outputs' difference from the reference's as a share of
            their standard deviation; ``None`` where that cannot be said.
        gain_error: Standard error of what ``metric`` changed by against the reference variant, by
            the choice of examples; ``None`` where that cannot be said.
        notes: What labels of the data were taken as the checkpoint's without being asked.
    """

    metric: str
    scores: dict[str, float]
    agreement: float | None
    agreement_kind: str
    seconds: float
    output_error: float | None = None
    gain_error: float | None = None
    notes: tuple[str, ...] = ()


class Variant(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One target and precision of the checkpoint.

    Args:
        name: Both, as tables call it.
        target: A key of :data:`bert_export.targets.TARGETS`.
        precision: One of the target's.
        digest: Over everything that the bundle depends on.
        bundle: Its folder, relative to the report's.
        export_seconds, export_bytes: Wall time and largest resident set of the export; ``None``
            where a bundle was found that was made before.
        bytes: All files of the bundle.
        files: The bundle's files with their hashes.
        layers: Of an INT8 graph.
        score: On the data.
        measured: Timings, starts and memory.
        failure: Why there is no bundle or no score.
    """

    name: str
    target: str
    precision: str
    digest: str
    bundle: str
    export_seconds: float | None = None
    export_bytes: int | None = None
    bytes: int | None = None
    files: dict[str, FileRecord] = {}
    layers: tuple[LayerRecord, ...] = ()
    score: Score | None = None
    measured: Measured = msgspec.field(default_factory=Measured)
    failure: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it is not measured, where it is not."""
        return self.failure or self.measured.failure

    @property
    def first_answer(self) -> float | None:
        """Median seconds from a process's start to its first answer."""
        starts = self.measured.first_answers
        return median(starts) if starts else None

    def speed_up(self, label: str) -> Ratio | None:
        """How many times as fast it does a workload as the reference; ``None`` for that itself."""
        return self.measured.speed_ups.get(label)

    def latency(self, label: str) -> float | None:
        """Median seconds of a workload."""
        timing = self.measured.timings.get(label)
        return None if timing is None else timing.summary.p50

    def p95(self, label: str) -> float | None:
        """Seconds that 95 % of a workload's calls do not exceed."""
        timing = self.measured.timings.get(label)
        return None if timing is None else timing.summary.p95


class Report(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that a report says.

    Args:
        command: That made it.
        created: When it was begun, UTC.
        complete: Whether every step was done.
        metric: What is drawn against latency: the task's metric, or ``agreement``.
        reference: Name of the variant that others are compared with.
        main_shape: The shape that the page opens with.
        max_drop: The loss against the reference that still counts as the same answers.
        p95_below: Seconds that the 95th percentile of the main shape has to be below; ``None``
            where any latency will do.
        drop_below: The loss that the chosen variant may have; ``None`` for ``max_drop``.
        machine: See :func:`bert_export.measuring.machine.describe_machine`.
        versions: Of the packages that took part.
        left_out: Why targets of this machine are not compared, a line each: those that nobody named
            and that are not installed or do not take the task.
    """

    schema_version: int = SCHEMA_VERSION
    command: str
    created: str
    complete: bool = False
    task: str
    metric: str
    reference: str
    main_shape: str
    max_drop: float
    p95_below: float | None = None
    drop_below: float | None = None
    model: ModelRecord | None = None
    data: DataRecord
    machine: dict[str, Any]
    versions: dict[str, str]
    conditions: Conditions
    variants: list[Variant]
    left_out: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether answers were scored with labels, and not with the reference's answers."""
        return any(variant.score is not None and variant.score.scores for variant in self.variants)

    @property
    def notes(self) -> tuple[str, ...]:
        """What labels of the data were taken as the checkpoint's without being asked."""
        scores = [variant.score for variant in self.variants if variant.score is not None]
        return scores[0].notes if scores else ()

    def variant(self, name: str) -> Variant | None:
        """The variant of that name."""
        return next((variant for variant in self.variants if variant.name == name), None)

    def quality(self, variant: Variant) -> float | None:
        """The figure that is drawn: the metric, or the agreement without labels."""
        if variant.score is None:
            return None
        if self.labelled:
            return variant.score.scores.get(self.metric)
        return variant.score.agreement

    def drop(self, variant: Variant) -> float | None:
        """How much of the quality is lost against the reference; below 0 where it rose."""
        reference = self.variant(self.reference)
        own = self.quality(variant)
        theirs = None if reference is None else self.quality(reference)
        return None if own is None or theirs is None else theirs - own

    @property
    def limit(self) -> float:
        """The largest loss that a variant may have to be chosen."""
        return self.max_drop if self.drop_below is None else self.drop_below

    def keeps(self, variant: Variant) -> bool:
        """Whether a variant's loss is within the limit."""
        drop = self.drop(variant)
        return drop is not None and drop <= allowed_drop(self.limit)

    def in_time(self, variant: Variant, label: str) -> bool:
        """Whether a variant's p95 at a workload is below the bound, where there is one."""
        seconds = variant.p95(label)
        return seconds is not None and (self.p95_below is None or seconds < self.p95_below)

    def shows_bound(self, label: str) -> bool:
        """Whether the bound of the p95 is near enough to what was measured to be drawn with it."""
        figures = [
            seconds for variant in self.variants if (seconds := variant.p95(label)) is not None
        ]
        if self.p95_below is None or not figures:
            return False
        return min(figures) / _NEAR < self.p95_below < max(figures) * _NEAR

    def frontier(self, label: str) -> list[Variant]:
        """The variants that no other one beats in both latency and quality, fastest first."""
        points = [
            (latency, -quality, index)
            for index, variant in enumerate(self.variants)
            if (latency := variant.latency(label)) is not None
            and (quality := self.quality(variant)) is not None
        ]
        best: list[Variant] = []
        highest = float("-inf")
        for _, negated, index in sorted(points):
            if -negated > highest:
                highest = -negated
                best.append(self.variants[index])
        return best

    def choice(self, label: str) -> Variant | None:
        """The variant to take.

        Of those whose loss is within the limit and whose p95 is below its bound, it is the fastest.
        With a bound of the p95 alone, it is the one that loses least: faster than needed is no use.
        """
        only_in_time = self.p95_below is not None and self.drop_below is None
        able = [
            (drop if only_in_time else 0.0, latency, index)
            for index, variant in enumerate(self.variants)
            if variant.failure is None
            and (drop := self.drop(variant)) is not None
            and (only_in_time or self.keeps(variant))
            and self.in_time(variant, label)
            and (latency := variant.latency(label)) is not None
        ]
        return self.variants[min(able)[2]] if able else None


_MOST_BYTES = 1 << 28


class _Version(msgspec.Struct):
    schema_version: int


def write_report(folder: Path, report: Report) -> None:
    """Write ``report.json``, replacing it in one step."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=1)
    write_report_file(folder / REPORT, text + b"\n")


def read_report(folder: Path) -> Report | None:
    """Read ``report.json``; ``None`` where there is none, or one of another version.

    Raises:
        InputError: It is there and malformed.
    """
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        text = read_regular(path, most=_MOST_BYTES)
        if msgspec.json.decode(text, type=_Version).schema_version != SCHEMA_VERSION:
            return None
        return msgspec.json.decode(text, type=Report)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"report {path} is malformed",
            expected=f"JSON of schema version {SCHEMA_VERSION}",
            got=error,
            fix="Remove it, or pass another -o",
        ) from error
