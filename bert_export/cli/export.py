"""``bert-export``: from a checkpoint to a verified bundle."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bert_export.bundle import (
    AUTO,
    DEFAULT_OBSERVER,
    DEFAULT_OPSET,
    OBSERVER_NAMES,
    ExportRequest,
    QuantizationOptions,
)
from bert_export.cli import values
from bert_export.cli.checkpoint_options import TypedCheckpointOptions, checkpoint_options
from bert_export.cli.console import errors_on_one_line, print_json, stderr, stdout, usage_errors
from bert_export.cli.data_options import DataOptions, data_options
from bert_export.cli.demonstrations import demonstration_lines
from bert_export.cli.doubts import print_doubts
from bert_export.cli.engine_options import engine_options, read_engine_options
from bert_export.cli.extras import export_extra
from bert_export.cli.option_groups import Command, option_group
from bert_export.errors import InputError, shown
from bert_export.target_table import DEFAULT_TARGET, TARGETS
from bert_export.tasks import TASKS, find_task
from bert_export.tasks.interface import INNER_OUTPUTS, named_outputs

if TYPE_CHECKING:  # the export needs PyTorch, the help does not
    from bert_export.explanation import Explanation
    from bert_export.exporter import Export

__all__ = ["export_command", "parse_share"]

_input = option_group("What goes in")
_output = option_group("What comes out")
_int8 = option_group("INT8")
_budget = option_group("Accuracy budget of INT8")
_running = option_group("Running and printing")


@click.command("export", cls=Command, epilog=demonstration_lines())
@_input(
    "--task",
    type=values.TASK,
    help=f"One of {', '.join(TASKS)}; read from the checkpoint if not given.",
)
@_input(
    "--model",
    type=values.MODEL,
    help="A directory, a hub id, `demo` (the task's demonstration checkpoint) or `demo:NAME`.  "
    "[default: demo]",
)
@_input(
    "--max-length",
    type=click.IntRange(min=1),
    help="Tokens per row; longer text is cut or strided.",
)
@_input(
    "--recipe",
    type=values.DATA,
    metavar="FILE",
    help="A TOML file, as `bert-export inspect BUNDLE --recipe` writes it; what is typed beside it "
    "counts more.",
)
@_output(
    "--output", "-o", type=values.BUNDLE, help="The bundle's folder.  [default: TASK-PRECISION]"
)
@_output("--int8", "flag", flag_value="int8", help="Short for --precision int8.")
@_output("--bf16", "flag", flag_value="bf16", help="Short for --precision bf16.")
@_output("--fp16", "flag", flag_value="fp16", help="Short for --precision fp16.")
@_output("--fp32", "flag", flag_value="fp32", help="Short for --precision fp32.")
@_output(
    "--precision",
    type=values.PRECISION_OR_AUTO,
    help="fp32, fp16, bf16 or int8, as far as the target has it; or auto: the fastest of these, by "
    "measurement, that keeps --max-drop.  [default: fp32]",
)
@_output(
    "--target",
    "targets",
    type=values.TARGET_OR_AUTO,
    multiple=True,
    help=f"May be repeated: {', '.join(TARGETS)}; or auto: the fastest that is installed here, by "
    f"measurement.  [default: {DEFAULT_TARGET}, and in INT8 what was measured ahead of it on this "
    "kind of processor]",
)
@_output("--shapes", help="What auto measures.  [default: 1x16,1x128,8x128]")
@_output(
    "--text-input",
    "text_input",
    flag_value="task",
    help="A second graph beside each target's, which takes texts: without a tokenizer beside it.",
)
@_output(
    "--text-pair-input",
    "text_input",
    flag_value="pair",
    help="The same for pairs of texts, where the task takes either.",
)
@_output("--opset", type=values.OPSET, help=f"ONNX opset of the graph.  [default: {DEFAULT_OPSET}]")
@_output(
    "--outputs",
    metavar="NAMES",
    help=f"Inner values beside the answers, by commas: {', '.join(INNER_OUTPUTS)}.",
)
@_output(
    "--pooled-layers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Sentence vectors from the mean of the last N layers' states.  [default: 1]",
)
@_output("--force", is_flag=True, help="Replace a bundle that exists, atomically.")
@_int8(
    "--calibration",
    type=values.CALIBRATION,
    help="A built-in set, or a data file: .jsonl, .csv, .txt and others, or a saved data set.",
)
@_int8(
    "--calibration-method",
    type=values.OBSERVER,
    help=f"How ranges are set: {', '.join(OBSERVER_NAMES)}.  [default: {DEFAULT_OBSERVER}]",
)
@_int8(
    "--int8-mode",
    type=values.INT8_MODE,
    help="static, or dynamic: answers depend on the batch.  [default: static]",
)
@_int8(
    "--cpu",
    type=values.PROCESSOR,
    help="INT8 for x86-64-vnni, x86-64 or arm64.  [default: this machine's]",
)
@_budget(
    "--max-drop",
    metavar="POINTS%",
    help="The most that INT8 may cost on --eval, such as 0.5%; layers go back to float until then.",
)
@_budget(
    "--eval",
    "eval_data",
    type=values.DATA,
    metavar="FILE",
    help="A data file to measure that on: the task's metric if labelled, else agreement with FP32.",
)
@_budget("--keep-best", is_flag=True, help="Write the best found if --max-drop cannot be met.")
@data_options(option_group("Data of --calibration and --eval"))
@checkpoint_options
@engine_options
@_running(
    "--threads", type=click.IntRange(min=1), help="Threads while calibrating, verifying and timing."
)
@_running("--example", help="Text that the finished bundle answers.")
@_running(
    "--explain", "explains", is_flag=True, help="Show what each graph pass did, and what costs."
)
@_running("--dry-run", is_flag=True, help="Say what would be done, and how long that took before.")
@_running("--quiet", is_flag=True, help="Print nothing but errors.")
@_running("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export_command(
    *,
    task: str | None,
    model: str | None,
    checkpoint: TypedCheckpointOptions,
    max_length: int | None,
    recipe: str | None,
    output: str | None,
    flag: str | None,
    precision: str | None,
    targets: tuple[str, ...],
    shapes: str | None,
    opset: int | None,
    outputs: str | None,
    pooled_layers: int | None,
    text_input: str | None,
    force: bool,
    calibration: str | None,
    calibration_method: str | None,
    int8_mode: str | None,
    cpu: str | None,
    max_drop: str | None,
    eval_data: str | None,
    keep_best: bool,
    data_options: DataOptions,
    gpus: tuple[str, ...],
    batch_sizes: str | None,
    lengths: str | None,
    profile_from: str | None,
    engine_cache: str | None,
    threads: int | None,
    example: str | None,
    explains: bool,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Export a checkpoint into a bundle that answers without PyTorch."""
    with errors_on_one_line():
        base = ExportRequest() if recipe is None else _recipe(recipe)
    with usage_errors():
        chosen = _precision(precision, flag)
        if chosen not in {None, "int8", AUTO}:
            base = base.without_int8()
        typed = {
            "task": task,
            "model": model,
            "checkpoint": checkpoint.read(),
            "max_length": max_length,
            "precision": chosen,
            "targets": targets or None,
            "shapes": shapes,
            "opset": opset,
            "text_input": True if text_input == "task" else text_input,
            "calibration": calibration,
            "quantization": _quantization(int8_mode, calibration_method, base.quantization),
            "cpu": cpu,
            "max_drop": None if max_drop is None else parse_share(max_drop),
            "eval_data": eval_data,
            "keep_best": keep_best or None,
            "fields": data_options.columns or None,
            "label_map": data_options.label_map or None,
            "engines": read_engine_options(
                targets or base.targets,
                gpus=gpus,
                batch_sizes=batch_sizes,
                lengths=lengths,
                profile_from=profile_from,
                engine_cache=engine_cache,
                base=base.engines,
            ),
            "threads": threads,
            "outputs": None if outputs is None else named_outputs(outputs),
            "pooled_layers": pooled_layers,
        }
        given = {name: value for name, value in typed.items() if value is not None}
        request = msgspec.structs.replace(base, **given)
        if shapes is None and not request.is_measured:  # those of a recipe's auto
            request = msgspec.structs.replace(request, shapes=None)
    with errors_on_one_line():
        if dry_run:
            _plan(request, output=output, force=force, as_json=as_json)
            return
        done = _export(
            request, output=output, force=force, cache=engine_cache, quiet=quiet or as_json
        )
        if not quiet and not as_json:
            for assumption in done.manifest.assumptions:
                stderr.print(f"assumed: {assumption}", style="yellow")
            for one in done.left_out:
                stderr.print(
                    f"left out, though it is ahead on this processor: {one.error}", style="yellow"
                )
            print_doubts(done.manifest.engines)
        record, answer, refusal = _answer(done, example)
        explanation = _explained(done) if explains else None
        if as_json:
            print_json(_told(done, record, answer, refusal, explanation))
        elif not quiet:
            _print(done, explanation)
            stdout.print(f"\n{_text(record)}", style="bold")
            stdout.print(
                _text(answer) if refusal is None else f"no answer: {refusal}",
            )


def _recipe(path: str) -> ExportRequest:
    """The request of a recipe's file."""
    from bert_export.exporter import read_recipe

    return read_recipe(path)


def _plan(request: ExportRequest, *, output: str | None, force: bool, as_json: bool) -> None:
    """Say what would be done."""
    from bert_export.cli.dry_run import print_plan

    with export_extra("export"):
        from bert_export.exporter import check_request
        from bert_export.exporter.dry_run import plan_export

        with usage_errors():
            check_request(request)
        plan = plan_export(request, output=output, force=force)
    print_plan(plan, as_json=as_json)


def _precision(precision: str | None, flag: str | None) -> str | None:
    """The precision that was typed in one of its forms; ``None`` where it was in none.

    Raises:
        InputError: Two of them are there, and differ.
    """
    if precision and flag and precision != flag:
        raise InputError(
            "precision is given twice",
            expected="one of them",
            got=f"--precision {precision} and --{flag}",
        )
    return precision or flag


def _quantization(
    mode: str | None, method: str | None, base: QuantizationOptions | None
) -> QuantizationOptions | None:
    """How INT8 is done, where that is typed; what is not typed is as ``base`` has it."""
    typed = {"mode": mode, "observer": method}
    given = {name: value for name, value in typed.items() if value is not None}
    return msgspec.structs.replace(base or QuantizationOptions(), **given) if given else None


def _export(
    request: ExportRequest, *, output: str | None, force: bool, cache: str | None, quiet: bool
) -> Export:
    """The library call, with its stages drawn.

    Raises:
        UsageProblem: Options do not belong together.
        MissingExtraError: The extra that brings PyTorch is not installed.
    """
    with export_extra("export"):
        from bert_export.exporter import check_request
        from bert_export.exporter.request import check_output

        # What is typed wrong is said before seconds of imports.
        with usage_errors():
            checked = check_request(request)
        check_output(checked, output, force=force)
        from bert_export.exporter import export_request
    from bert_export.cli.search import broken_budget_shown
    from bert_export.cli.stages import DrawnStages

    with broken_budget_shown(quiet=quiet), DrawnStages(quiet=quiet) as listener:
        return export_request(
            request, output=output, force=force, engine_cache=cache, listener=listener
        )


def _explained(done: Export) -> Explanation:
    from bert_export.explanation import explain

    return explain(done.path)


def _print(done: Export, explanation: Explanation | None) -> None:
    """What was found, and what the passes did where that is asked for."""
    from bert_export.cli.auto_target import print_auto_target
    from bert_export.cli.explain import print_explanation
    from bert_export.cli.search import print_search

    plan = done.manifest.engines[0].quantization
    if plan is not None and plan.search is not None:
        print_search(plan.search)
    print_auto_target(done.manifest)
    stdout.print(f"wrote {done.path}")
    if explanation is not None:
        stdout.print()
        print_explanation(explanation)


def _told(
    done: Export,
    record: dict[str, Any],
    answer: Any,
    refusal: str | None,
    explanation: Explanation | None,
) -> dict[str, Any]:
    """What ``--json`` prints."""
    told = {
        "bundle": str(done.path),
        "task": done.manifest.task,
        "precision": done.manifest.engine().precision,
        "targets": [engine.target for engine in done.manifest.engines],
        "stages": [
            {"name": stage.name, "seconds": stage.seconds, **stage.facts} for stage in done.stages
        ],
        "assumptions": done.manifest.assumptions,
        "parity": {engine.target: engine.parity for engine in done.manifest.engines},
        "auto_target": done.manifest.auto_target,
        "left_out": {refusal.target: str(refusal.error) for refusal in done.left_out},
        "example": record,
        "answer": answer,
        "refusal": refusal,
    }
    return told if explanation is None else told | {"explanation": explanation}


def parse_share(text: str, option: str = "max-drop") -> float:
    """A share: ``0.5%`` and ``0.005`` are the same.

    Args:
        text: As typed.
        option: Whose value it is, for errors.

    Raises:
        InputError: It is neither, or below zero.
    """
    number, percent = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        share = float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError(
            f"{option} is malformed", expected="a share such as 0.5% or 0.005", got=shown(text)
        ) from None
    if not 0 <= share < math.inf:
        raise InputError(
            f"{option} is out of bounds",
            expected="0 or more, such as 0.5% for half a point",
            got=shown(text),
        )
    return share


def _answer(done: Export, example: str | None) -> tuple[dict[str, Any], Any, str | None]:
    """What the finished bundle says to the example, loaded as a service would load it; or why not.

    A bundle for GPUs alone is not asked: they need not be here. An example that does not fit, such
    as one that is too long for the checkpoint, makes no finished bundle a failure.
    """
    from bert_export.demonstration_table import find_example
    from bert_export.runtime.loading import load

    task = find_task(done.manifest.task)
    record, options = dict(task.example), dict(task.command_options)
    shown = find_example(done.manifest.model.source, task.name)
    if shown is not None:
        record, options = dict(shown.record), options | shown.options
    if example is not None:
        record[next(iter(record))] = example
    here = [engine.target for engine in done.manifest.engines if not TARGETS[engine.target].gpu]
    if not here:
        return record, None, "its engine runs on a GPU"
    with load(
        done.path, target=None if done.manifest.default_target in here else here[0]
    ) as pipeline:
        try:
            return record, pipeline.ask(record, **options), None
        except InputError as error:
            return record, None, str(error)


def _text(value: Any) -> str:
    """A record or an answer, short enough for a terminal."""
    if hasattr(value, "shape"):
        head = ", ".join(f"{number:.4f}" for number in value.reshape(-1)[:6])
        return f"float32 {tuple(value.shape)} [{head}, ...]"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 1200 else f"{text[:1200]} ..."
