"""All checks of an export's options, in one place and before any work."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bert_export.bundle import AUTO, ExportRequest, check_opset, check_replaceable
from bert_export.demonstration_table import check_demonstration_name
from bert_export.errors import InputError, TaskError, one_of, shown
from bert_export.exporter.default_targets import default_targets
from bert_export.quantization.options import check_quantization
from bert_export.runtime.checks import check_number, check_whole, check_whole_or_none
from bert_export.runtime.processor import PROCESSORS
from bert_export.target_table import check_precision
from bert_export.targets import TARGETS, Target, find_target, load_target
from bert_export.tasks import TASKS, Task, TextForm, find_task
from bert_export.tasks.interface import INNER_OUTPUTS

__all__ = [
    "check_demonstration",
    "check_labels_used",
    "check_output",
    "check_pooled_layers",
    "check_request",
    "find_folder",
    "find_form",
    "find_targets",
    "request_record",
]


def check_request(request: ExportRequest) -> ExportRequest:
    """Refuse options that are out of bounds, unknown or do not belong together.

    Args:
        request: As the user typed it.

    Returns:
        The same in plain numbers, with the task's own name and every target named once: those of
        :func:`bert_export.exporter.default_targets.default_targets` where none is named.

    Raises:
        InputError: An option is out of its bounds or unknown, or has no use beside the others.
        TaskError: There is no such task, or it has no demonstration checkpoint.
        TracingError: Graphs are not traced with that opset.
        MissingExtraError: A target or the builder of its engine is not installed.
        MeasurementError: See :func:`bert_export.exporter.auto_target.check_auto`.
    """
    request = msgspec.structs.replace(
        request,
        max_length=check_whole_or_none("max_length", request.max_length, least=1),
        threads=check_whole_or_none("threads", request.threads, least=1),
        opset=check_whole("opset", request.opset, least=1),
        targets=tuple(dict.fromkeys(request.targets)) or default_targets(request),
    )
    if request.task is not None:
        request = msgspec.structs.replace(request, task=find_task(request.task).name)
    check_demonstration(request.task, request.model)
    _check_checkpoint(request)
    _check_precision(request)
    _check_outputs(request)
    check_opset(request.opset)
    _check_budget(request)
    _check_columns(request)
    _check_text_input(request)
    # What is imported for these takes time, so what is typed wrong is said before.
    _check_targets(request)
    if request.engines is not None:
        from bert_export.targets.engines import check_engines

        check_engines(request.targets, request.engines)
    return request


def check_output(request: ExportRequest, output: str | Path | None, *, force: bool) -> Path | None:
    """The folder of a bundle that may be written.

    Args:
        request: Checked.
        output: As it was typed; ``<task>-<precision>`` where it was not.
        force: Whether a bundle that is there may be replaced.

    Returns:
        The folder; ``None`` where nothing is typed and the checkpoint names the task.

    Raises:
        BundleError: Something is there that is not to be replaced.
    """
    if output is None and request.task is None:
        return None
    folder = find_folder(request, output)
    check_replaceable(folder, force=force)
    return folder


def find_folder(request: ExportRequest, output: str | Path | None) -> Path:
    """The folder of a bundle, as it was typed or after a task that is known."""
    return Path(output or f"{request.task}-{request.precision}")


def find_targets(request: ExportRequest) -> tuple[Target, ...]:
    """The rows of the targets that are named, or of those that auto tries.

    Where the precision is found by measurement, each has some precision and not every one.

    Raises:
        InputError: A target is unknown or does not have the precision.
    """
    if request.is_auto:
        from bert_export.exporter.auto_target import candidates

        return candidates(request.precision, texts=request.text_input is not False)
    precision = None if request.finds_precision else request.precision
    return tuple(find_target(name, precision) for name in request.targets)


def request_record(request: ExportRequest) -> ExportRequest:
    """The request as a manifest keeps it.

    Checkpoint and texts are in it as they were typed, as everywhere in a manifest. The file of
    lengths is in it by its name alone: the profiles that were made of it stand beside the engine.
    """
    engines = request.engines
    if engines is None or engines.profile_from is None:
        return request
    named = msgspec.structs.replace(engines, profile_from=Path(engines.profile_from).name)
    return msgspec.structs.replace(request, engines=named)


def check_demonstration(name: str | None, model: str) -> None:
    """Refuse a demonstration that is not there.

    Args:
        name: The task; ``None`` where the checkpoint says it.
        model: As :class:`bert_export.bundle.ExportRequest` has it.

    Raises:
        CheckpointError: No demonstration is called so.
        TaskError: The task has none, or is not named.
    """
    task = None if name is None else find_task(name)
    if model != "demo":
        if model.startswith("demo:"):
            check_demonstration_name(model.removeprefix("demo:"))
        return
    if task is None:
        raise TaskError("task is not given", expected=f"--task, one of {', '.join(TASKS)}")
    if task.demo is None:
        raise TaskError(
            f"task {task.name} has no demonstration checkpoint",
            expected="a directory or a hub id",
            fix="Pass --model",
        )


def check_labels_used(request: ExportRequest, task: Task) -> None:
    """Refuse names of labels for a task that has none.

    Raises:
        InputError: There are such names.
    """
    if request.checkpoint is not None and request.checkpoint.labels and not task.has_labels:
        raise InputError(
            f"labels have no use for task {task.name}",
            expected="a task whose answers are labels",
            got=", ".join(map(repr, request.checkpoint.labels[:4])),
            fix="Leave --labels out",
        )


def check_pooled_layers(request: ExportRequest, task: Task, layers: int | None = None) -> None:
    """Refuse layers to pool for a task that pools none, or of which the checkpoint has fewer.

    Args:
        request: That names them, or does not.
        task: What is exported.
        layers: Of the encoder; ``None`` where that is not known yet.

    Raises:
        InputError: They have no use, or are not there.
    """
    asked = request.pooled_layers
    if asked is None:
        return
    if not task.sentence_modules:
        raise InputError(
            f"pooled_layers has no use for task {task.name}",
            expected=", ".join(name for name, each in TASKS.items() if each.sentence_modules),
            got=task.name,
            fix="Leave it out, or ask for --outputs hidden_states",
        )
    most = asked if layers is None else layers
    if not 1 <= asked <= most:
        raise InputError(
            "pooled_layers is out of range",
            expected="1 or more" if layers is None else f"1 to {layers}, the checkpoint's layers",
            got=asked,
        )


def _check_outputs(request: ExportRequest) -> None:
    """Refuse inner values that do not exist, and layers to pool that are not there."""
    if request.task is not None:
        check_pooled_layers(request, find_task(request.task))
    for name in request.outputs:
        if name not in INNER_OUTPUTS:
            raise InputError(f"output {shown(name)} is unknown", **one_of(name, INNER_OUTPUTS))


def _check_checkpoint(request: ExportRequest) -> None:
    """What is said of the checkpoint, as far as that can be told without it."""
    options = request.checkpoint
    if options is None:
        return
    if request.task is not None:
        check_labels_used(request, find_task(request.task))
    if not all(options.labels) or len(set(options.labels)) < len(options.labels):
        raise InputError(
            "labels are malformed",
            expected="names that differ and are not empty",
            got=", ".join(map(repr, options.labels)),
        )
    if options.gelu not in (None, "erf", "tanh"):
        raise InputError(
            f"gelu {options.gelu!r} is unknown", expected="erf or tanh", got=repr(options.gelu)
        )


def _check_precision(request: ExportRequest) -> None:
    """The precision, and the options of INT8."""
    precision = request.precision
    if not request.finds_precision:
        check_precision(precision)
    if not request.may_be_int8 and request.calibration is not None:
        raise InputError(
            f"calibration {request.calibration} has no use in {precision}",
            expected="precision int8",
            got=precision,
            fix="Add --int8 or drop --calibration",
        )
    if not request.may_be_int8 and request.quantization is not None:
        raise InputError(
            f"options of INT8 have no use in {precision}",
            expected="precision int8",
            got=precision,
            fix="Add --int8 or drop --int8-mode and --calibration-method",
        )
    if request.quantization is not None:
        check_quantization(request.quantization)
        if request.quantization.mode == "dynamic":
            _check_dynamic(request)
    if request.cpu is not None and request.cpu not in PROCESSORS:
        raise InputError(f"cpu {shown(request.cpu)} is unknown", **one_of(request.cpu, PROCESSORS))


def _check_dynamic(request: ExportRequest) -> None:
    """Few targets have dynamic INT8, and it sets no ranges that a budget could be kept with."""
    dynamic = [name for name, target in TARGETS.items() if "dynamic" in target.int8_modes]
    useless = [
        *(["precision auto"] if request.finds_precision else []),
        *(f"target {name}" for name in request.targets if name not in dynamic),
        *([] if request.calibration is None else [f"calibration {request.calibration}"]),
        *([] if request.max_drop is None else ["max_drop"]),
    ]
    if useless:
        raise InputError(
            f"{useless[0]} has no use for dynamic INT8",
            expected=f"target {' or '.join(dynamic)} in int8, no calibration and no accuracy "
            "budget",
            fix="Use static INT8",
        )


def _check_targets(request: ExportRequest) -> None:
    if request.is_auto:
        from bert_export.exporter.auto_target import check_auto

        check_auto(request)
        return
    if request.shapes is not None and not request.finds_precision:
        raise InputError(
            "shapes have no use for named targets", expected="target auto", got=request.shapes
        )
    targets = find_targets(request)
    if request.finds_precision:
        from bert_export.exporter.auto_target import check_named

        check_named(request, targets)
    for target in targets:
        load_target(target).check_installed()


def _check_text_input(request: ExportRequest) -> None:
    """Graphs that take texts are for tasks and targets that have them."""
    if request.text_input is False:
        return
    if request.task is not None:
        find_form(find_task(request.task), request.text_input)
    able = [name for name, target in TARGETS.items() if target.text_session is not None]
    for name in request.targets:
        if name not in (*able, AUTO):
            raise InputError(
                f"target {name} has no graph that takes texts",
                expected=f"target {' or '.join(able)}: the operator that splits texts into "
                "characters is ONNX Runtime's",
                got=name,
                fix="Leave --text-input out, or the target",
            )


def find_form(task: Task, asked: bool | TextForm) -> TextForm | None:  # noqa: FBT001 - as typed
    """The form of the texts of a task's graph; ``None`` where none is asked for.

    Args:
        task: Whose graph it is.
        asked: As :class:`bert_export.bundle.ExportRequest` has it.

    Raises:
        InputError: The task's graph takes no texts, or not in that form.
    """
    if asked is False:
        return None
    forms = task.text_forms
    if not forms or (asked is not True and asked not in forms):
        raise InputError(
            f"text input does not fit the task {task.name}",
            expected=" or ".join(forms) or "a task whose texts are rows as they stand",
            got="text input" if asked is True else shown(asked),
            fix="Pass --text-input alone" if forms else "Export without --text-input",
        )
    return forms[0] if asked is True else asked


def _check_columns(request: ExportRequest) -> None:
    """Names of columns and labels are of data that is read."""
    if request.fields and request.calibration is None and request.eval_data is None:
        raise InputError(
            "field has no use without data of your own",
            expected="--calibration or --eval beside it",
            got=", ".join(f"{name}={column}" for name, column in request.fields.items()),
        )
    if request.label_map and request.eval_data is None:
        raise InputError(
            "label map has no use without labelled data",
            expected="--eval beside it",
            got=", ".join(f"{old}={new}" for old, new in request.label_map.items()),
        )


def _check_budget(request: ExportRequest) -> None:
    """An accuracy budget is a drop and the data to measure it on, of INT8."""
    if not request.has_budget:
        return
    if request.finds_precision and request.keep_best:
        raise InputError(
            "keep_best has no use for precision auto",
            expected="a budget that FP32 keeps where nothing else does",
            got="keep_best",
            fix="Leave it out, or name the precision",
        )
    if not request.may_be_int8:
        raise InputError(
            f"accuracy budget has no use in {request.precision}",
            expected="precision int8",
            got=request.precision,
            fix="Add --int8 or drop --max-drop",
        )
    if request.max_drop is None or request.eval_data is None:
        raise InputError(
            "accuracy budget is incomplete",
            expected="both a largest drop and data to measure it on",
            got="no drop" if request.max_drop is None else "no data",
            fix="Pass --max-drop and --eval",
        )
    if not 0 < check_number("max_drop", request.max_drop) < 1:
        raise InputError(
            "max_drop is out of bounds",
            expected="a share above 0, which no data could show, and below 1, such as 0.005 for "
            "half a point",
            got=request.max_drop,
        )
