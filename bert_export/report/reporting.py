"""A checkpoint's variants exported, scored and timed: the call behind ``bert-export report``.

Every step is saved as soon as it is done, so that an interrupted report keeps what it has and the
same command goes on from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import msgspec

from bert_export.bundle import MANIFEST, CheckpointOptions, ExportRequest, read_manifest
from bert_export.datasets import DataSet, read_dataset
from bert_export.datasets.label_map import LabelMap, plain_label_map
from bert_export.errors import (
    BertExportError,
    InputError,
    MeasurementError,
    MissingExtraError,
    one_line,
)
from bert_export.evaluation.scorer import gold_labels
from bert_export.evaluation.scorers import check_labels
from bert_export.exporter.request import check_demonstration, check_labels_used
from bert_export.measuring.bundles import BundleEngine, spread_records, time_bundles
from bert_export.measuring.machine import describe_machine, installed_versions
from bert_export.measuring.timing import Conditions, Listener, conditions
from bert_export.measuring.workloads import SHAPES, Shape, parse_shapes
from bert_export.quantization.calibration.rows import built_in_folder
from bert_export.report.exporting import export_apart
from bert_export.report.schema import (
    DataRecord,
    Report,
    Variant,
    read_report,
    write_report,
)
from bert_export.report.scores import score_apart
from bert_export.report.variants import FOLDER, describe_bundle, plan_variants
from bert_export.tasks import LABELS, CheckpointFacts, Task, find_task

__all__ = ["DEFAULT_MAX_DROP", "make_report"]

DEFAULT_MAX_DROP = 0.01
"""One point of the metric: what the page calls the same answers unless it is told otherwise."""

_PACKAGES = ("jinja2", "matplotlib")


def make_report(
    *,
    task: str,
    output: str | Path,
    listener: Listener,
    model: str = "demo",
    data: str | Path | None = None,
    targets: Sequence[str] = (),
    precisions: Sequence[str] = (),
    max_drop: float | None = None,
    p95_below: float | None = None,
    drop_below: float | None = None,
    eval_data: str | Path | None = None,
    calibration: str | None = None,
    fields: Mapping[str, str] | None = None,
    label_map: LabelMap | None = None,
    checkpoint: CheckpointOptions | None = None,
    under: Conditions | None = None,
    command: str = "",
) -> Report:
    """Compare a checkpoint's variants, and write ``report.json``, the page and the picture.

    Args:
        task: A key of :data:`bert_export.tasks.TASKS`.
        output: The report's folder; what it holds already is reused where it still fits.
        listener: Hears of the progress.
        model: As :func:`bert_export.exporter.export` takes it.
        data: A labelled file, or one without labels: then agreement with the reference is the
            quality. The task's built-in set when ``None``.
        targets: Keys of :data:`bert_export.targets.TARGETS`; where none is named, those that are
            installed, that this machine has the device for, and that take the task.
        precisions: Those to compare; each target's own where none is named.
        max_drop: The loss that still counts as the same answers.
        p95_below: Seconds that the 95th percentile at the main shape, the longest single row, has
            to be below. Without ``drop_below`` the variant is chosen that loses least.
        drop_below: The loss that the chosen variant may have, in the place of ``max_drop``.
        eval_data: What INT8 variants choose their layers on, so that they keep ``max_drop``; they
            are exported without a search when ``None``. Not ``data``: a score on what was searched
            on says too much.
        calibration: Of INT8 variants: a built-in set or a file; the task's own set when ``None``.
        fields: By field, the column of ``data``, ``eval_data`` and ``calibration`` that holds it
            where it has another name.
        label_map: The checkpoint's label by that of ``data`` and ``eval_data``, each a name or an
            id; or a file that says so.
        checkpoint: What the checkpoint does not say of itself.
        under: What holds while variants are timed; the usual conditions when ``None``.
        command: As the reader can type it to get the same.

    Returns:
        The report as written. A variant that failed is in it with its reason.

    Raises:
        BertExportError: An option or the data is wrong, before anything is exported.
        MeasurementError: Every variant failed; the report with the reasons was written.
        KeyboardInterrupt: After what is there was written.
    """
    # What is wrong is said before anything is exported.
    _check_extra()
    chosen, folder = find_task(task), Path(output)
    under = conditions(shapes=parse_shapes(SHAPES)) if under is None else under
    shapes = under.parsed_shapes
    check_demonstration(task, model)
    _check_drop("max-drop", max_drop)
    _check_drop("drop-below", drop_below)
    _check_p95(p95_below)
    fields, names = dict(fields or {}), plain_label_map(label_map)
    others = eval_data is not None or calibration is not None
    dataset, record = _read_data(chosen, data, fields, names, shared_fields=others)
    drop = DEFAULT_MAX_DROP if max_drop is None else max_drop
    request = ExportRequest(
        task=chosen.name,
        model=model,
        calibration=calibration,
        max_drop=None if eval_data is None else drop,
        eval_data=None if eval_data is None else str(eval_data),
        fields={} if eval_data is None and calibration is None else fields,
        label_map={} if eval_data is None else names,
        checkpoint=checkpoint,
    )
    check_labels_used(request, chosen)
    plan = plan_variants(request, chosen, targets=targets, precisions=precisions)
    report = Report(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=chosen.name,
        metric=chosen.metric(CheckpointFacts()),
        reference=_reference(plan.variants),
        main_shape=_main_shape(shapes),
        max_drop=drop,
        p95_below=p95_below,
        drop_below=drop_below,
        data=record,
        machine=describe_machine(),
        versions=installed_versions(),
        conditions=under,
        variants=plan.variants,
        left_out=plan.left_out,
    )
    # What an earlier run left is kept where it still fits.
    _make_folder(folder)
    _take_over(report, read_report(folder))
    # Every step saves; whatever ends the run, the page shows what is there.
    work = _Work(report, folder, Path(dataset.source), listener)
    try:
        work.export(request, dataset)
        work.score()
        work.time(shapes, dataset)
        _check_any(report)
        report.complete = True
    finally:
        report.main_shape = _main_shape(_timed(report, shapes) or shapes)
        write_report(folder, report)
        _draw(report, folder)
    return report


def _check_extra() -> None:
    """What draws the page is looked for first: hours of measuring must not end in its absence."""
    for package in _PACKAGES:
        if find_spec(package) is None:
            raise MissingExtraError(f"report ({package})", extra="report")


def _check_drop(name: str, drop: float | None) -> None:
    if drop is not None and not 0 <= drop < math.inf:
        raise InputError(
            f"{name} is out of bounds",
            expected="0 or more, such as 0.005 for half a point",
            got=drop,
        )


def _check_p95(seconds: float | None) -> None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise InputError(
            "p95-below is out of bounds",
            expected="more than 0 seconds, such as 0.02 for 20 ms",
            got=seconds,
        )


def _read_data(
    task: Task,
    data: str | Path | None,
    fields: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    *,
    shared_fields: bool = False,
) -> tuple[DataSet, DataRecord]:
    path = built_in_folder() / task.built_in_set / "examples.jsonl" if data is None else Path(data)
    if data is None:  # the columns and labels of the built-in set have their own names
        fields, label_map = None, None
    dataset = read_dataset(
        task, str(path), fields=fields, label_map=label_map, shared_fields=shared_fields
    )
    _check_labels(task, dataset)
    return dataset, DataRecord(
        name=f"built-in set {task.name}" if data is None else path.name,
        sha256=dataset.sha256,
        records=len(dataset),
        built_in=data is None,
        fields=dict(fields or {}),
        label_map=dict(label_map or {}),
    )


def _check_labels(task: Task, dataset: DataSet) -> None:
    """Refuse labels that only some records have: no variant could be scored with them."""
    names = [name for name in LABELS if name in task.optional]
    if any(all(name in record for record in dataset.records) for name in names):
        return
    for name in names:
        gold_labels(dataset, name, lambda value, _: value)


def _check_any(report: Report) -> None:
    """A report without a single variant is no success."""
    if all(variant.reason is not None for variant in report.variants):
        raise MeasurementError(
            "no variant can be exported, scored and timed",
            got="; ".join(
                f"{variant.name}: {one_line(variant.reason)}" for variant in report.variants
            ),
        )


def _reference(variants: Sequence[Variant]) -> str:
    """The first variant in FP32, or the first there is."""
    floats = [variant.name for variant in variants if variant.precision == "fp32"]
    return floats[0] if floats else variants[0].name


def _main_shape(shapes: Sequence[Shape]) -> str:
    """The longest single row: latency is a service's question; else the first shape."""
    single = [shape for shape in shapes if shape.batch == 1]
    return str(max(single)) if single else str(shapes[0])


def _timed(report: Report, shapes: Sequence[Shape]) -> list[Shape]:
    """The shapes that some variant was timed at."""
    return [
        shape
        for shape in shapes
        if any(variant.latency(str(shape)) is not None for variant in report.variants)
    ]


def _make_folder(folder: Path) -> None:
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"output {folder} cannot be written",
            expected="a folder that can be made and written to",
            got=error,
        ) from error


def _take_over(report: Report, before: Report | None) -> None:
    """Keep what an earlier run measured under the same conditions and on the same data."""
    if before is None:
        return
    report.created = before.created
    alike = _comparable(before.conditions) == _comparable(report.conditions) and (
        before.machine["cpu"] == report.machine["cpu"]
    )
    same_data = _read_alike(before.data) == _read_alike(report.data)
    for variant in report.variants:
        old = before.variant(variant.name)
        if old is None or old.digest != variant.digest:
            continue
        variant.export_seconds, variant.export_bytes = old.export_seconds, old.export_bytes
        if same_data and before.reference == report.reference:
            variant.score = old.score
        if alike and same_data and old.measured.failure is None:
            variant.measured = old.measured
            variant.measured.refusals.clear()


def _read_alike(data: DataRecord) -> tuple[object, ...]:
    """What says that two reports read the same records with the same labels."""
    return data.sha256, data.fields, data.label_map


def _comparable(under: Conditions) -> Conditions:
    """Conditions without what a longer report may add."""
    return msgspec.structs.replace(under, shapes=())


@dataclass(slots=True)
class _Work:
    """The steps of one report; each saves what it measured."""

    report: Report
    folder: Path
    data: Path
    listener: Listener
    begun: float = field(default_factory=time.monotonic)

    def export(self, request: ExportRequest, dataset: DataSet) -> None:
        """Make the bundles that are not there.

        Raises:
            DatasetError: The data has labels that the first bundle has not.
        """
        checked = False
        for index, variant in enumerate(self.report.variants):
            self.listener.begin(
                f"export {variant.name}", done=index, total=len(self.report.variants)
            )
            self._guard(variant, lambda variant: self._export(variant, request))
            if variant.failure is None and not checked:
                self._check_labels(variant, dataset)
                checked = True

    def _export(self, variant: Variant, shared: ExportRequest) -> None:
        bundle = self.folder / variant.bundle
        if not (bundle / MANIFEST).is_file():
            threads = self.report.conditions.threads
            request = msgspec.structs.replace(
                shared.for_targets([variant.target], variant.precision), threads=threads
            )
            variant.export_seconds, variant.export_bytes = export_apart(
                request, bundle, threads=threads
            )
        self.report.model = describe_bundle(variant, read_manifest(bundle))

    def _check_labels(self, variant: Variant, dataset: DataSet) -> None:
        """Refuse labels that the checkpoint has not, before further variants are exported."""
        manifest = read_manifest(self.folder / variant.bundle)
        facts = CheckpointFacts(
            labels=manifest.labels, problem_type=manifest.postprocessing.get("problem_type")
        )
        check_labels(find_task(self.report.task), facts, dataset)

    def score(self) -> None:
        """Score the bundles whose answers are not scored yet."""
        due = [
            variant
            for variant in self.report.variants
            if variant.failure is None and variant.score is None
        ]
        for index, variant in enumerate(due):
            self.listener.begin(f"score {variant.name}", done=index, total=len(due))
            self._guard(variant, self._score)

    def _score(self, variant: Variant) -> None:
        reference = self.report.variant(self.report.reference)
        there = reference is not None and reference.failure is None
        variant.score = score_apart(
            self.folder / variant.bundle,
            self.data,
            read=self.report.data,
            target=variant.target,
            against=self.folder / reference.bundle if reference is not None and there else None,
            threads=self.report.conditions.threads,
        )
        self.report.metric = variant.score.metric

    def time(self, shapes: Sequence[Shape], dataset: DataSet) -> None:
        """Time the bundles against each other."""
        whole = [variant for variant in self.report.variants if variant.failure is None]
        if not whole:
            return
        under = self.report.conditions
        manifest = read_manifest(self.folder / whole[0].bundle)
        records = spread_records(dataset.records, manifest, under.texts)
        # The reference first: the others' speed-ups are over it.
        timed = sorted(whole, key=lambda variant: variant.name != self.report.reference)
        time_bundles(
            [
                BundleEngine(variant.name, self.folder / variant.bundle, variant.target)
                for variant in timed
            ],
            shapes=shapes,
            under=under,
            records=records,
            listener=self,
            results={variant.name: variant.measured for variant in timed},
        )

    def begin(self, what: str, *, done: int, total: int) -> None:
        """Pass on what the timing begins."""
        self.listener.begin(f"time {what}", done=done, total=total)

    def measured(self) -> None:
        """Save, and pass it on."""
        write_report(self.folder, self.report)
        self.listener.measured()

    def _guard(self, variant: Variant, step: Callable[[Variant], None]) -> None:
        """A variant that fails says why, and the others go on."""
        try:
            step(variant)
        except BertExportError as error:
            variant.failure = str(error)
        write_report(self.folder, self.report)


def _draw(report: Report, folder: Path) -> None:
    from bert_export.report.page import write_page
    from bert_export.report.picture import write_picture

    write_page(report, folder)
    write_picture(report, folder)
