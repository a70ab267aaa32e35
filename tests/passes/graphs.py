"""Graphs for the passes: traced heads, tiny and random, and text in ONNX's own notation."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.models.config import BertConfig
from bert_export.models.heads import HEADS, BertForSentenceEmbedding, BertHead
from bert_export.runtime.sessions.onnxruntime import start_engine
from bert_export.tasks import TASKS, CheckpointFacts
from bert_export.tasks.interface import MASKED_POSITIONS
from bert_export.tracing import DEFAULT_OPSET, trace
from tests.oracle import WORDS

__all__ = [
    "LAYERS",
    "LENGTHS",
    "VOCABULARY",
    "Arrays",
    "config_of",
    "copy_model",
    "difference",
    "feeds_for",
    "from_text",
    "operators",
    "run_model",
    "traced",
]

Arrays = dict[str, NDArray[Any]]

LAYERS, VOCABULARY = 2, len(set(WORDS))
LENGTHS = (7, 3, 1)
"""Tokens of each text of a padded batch."""


def config_of(**fields: Any) -> BertConfig:
    """A tiny configuration, that of :func:`tests.oracle.save_tiny`: a run traces a head once."""
    return BertConfig.from_dict(
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "intermediate_size": 24,
            "max_position_embeddings": 32,
            "id2label": {0: "a", 1: "b", 2: "c"},
            **fields,
        }
    )


@functools.cache
def _traced(
    task: str, pooling: tuple[str, ...], opset: int, cached: bool, fields: tuple[Any, ...]
) -> bytes:
    row = TASKS[task]
    config = config_of(
        **({"is_decoder": True} if task == "text-generation" else {}), **dict(fields)
    )
    head: BertHead
    if row.head == "BertForSentenceEmbedding":
        head = BertForSentenceEmbedding(config, SentenceModules(pooling=pooling, normalize=True))
    else:
        head = HEADS[row.head](config)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
        if "cls.predictions.decoder.weight" in head.state_dict():
            decoder = head.get_submodule("cls.predictions.decoder")
            decoder.weight = head.bert.embeddings.word_embeddings.weight
    axes = ("batch", "sequence")
    if task == "multiple-choice":
        axes = ("batch", "choices", "sequence")
    shapes = {output.name: output.shape for output in row.outputs}
    inputs = tuple((name, axes) for name in head.inputs)
    outputs = tuple((name, shapes[name]) for name in head.outputs)
    if cached:
        heads = config.num_attention_heads
        facts = CheckpointFacts(layers=LAYERS, heads=heads, head_size=config.hidden_size // heads)
        interface = row.interface(facts)
        inputs, outputs = interface.input_axes, interface.output_axes
    model = trace(
        head.eval(),
        inputs=inputs,
        outputs=outputs,
        max_length=config.max_position_embeddings,
        opset=opset,
    )
    return ir.to_proto(model).SerializeToString()  # nothing that a test changes is shared


def traced(
    task: str,
    *,
    pooling: tuple[str, ...] = ("mean",),
    opset: int = DEFAULT_OPSET,
    cached: bool = False,
    **fields: Any,
) -> ir.Model:
    """A fresh copy of a head's trace, with keys and values of earlier calls where it is cached.

    Tracing itself is done once.
    """
    stored = _traced(task, pooling, opset, cached, tuple(sorted(fields.items())))
    return ir.from_proto(onnx.load_model_from_string(stored))


def copy_model(model: ir.Model) -> ir.Model:
    """An independent copy."""
    return ir.from_proto(ir.to_proto(model))


def from_text(text: str) -> ir.Model:
    """A model from ONNX's textual form, with the shapes that inference finds."""
    return ir.passes.common.ShapeInferencePass()(_initialized(ir.from_onnx_text(text))).model


def _initialized(model: ir.Model) -> ir.Model:
    """Constants as initializers, as the exporter leaves them."""
    ir.passes.common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    return model


def feeds_for(
    model: ir.Model,
    lengths: tuple[int, ...] = LENGTHS,
    *,
    left: bool = False,
    seed: int = 0,
) -> Arrays:
    """Random ids for the inputs that a graph has; padded on the right, or on the left."""
    generator = np.random.default_rng(seed)
    size = (len(lengths), max(lengths))
    mask = (np.arange(size[1]) < np.array(lengths)[:, None]).astype(np.int64)
    if left:
        mask = np.ascontiguousarray(mask[:, ::-1])
    arrays: Arrays = {
        "input_ids": generator.integers(0, VOCABULARY, size) * mask,
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, 2, size) * mask,
    }
    if any(len(value.shape or ()) == 3 for value in model.graph.inputs):
        arrays = {name: np.stack([array, array[::-1]], 1) for name, array in arrays.items()}
    arrays[MASKED_POSITIONS] = np.flatnonzero(mask)[::2]
    return {str(value.name): arrays[str(value.name)] for value in model.graph.inputs}


def run_model(
    model: ir.Model,
    feeds: Mapping[str, NDArray[Any]],
    folder: Path,
    *,
    unsaturated: bool = False,
) -> Arrays:
    """Answer with ONNX Runtime as the package's sessions do, whose flag ``unsaturated`` is."""
    path = folder / "model.onnx"
    ir.save(model, path)
    session = start_engine(path, threads=1, unsaturated=unsaturated)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def difference(one: Arrays, other: Arrays) -> float:
    """The largest absolute difference; infinite where names or shapes differ."""
    if one.keys() != other.keys() or any(one[name].shape != other[name].shape for name in one):
        return float("inf")
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def operators(model: ir.Model) -> Counter[str]:
    """How often each operator stands in the graph itself, branches left out."""
    return Counter(node.op_type for node in model.graph)
