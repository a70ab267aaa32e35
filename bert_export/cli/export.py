"""``bert-export``: from a checkpoint to a verified bundle."""

from __future__ import annotations

import json
from typing import Any, cast

import click

from bert_export.bundle import SearchRecord
from bert_export.cli.auto_target import print_auto_target
from bert_export.cli.console import errors_on_one_line, print_json, stderr, stdout
from bert_export.cli.engine_options import engine_options, take_engine_options
from bert_export.cli.explain import print_explanation
from bert_export.cli.search import search_table
from bert_export.cli.stages import DrawnStages
from bert_export.errors import BudgetError, InputError, MissingExtraError
from bert_export.explanation import explain
from bert_export.quantization.calibration.observers import OBSERVERS
from bert_export.quantization.options import DEFAULT_OBSERVER, QuantizationOptions
from bert_export.targets import DEFAULT_TARGET, TARGETS
from bert_export.tasks import TASKS, find_task

__all__ = ["export_command", "parse_share"]


@click.command("export")
@click.option("--task", help=f"One of {', '.join(TASKS)}; read from the checkpoint if not given.")
@click.option(
    "--model",
    default="demo",
    show_default=True,
    help="A directory, a hub id, `demo` (the task's demonstration checkpoint) or `demo:NAME`.",
)
@click.option("--output", "-o", help="The bundle's folder.  [default: TASK-PRECISION]")
@click.option(
    "--precision", help="fp32, fp16, bf16 or int8, as far as the target has it.  [default: fp32]"
)
@click.option("--int8", "flag", flag_value="int8", help="Short for --precision int8.")
@click.option("--bf16", "flag", flag_value="bf16", help="Short for --precision bf16.")
@click.option("--fp16", "flag", flag_value="fp16", help="Short for --precision fp16.")
@click.option("--fp32", "flag", flag_value="fp32", help="Short for --precision fp32.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    help=f"May be repeated: {', '.join(TARGETS)}; or auto: the fastest that is installed here, by "
    f"measurement.  [default: {DEFAULT_TARGET}]",
)
@click.option("--shapes", help="What auto measures.  [default: 1x16,1x128,8x128]")
@click.option(
    "--calibration",
    help="A built-in set, or a data file: .jsonl, .csv, .parquet, .txt or a saved data set.",
)
@click.option(
    "--int8-mode", help="static, or dynamic: answers depend on the batch.  [default: static]"
)
@click.option(
    "--calibration-method",
    help=f"How ranges are set: {', '.join(OBSERVERS)}.  [default: {DEFAULT_OBSERVER}]",
)
@click.option(
    "--max-drop",
    metavar="POINTS%",
    help="The most that INT8 may cost on --eval, such as 0.5%; layers go back to float until then.",
)
@click.option(
    "--eval",
    "eval_data",
    metavar="FILE",
    help="A data file to measure that on: the task's metric if labelled, else agreement with FP32.",
)
@click.option("--keep-best", is_flag=True, help="Write the best found if --max-drop cannot be met.")
@click.option("--cpu", help="INT8 for x86-64-vnni, x86-64 or arm64.  [default: this machine's]")
@click.option("--max-length", type=int, help="Tokens per row; longer text is cut or strided.")
@click.option("--opset", type=int, help="ONNX opset of the graph.")
@click.option("--threads", type=int, help="Threads while calibrating and verifying.")
@engine_options
@click.option("--force", is_flag=True, help="Replace a bundle that exists, atomically.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--example", help="Text that the finished bundle answers.")
@click.option(
    "--explain", "explains", is_flag=True, help="Show what each graph pass did, and what costs."
)
def export_command(
    *,
    precision: str | None,
    flag: str | None,
    targets: tuple[str, ...],
    opset: int | None,
    int8_mode: str | None,
    calibration_method: str | None,
    max_drop: str | None,
    quiet: bool,
    as_json: bool,
    example: str | None,
    explains: bool,
    **options: Any,
) -> None:
    """Export a checkpoint into a bundle that answers without PyTorch."""
    with errors_on_one_line():
        if precision and flag and precision != flag:
            raise InputError(
                "precision is given twice",
                expected="one of them",
                got=f"--precision {precision} and --{flag}",
            )
        options["engines"] = take_engine_options(options, targets)
        if opset is not None:
            options["opset"] = opset
        if targets:
            options["targets"] = targets
        if int8_mode or calibration_method:
            options["quantization"] = _quantization(int8_mode or "static", calibration_method)
        if max_drop is not None:
            options["max_drop"] = parse_share(max_drop)
        options["precision"] = precision or flag or "fp32"
        done = _export(options, quiet=quiet or as_json)
        record, answer, refusal = _answer(done, example)
        explanation = explain(done.path) if explains else None
        if as_json:
            print_json(
                {
                    "bundle": str(done.path),
                    "task": done.manifest.task,
                    "precision": done.manifest.engine().precision,
                    "targets": [engine.target for engine in done.manifest.engines],
                    "stages": [
                        {"name": stage.name, "seconds": stage.seconds, **stage.facts}
                        for stage in done.stages
                    ],
                    "parity": {engine.target: engine.parity for engine in done.manifest.engines},
                    "choice": done.manifest.auto_target,
                    "example": record,
                    "answer": answer,
                    "refusal": refusal,
                }
                | ({} if explanation is None else {"explanation": explanation})
            )
        elif not quiet:
            plan = done.manifest.engines[0].quantization
            if plan is not None and plan.search is not None:
                stdout.print(search_table(plan.search))
            print_auto_target(done.manifest)
            stdout.print(f"wrote {done.path}")
            if explanation is not None:
                stdout.print()
                print_explanation(explanation)
            stdout.print(f"\n{_text(record)}", style="bold")
            stdout.print(
                _text(answer) if refusal is None else f"no answer: {refusal}",
            )


def _export(options: dict[str, Any], *, quiet: bool) -> Any:
    """The library call, with its stages drawn, and the path of a budget that could not be kept."""
    export = _import_export()
    listener = DrawnStages(quiet=quiet)
    try:
        with listener:
            return export(listener=listener, **options)
    except BudgetError as error:
        if not quiet:
            stderr.print(search_table(cast("SearchRecord", error.search)))
        raise


def _quantization(mode: str, method: str | None) -> QuantizationOptions:
    """How INT8 is done.

    Raises:
        InputError: A calibration method is given for what is not calibrated.
    """
    if mode == "dynamic" and method is not None:
        raise InputError(
            f"calibration-method {method} has no use for dynamic INT8",
            expected="--int8-mode static",
            got=mode,
        )
    return QuantizationOptions(mode=mode, observer=method or DEFAULT_OBSERVER)


def parse_share(text: str) -> float:
    """A share: ``0.5%`` and ``0.005`` are the same.

    Raises:
        InputError: It is neither.
    """
    number, percent = (text[:-1], True) if text.endswith("%") else (text, False)
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        raise InputError(
            "max-drop is malformed", expected="a share such as 0.5% or 0.005", got=repr(text)
        ) from None


def _import_export() -> Any:
    """The library call; PyTorch is only needed here."""
    try:
        from bert_export.exporter.auto_target import export_for
    except MissingExtraError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"export ({error.name})", extra="export") from error
    return export_for


def _answer(done: Any, example: str | None) -> tuple[dict[str, Any], Any, str | None]:
    """What the finished bundle says to the example, loaded as a service would load it; or why not.

    A bundle for GPUs alone is not asked: they need not be here. An example that does not fit, such
    as one that is too long for the checkpoint, makes no finished bundle a failure.
    """
    from bert_export.runtime.loading import load

    task = find_task(done.manifest.task)
    record = dict(task.example)
    if example is not None:
        record[next(iter(record))] = example
    here = [engine.target for engine in done.manifest.engines if not TARGETS[engine.target].gpu]
    if not here:
        return record, None, "its engine runs on a GPU"
    default = done.manifest.default_target
    with load(done.path, target=default if default in here else here[0]) as pipeline:
        try:
            return record, pipeline.ask(record, **task.example_options), None
        except InputError as error:
            return record, None, str(error)


def _text(value: Any) -> str:
    """A record or an answer, short enough for a terminal."""
    if hasattr(value, "shape"):
        head = ", ".join(f"{number:.4f}" for number in value.reshape(-1)[:6])
        return f"float32 {tuple(value.shape)} [{head}, ...]"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 1200 else f"{text[:1200]} ..."
