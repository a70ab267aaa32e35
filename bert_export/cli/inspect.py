"""``bert-export inspect``: what a bundle is, and what was proved of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.table import Table

from bert_export.bundle import (
    EngineRecord,
    GraphRecord,
    LayerPlan,
    Manifest,
    SearchRecord,
    read_bundle,
)
from bert_export.bundle.program import PROGRAM_SUFFIX
from bert_export.cli import values
from bert_export.cli.auto_target import print_auto_target
from bert_export.cli.console import errors_on_one_line, print_json, size_text, stdout
from bert_export.cli.doubts import doubts_of
from bert_export.cli.option_groups import Command
from bert_export.cli.search import print_search
from bert_export.cli.tables import facts_table, print_table, table_of
from bert_export.errors import BundleError
from bert_export.runtime.engine_choice import choose_engine
from bert_export.runtime.hub import find_bundle
from bert_export.runtime.native import native_state

__all__ = ["inspect_command"]

_DIGITS = 16  # of a hash, enough to tell files apart; --json has them all


@click.command("inspect", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.option(
    "--target", type=values.TARGET, help="Show this engine alone.  [default: every engine]"
)
@click.option("--layers", is_flag=True, help="Show every layer's precision, scale and treatment.")
@click.option("--recipe", is_flag=True, help="Print the export's request, for --recipe FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as one JSON object.")
def inspect_command(
    bundle: str, *, target: str | None, layers: bool, recipe: bool, as_json: bool
) -> None:
    """Show BUNDLE: what was proved of it, then task, labels, interface and checked hashes."""
    with errors_on_one_line():
        folder = find_bundle(bundle)
        manifest = read_bundle(folder)
        engines = manifest.engines if target is None else (manifest.engine(target),)
        if recipe:
            _print_recipe(folder, manifest)
            return
        if as_json:
            print_json(msgspec.structs.replace(manifest, engines=engines))
            return
        _print_verdict(manifest, engines)
        print_table(_summary(manifest))
        print_auto_target(manifest)
        for engine in engines:
            found = [
                _interface(engine),
                *_texts_in(engine),
                _plan(engine),
                _parity(engine),
                _texts(engine),
            ]
            if layers:
                found.append(_layers(engine))
            for table in found:
                if table is not None:
                    print_table(table)
            if engine.quantization is not None and engine.quantization.search is not None:
                print_search(engine.quantization.search)
        print_table(_files(manifest))


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


def _print_verdict(manifest: Manifest, engines: tuple[EngineRecord, ...]) -> None:
    """What was proved, in a line or two per engine, and what the proof does not cover."""
    lines = []
    for engine in engines:
        verdict, style = _verdict(engine)
        lines.append((f"{engine.target} {engine.precision}: {verdict}", style))
        if engine.quantization is not None and engine.quantization.search is not None:
            lines.append(_budget_verdict(engine.quantization.search))
    size = size_text(sum(record.bytes for record in manifest.files.values()))
    count = len(manifest.files)
    lines.append((f"files: {count}, {size}, each with the hash that was recorded", "green"))
    lines += [(f"warning: {doubt}", "yellow") for doubt in doubts_of(engines)]
    for line, style in lines:
        stdout.print(line, style=style, soft_wrap=False)
    stdout.print()


def _verdict(engine: EngineRecord) -> tuple[str, str]:
    """Whether an engine was proved to answer as the checkpoint does, and its colour."""
    parity = engine.parity
    if parity is None:
        return "not verified", "yellow"
    bound = "" if parity.tolerance is None else f" of at most {parity.tolerance:g}"
    text = (
        f"verified, answers as {parity.reference}: {100 * parity.agreement:.2f} % "
        f"{parity.agreement_kind} agreement (at least {100 * parity.min_agreement:g} %), largest "
        f"difference {parity.max_abs_difference:.3g}{bound}"
    )
    return text, "green"


def _budget_verdict(search: SearchRecord) -> tuple[str, str]:
    """Whether the accuracy budget was kept, and the colour of that."""
    chosen = search.path[search.chosen]
    error = chosen.drop_error
    give = "" if error is None else f" \N{PLUS-MINUS SIGN} {100 * error:.2f}"
    text = (
        f"accuracy budget {'kept' if search.met else 'NOT kept'}: {search.metric} "
        f"{chosen.score:.4f}, in float {search.baseline:.4f}, a loss of {100 * chosen.drop:.2f}"
        f"{give} points of at most {100 * search.budget:g}"
    )
    return text, "green" if search.met else "red"


def _targets(manifest: Manifest) -> Iterator[str]:
    """The engines, with which is the default and which one answers where none is named."""
    answers = choose_engine(manifest, None)
    for engine in manifest.engines:
        name = f"{engine.target} {engine.precision}"
        if engine.target == manifest.default_target:
            yield f"{name} (default)"
        elif engine.target == answers.target:
            yield f"{name} (answers on this machine)"
        else:
            yield name


def _summary(manifest: Manifest) -> Table:
    model, tokenizer = manifest.model, manifest.tokenizer
    rows = {
        "targets": ", ".join(_targets(manifest)),
        "checkpoint": f"{model.source} ({model.architecture}, {model.parameters:,} parameters)",
        "weights sha256": model.weights_sha256[:_DIGITS],
        "sizes": f"{model.num_hidden_layers} layers, hidden {model.hidden_size}, "
        f"{model.num_attention_heads} heads, vocabulary {model.vocab_size:,}",
        "labels": ", ".join(manifest.labels) or "none",
        "tokens per row": f"{tokenizer.max_length}",
        "lower case": "yes" if tokenizer.do_lower_case else "no",
        "tokenizer here": native_state(),
        "versions": ", ".join(f"{name} {value}" for name, value in manifest.versions.items()),
    }
    if manifest.postprocessing:
        rows["post-processing"] = ", ".join(
            f"{name} {value}" for name, value in manifest.postprocessing.items()
        )
    if manifest.assumptions:
        rows["assumed"] = "\n".join(manifest.assumptions)
    if model.attribution:
        rows["attribution"] = model.attribution
    return facts_table(manifest.task, rows)


def _interface(engine: EngineRecord) -> Table:
    return _graph(engine.graph, f"{engine.target} {engine.precision}")


def _texts_in(engine: EngineRecord) -> Iterator[Table]:
    """The graph that takes texts, where there is one, and what was compared of it."""
    if engine.text is None:
        return
    check = engine.text.check
    yield _graph(engine.text.graph, f"{engine.target} {engine.precision}, texts in")
    yield facts_table(
        f"\nids equal those of {check.library}",
        {
            "characters": f"{check.code_points:,}, each alone, between letters, after an accent",
            "texts": f"{check.texts} real, {check.hostile:,} put together, {check.pairs:,} pairs",
            "tokens per row": ", ".join(map(str, check.max_lengths)),
            "outputs": f"of {check.answered} rows, bit for bit those of {engine.graph.file}",
        },
    )


def _graph(graph: GraphRecord, what: str) -> Table:
    form = "a program" if graph.file.endswith(PROGRAM_SUFFIX) else f"opset {graph.opset}"
    files = " and ".join(part.file for part in graph.graphs)
    title = f"\n{what}: {files}, {form}"
    table = table_of(title, "tensor", "name", "dtype", "shape")
    for part in graph.graphs:
        half = "" if graph.encoder is None else "encoder " if part is graph.encoder else "decoder "
        for kind, specs in (("input", part.inputs), ("output", part.outputs)):
            for spec in specs:
                axes = f"({', '.join(map(str, spec.shape))})"
                table.add_row(f"{half}{kind}", spec.name, spec.dtype, axes)
    return table


def _plan(engine: EngineRecord) -> Table | None:
    """How INT8 was made, in a few lines; the layers themselves are in :func:`_layers`."""
    plan = engine.quantization
    if plan is None:
        return None
    calibration = plan.calibration
    ranges = "from each batch, on which answers depend"
    if calibration is not None:
        ranges = (
            f"{plan.observer}, from {calibration.source} ({calibration.examples:,} examples, "
            f"{calibration.tokens:,} tokens, sha256 {calibration.sha256[:_DIGITS]})"
        )
    in_float = [layer for layer in plan.layers if layer.precision != "int8"]
    reasons = dict.fromkeys(layer.reason for layer in in_float if layer.reason)
    facts = {
        "numbers": f"{plan.weight_type} weights of {plan.weight_bits} bits, "
        f"{plan.activation_type} activations, for {plan.processor or 'GPUs'}",
        "ranges": ranges,
        "linear layers": f"{len(plan.layers) - len(in_float)} in int8, {len(in_float)} in float; "
        "--layers lists them",
    }
    if reasons:
        facts["in float because"] = "; ".join(reasons)
    return facts_table(f"\n{plan.mode} quantization of {engine.target}", facts)


def _layers(engine: EngineRecord) -> Table | None:
    plan = engine.quantization
    if plan is None:
        return None
    table = table_of(
        f"\nlayers of {engine.target} {engine.precision}",
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
    table = table_of(
        f"\nparity with {parity.reference}: {parity.agreement_kind} agreement "
        f"{parity.agreement:.4f} "
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
    table = table_of("\nwhat the agreement rests on", *columns)
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


def _files(manifest: Manifest) -> Table:
    table = table_of(
        f"\nfiles, every hash compared; its first {_DIGITS} digits", "file", "size", "sha256"
    )
    for name, record in manifest.files.items():
        table.add_row(name, size_text(record.bytes), record.sha256[:_DIGITS])
    return table
