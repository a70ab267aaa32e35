"""A bundle's page on the hub, made from its manifest alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from bert_export.bundle import EngineRecord, Manifest
from bert_export.demonstration_table import BASE, BASE_LICENCE, CARD, DEMONSTRATIONS
from bert_export.exporter.recipe_file import recipe_text
from bert_export.tasks import find_task

__all__ = ["CARD_FILE", "find_licence", "model_card"]

CARD_FILE = "README.md"

_DEMO = "demo:"


def model_card(manifest: Manifest, *, hub_id: str, licence: str | None = None) -> str:
    """The page in Markdown, under the metadata that the hub reads.

    Args:
        manifest: Of the bundle.
        hub_id: Where the bundle will be, for the examples.
        licence: Of the weights; see :func:`find_licence`.
    """
    return "\n".join([*_metadata(manifest, licence), "", *_page(manifest, hub_id)]) + "\n"


def find_licence(manifest: Manifest) -> str | None:
    """The licence of the checkpoint that a bundle was made of, where that is known here.

    It is in the card of a demonstration, and in the metadata of a checkpoint's own page.
    """
    source = manifest.model.source
    if source.startswith(_DEMO):
        name = source.removeprefix(_DEMO)
        if name == BASE:
            return BASE_LICENCE
        card = DEMONSTRATIONS / Path(name).name / CARD
        stated = json.loads(card.read_text(encoding="utf-8")) if card.is_file() else {}
        licence = stated.get("licence")
        return licence if isinstance(licence, str) else None
    page = Path(source) / CARD_FILE
    return _stated_licence(page.read_text(encoding="utf-8")) if page.is_file() else None


def _stated_licence(page: str) -> str | None:
    """The key ``license`` of the metadata at a page's top."""
    lines = page.splitlines()
    if not lines or lines[0] != "---":
        return None
    for line in lines[1:]:
        if line == "---":
            return None
        key, _, value = line.partition(":")
        if key == "license":
            return value.strip().strip("\"'") or None
    return None


def _metadata(manifest: Manifest, licence: str | None) -> Iterator[str]:
    """YAML; every value is a JSON string, which YAML reads too."""
    precisions = dict.fromkeys(engine.precision for engine in manifest.engines)
    tag = find_task(manifest.task).pipeline_tag
    yield "---"
    yield "library_name: bert-export"
    if tag is not None:
        yield f"pipeline_tag: {tag or manifest.task}"
    if licence is not None:
        # The hub knows licences by short names; others it shows by what it is told.
        short = " " not in licence and licence == licence.lower()
        yield f"license: {json.dumps(licence if short else 'other')}"
        if not short:
            yield f"license_name: {json.dumps(licence)}"
    source = manifest.model.source
    if source.count("/") == 1 and not source.startswith((".", "/", "~", _DEMO)):
        yield f"base_model: {json.dumps(source)}"
    yield f"tags: {json.dumps(['bert', 'bert-export', 'onnx', *precisions])}"
    yield "---"


def _page(manifest: Manifest, hub_id: str) -> Iterator[str]:
    task = find_task(manifest.task)
    model = manifest.model
    yield f"# {hub_id.rpartition('/')[2]}"
    yield ""
    yield (
        f"A bundle of bert-export: {task.summary}. It was made of `{model.source}` "
        f"({model.architecture}, {model.parameters:,} parameters) and answers without PyTorch."
    )
    if model.attribution:
        yield f"\nThe checkpoint: {model.attribution}."
    yield "\n## Use\n"
    yield f"```python\nfrom bert_export import load\n\npipeline = load({json.dumps(hub_id)})"
    yield f"pipeline.ask({json.dumps(dict(task.example), ensure_ascii=False)})\n```\n"
    yield (
        "It needs `pip install 'bert-export[hub]'`; every file is compared with the hash that the "
        "manifest states before it is opened."
    )
    yield "\n## Engines\n"
    yield "| target | precision | answers like the checkpoint | largest difference | bound |"
    yield "|---|---|---:|---:|---:|"
    yield from map(_engine, manifest.engines)
    yield from _quantization(manifest)
    if manifest.labels:
        listed = ", ".join(f"`{label}`" for label in manifest.labels[:40])
        more = len(manifest.labels) - 40
        yield f"\n## Labels\n\n{listed}{f' and {more} more' if more > 0 else ''}"
    if manifest.request is not None:
        yield (
            "\n## How it was made\n\nBy `bert-export --recipe recipe.toml` with:\n\n"
            f"```toml\n{recipe_text(manifest.request)}```"
        )
    versions = ", ".join(f"{name} {value}" for name, value in manifest.versions.items())
    yield f"\nMade with {versions}. Weights sha256 `{model.weights_sha256}`."


def _engine(engine: EngineRecord) -> str:
    parity = engine.parity
    if parity is None:
        return f"| {engine.target} | {engine.precision} | – | – | – |"
    bound = "–" if parity.tolerance is None else f"{parity.tolerance:g}"
    return (
        f"| {engine.target} | {engine.precision} | {100 * parity.agreement:.2f} % "
        f"({parity.agreement_kind}) | {parity.max_abs_difference:.3g} | {bound} |"
    )


def _quantization(manifest: Manifest) -> Iterator[str]:
    """What INT8 was calibrated on, what it costs, and what a check did not cover."""
    for engine in manifest.engines:
        plan = engine.quantization
        if plan is None:
            continue
        yield f"\n## INT8 for {engine.target}\n"
        kept = sum(layer.precision == "int8" for layer in plan.layers)
        yield f"{kept} of {len(plan.layers)} linear layers compute in 8 bits, {plan.mode}."
        if plan.calibration is not None:
            yield (
                f"Calibrated on {plan.calibration.examples:,} examples of "
                f"`{plan.calibration.source}`."
            )
        search = plan.search
        if search is not None:
            chosen = search.path[search.chosen]
            yield (
                f"{search.metric} on {search.examples:,} examples of `{search.data}`: "
                f"{chosen.score:.4f}, in float {search.baseline:.4f} "
                f"({-100 * chosen.drop:+.2f} points)."
            )
        if engine.parity is not None:
            yield from (f"\n> {warning}" for warning in engine.parity.warnings)
