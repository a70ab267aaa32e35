"""Manifests of earlier schema versions, read as the present one.

Each version has one function that turns its JSON into the next version's, so that a bundle of any
age passes through them in order. What a version did not record takes the default that the present
schema gives to it.

=======  ===========================================================================================
version  what the next one changed
=======  ===========================================================================================
1        One graph a bundle, its precision, passes, plan and parity at the top; then a list of
         engines, each with its own.
2        Names of the quantization plan and of the accuracy budget's search; the default target that
         was measured stood under ``choice``; the request of the export was not kept.
=======  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bert_export.bundle.schema import SCHEMA_VERSION

__all__ = ["OLDEST_VERSION", "upgrade"]

OLDEST_VERSION = 1

Json = dict[str, Any]
"""A JSON object as it was parsed."""


def upgrade(manifest: Json, version: int) -> Json:
    """The manifest of an earlier version in the form of the present one.

    Args:
        manifest: The parsed ``manifest.json``; it is left as it is.
        version: Its ``schema_version``, from :data:`OLDEST_VERSION` on.

    Raises:
        KeyError, TypeError, AttributeError: The JSON is not of that version.
    """
    for step in range(version, SCHEMA_VERSION):
        manifest = _STEPS[step](manifest) | {"schema_version": step + 1}
    return manifest


def _from_version_1(manifest: Json) -> Json:
    """The single graph becomes the only engine; it was always ONNX Runtime's."""
    of_engine = ("precision", "graph", "passes", "quantization", "parity")
    engine = {name: manifest[name] for name in of_engine if name in manifest}
    plan = engine.get("quantization")
    if plan is not None:  # the first plans were for the processor of their only number format
        engine["quantization"] = {"processor": "x86-64-vnni", "weight_bits": 8} | plan
    kept = {name: value for name, value in manifest.items() if name not in of_engine}
    return kept | {
        "default_target": "onnxruntime",
        "engines": [{"target": "onnxruntime"} | engine],
    }


def _from_version_2(manifest: Json) -> Json:
    """The field's names for what INT8 did, and for how the default target was found."""
    upgraded = _renamed(manifest, {"choice": "auto_target"})
    upgraded["engines"] = [_engine_from_version_2(engine) for engine in manifest["engines"]]
    return upgraded


def _engine_from_version_2(engine: Json) -> Json:
    plan = engine.get("quantization")
    if plan is None:
        return engine
    layers = [_renamed(layer, _LAYER_PLAN) for layer in plan["layers"]]
    search = plan.get("search")
    if search is not None:
        search = _renamed(search, {"places": "groups"})
        search["groups"] = [
            _renamed(group, {"disturbance": "sensitivity"}) for group in search["groups"]
        ]
        search["path"] = [_renamed(step, {"floats": "excluded"}) for step in search["path"]]
    return engine | {"quantization": plan | {"layers": layers, "search": search}}


_LAYER_PLAN = {
    "centred": "channel_shifted",
    "smoothing": "smoothquant",
    "smoothing_folded": "smoothquant_folded",
    "split_units": "split_channels",
}
"""Names of a layer's plan: version 2's, and the present ones."""


def _renamed(record: Json, names: Mapping[str, str]) -> Json:
    """The record under other names, in its order."""
    return {names.get(name, name): value for name, value in record.items()}


_STEPS: Mapping[int, Callable[[Json], Json]] = {1: _from_version_1, 2: _from_version_2}
