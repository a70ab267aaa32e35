"""A causal graph with keys and values of earlier calls scores as the head does without them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from bert_export.models.heads import BertLMHeadModel
from bert_export.passes.prepare import prepare
from bert_export.runtime.sessions.onnxruntime import start_engine
from bert_export.targets.lowering import lower
from bert_export.tasks import TASKS, CheckpointFacts
from bert_export.tracing import trace
from tests.passes.graphs import LAYERS, VOCABULARY, config_of, operators

_TASK = TASKS["text-generation"]
_HEADS, _HEAD_SIZE, _LONGEST = 4, 4, 140
_INTERFACE = _TASK.interface(CheckpointFacts(layers=LAYERS, heads=_HEADS, head_size=_HEAD_SIZE))


@functools.cache
def _head(positions: str) -> BertLMHeadModel:
    config = config_of(
        is_decoder=True, position_embedding_type=positions, max_position_embeddings=_LONGEST
    )
    head = BertLMHeadModel(config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    return head.eval().requires_grad_(requires_grad=False)


@functools.cache
def _traced(positions: str) -> bytes:
    model = trace(
        _head(positions),
        inputs=_INTERFACE.input_axes,
        outputs=_INTERFACE.output_axes,
        max_length=_LONGEST,
    )
    return bytes(ir.to_proto(model).SerializeToString())


def _emitted(target: str, positions: str = "absolute", precision: str = "fp32") -> ir.Model:
    model = ir.from_proto(onnx.load_model_from_string(_traced(positions)))
    prepare(model, task=_TASK, config_layers=LAYERS)
    lower(model, target=target, precision=precision, task=_TASK, config_layers=LAYERS)
    return model


def _largest_difference(
    model: ir.Model, positions: str, calls: tuple[int, ...], pads: tuple[int, ...], folder: Path
) -> float:
    """Of the cached scores from the head's own, over all calls.

    Args:
        model: With a cache.
        positions: Kind of the head's positions.
        calls: How many tokens each call takes.
        pads: Tokens of padding on the left of each row, all of them in the first call.
        folder: Where the graph is written.
    """
    head, rows, total = _head(positions), len(pads), sum(calls)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, VOCABULARY, (rows, total))
    mask = (np.arange(total) >= np.array(pads)[:, None]).astype(np.int64)
    with torch.inference_mode():
        every = []
        for row, pad in zip(ids, pads, strict=True):
            own = torch.from_numpy(row[pad:])[None]
            every.append(head(own, torch.ones_like(own), torch.zeros_like(own))[0].numpy())
    path = folder / "model.onnx"
    ir.save(model, path)
    session = start_engine(path, threads=1)
    caches = [spec.name for spec in _INTERFACE.inputs[3:]]
    past = [np.zeros((rows, _HEADS, 0, _HEAD_SIZE), np.float32) for _ in caches]
    worst, begin = 0.0, 0
    for size in calls:
        end = begin + size
        feeds = {
            "input_ids": ids[:, begin:end],
            "attention_mask": mask[:, :end],
            "token_type_ids": np.zeros((rows, size), np.int64),
            **dict(zip(caches, past, strict=True)),
        }
        logits, *past = session.run(None, feeds)
        assert past[0].shape == (rows, _HEADS, end, _HEAD_SIZE)
        expected = np.stack([own[end - 1 - pad] for own, pad in zip(every, pads, strict=True)])
        worst, begin = max(worst, float(np.abs(logits - expected).max())), end
    return worst


@pytest.mark.parametrize("positions", ["absolute", "relative_key", "relative_key_query"])
@pytest.mark.parametrize("pads", [(0, 0), (3, 0, 6)])
def test_every_step_scores_as_without_a_cache(
    positions: str, pads: tuple[int, ...], tmp_path: Path
) -> None:
    calls = (9, *[1] * 128)
    model = _emitted("onnxruntime", positions)
    assert _largest_difference(model, positions, calls, pads, tmp_path) < 1e-4


@pytest.mark.parametrize(
    ("target", "precision", "most"),
    [
        ("openvino", "fp32", 1e-4),
        ("onnxruntime-cuda", "fp32", 1e-4),
        ("onnxruntime-cuda", "fp16", 0.05),
        ("tensorrt", "fp32", 1e-4),
        ("tensorrt", "fp16", 0.05),
    ],
)
def test_forms_of_the_targets(target: str, precision: str, most: float, tmp_path: Path) -> None:
    model = _emitted(target, precision=precision)
    assert _largest_difference(model, "absolute", (4, 1, 3, 1), (2, 0), tmp_path) < most


def test_the_cache_is_attentions_own() -> None:
    model = _emitted("onnxruntime")
    assert operators(model)["Attention"] == LAYERS
    assert not operators(model)["Concat"]
    assert [value.name for value in model.graph.outputs] == [
        "logits",
        *(f"present.{layer}.{part}" for layer in range(LAYERS) for part in ("key", "value")),
    ]
    logits, key = model.graph.outputs[:2]
    assert str(logits.shape) == f"[batch,{VOCABULARY}]"
    assert str(key.shape) == f"[batch,{_HEADS},total,{_HEAD_SIZE}]"


def test_without_a_cache_the_interface_is_the_old_one() -> None:
    plain = _TASK.interface(CheckpointFacts())
    assert [tensor.name for tensor in plain.inputs] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    assert [tensor.name for tensor in plain.outputs] == ["logits"]
