"""``bert-export inspect``: what a bundle is, and what was proved of it."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec
from rich.table import Table

from bert_export.bundle import EngineRecord, LayerPlan, Manifest, read_manifest, verify_files
from bert_export.cli import values
from bert_export.cli.auto_target import print_auto_target
from bert_export.cli.console import errors_on_one_line, print_json, size_text, stdout
from bert_export.cli.doubts import doubts_of
from bert_export.cli.option_groups import Command
from bert_export.cli.search import search_table
from bert_export.errors import BundleError
from bert_export.runtime.hub import find_bundle

__all__ = ["inspect_command"]


@click.command("inspect", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.option(
    "--target", type=values.TARGET, help="Show this engine alone.  [default: every engine]"
)
@click.option("--recipe", is_flag=True, help="Print the export's request, for --recipe FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as one JSON object.")
def inspect_command(bundle: str, *, target: str | None, recipe: bool, as_json: bool) -> None:
    """Show BUNDLE: task, labels, interface, precision per layer, parity and checked hashes."""
    with errors_on_one_line():
        folder = find_bundle(bundle)
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
        engines = manifest.engines if target is None else (manifest.engine(target),)
        if recipe:
            _print_recipe(folder, manifest)
            return
        if as_json:
            print_json(msgspec.structs.replace(manifest, engines=engines))
            return
        stdout.print(_summary(manifest))
        print_auto_target(manifest)
        warnings = _warnings(engines)
        if warnings is not None:
            stdout.print(warnings)
        for engine in engines:
            for table in (_interface(engine), _layers(engine), _parity(engine), _texts(engine)):
                if table is not None:
                    stdout.print(table)
            if engine.quantization is not None and engine.quantization.search is not None:
                stdout.print(search_table(engine.quantization.search))
        stdout.print(_files(manifest))


def _print_recipe(folder: Path, manifest: Manifest) -> None:
    """Print the request as TOML.

    Raises:
        BundleError: The bundle is of before requests were kept.
    """
    from bert_export.exporter.recipe_file import recipe_text

    if manifest.request is None:
        raise BundleError(
            f"bundle {folder} does not keep what it was asked for",
            fix="Export it again with this version",
        )
    stdout.out(recipe_text(manifest.request), end="", highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _summary(manifest: Manifest) -> Table:
    table = _table(manifest.task, "what", "value")
    model, tokenizer = manifest.model, manifest.tokenizer
    rows = {
        "targets": ", ".join(
            f"{engine.target} {engine.precision}"
            + (" (default)" if engine.target == manifest.default_target else "")
            for engine in manifest.engines
        ),
        "checkpoint": f"{model.source} ({model.architecture}, {model.parameters:,} parameters)",
        "weights sha256": model.weights_sha256,
        "sizes": f"{model.num_hidden_layers} layers, hidden {model.hidden_size}, "
        f"{model.num_attention_heads} heads, vocabulary {model.vocab_size:,}",
        "labels": ", ".join(manifest.labels) or "none",
        "tokens per row": f"{tokenizer.max_length}",
        "lower case": "yes" if tokenizer.do_lower_case else "no",
        "versions": ", ".join(f"{name} {value}" for name, value in manifest.versions.items()),
    }
    if manifest.postprocessing:
        rows["post-processing"] = ", ".join(
            f"{name} {value}" for name, value in manifest.postprocessing.items()
        )
    if model.attribution:
        rows["attribution"] = model.attribution
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _interface(engine: EngineRecord) -> Table:
    graph = engine.graph
    title = f"{engine.target} {engine.precision}: {graph.file}, opset {graph.opset}"
    table = _table(title, "tensor", "name", "dtype", "shape")
    for kind, specs in (("input", graph.inputs), ("output", graph.outputs)):
        for spec in specs:
            table.add_row(kind, spec.name, spec.dtype, f"({', '.join(map(str, spec.shape))})")
    return table


def _layers(engine: EngineRecord) -> Table | None:
    plan = engine.quantization
    if plan is None:
        return None
    calibration = plan.calibration
    ranges = "ranges from each batch, on which answers depend"
    if calibration is not None:
        ranges = (
            f"{plan.observer} ranges from {calibration.source} ({calibration.examples} examples, "
            f"{calibration.tokens:,} tokens, sha256 {calibration.sha256[:12]})"
        )
    table = _table(
        f"{plan.mode} quantization for {plan.processor or 'GPUs'}: {plan.weight_type} weights of "
        f"{plan.weight_bits} bits, {plan.activation_type} activations, {ranges}",
        "layer",
        "precision",
        "scale",
        "zero point",
        "equalization",
        "reason",
    )
    for layer in plan.layers:
        table.add_row(
            layer.layer,
            layer.precision,
            "" if layer.activation_scale is None else f"{layer.activation_scale:.5g}",
            "" if layer.activation_zero_point is None else str(layer.activation_zero_point),
            _treatment(layer),
            layer.reason or "",
        )
    return table


def _treatment(layer: LayerPlan) -> str:
    """What was done so that the layer's INT8 is close to float."""
    words = ["channel_shifted"] if layer.channel_shifted else []
    if layer.smoothquant is not None:
        words.append(
            f"{'folded' if layer.smoothquant_folded else 'smoothed'} {layer.smoothquant:g}"
        )
    if layer.split_channels:
        words.append(f"{layer.split_channels} split units")
    if layer.gptq:
        words.append("GPTQ")
    if layer.bias_corrected:
        words.append("bias")
    if layer.output_scale is not None:
        words.append(f"output in int8, scale {layer.output_scale:.3g}")
    return ", ".join(words)


def _parity(engine: EngineRecord) -> Table | None:
    parity = engine.parity
    if parity is None:
        return None
    bound = "no bound" if parity.tolerance is None else f"bound {parity.tolerance:g}"
    table = _table(
        f"parity with {parity.reference}: {parity.agreement_kind} agreement {parity.agreement:.4f} "
        f"(at least {parity.min_agreement:g}), largest difference "
        f"{parity.max_abs_difference:.3g} ({bound})",
        "case",
        "rows",
        "largest difference",
    )
    for case in parity.cases:
        table.add_row(case.name, str(case.rows), f"{case.max_abs_difference:.3g}")
    return table


def _texts(engine: EngineRecord) -> Table | None:
    """The real text that the agreement was measured on."""
    parity = engine.parity
    if parity is None or not parity.texts:
        return None
    columns = ("text that set no range", "rows", "agreement", "[UNK]", "")
    table = _table("what the agreement rests on", *columns)
    for text in parity.texts:
        table.add_row(
            f"held out of {text.source}" if text.held_out else text.source,
            str(text.rows),
            f"{text.agreement:.4f}",
            f"{100 * text.unknown_share:.1f} %",
            "" if text.counted else "not counted",
        )
    if parity.labels_never_given:
        table.caption = f"labels never given: {', '.join(parity.labels_never_given)}"
        table.caption_justify = "left"
    return table


def _warnings(engines: tuple[EngineRecord, ...]) -> Table | None:
    warnings = doubts_of(engines)
    if not warnings:
        return None
    table = _table("warnings", "what the proof does not cover")
    for warning in warnings:
        table.add_row(warning)
    return table


def _files(manifest: Manifest) -> Table:
    table = _table("files (hashes checked)", "file", "size", "sha256")
    for name, record in manifest.files.items():
        table.add_row(name, size_text(record.bytes), record.sha256)
    return table
