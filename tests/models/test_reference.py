"""A head's own outputs: those of a plain call, by name, whatever computes the linear layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bert_export.checkpoints import load_checkpoint
from bert_export.models import BertHead, load_head
from bert_export.models.reference import run_head
from tests.oracle import random_batch
from tests.support import ONE_GRAPH

NAMES = sorted({task.head for task in ONE_GRAPH.values()} - {"BertForSentenceEmbedding"})


def head_and_feeds(
    tiny: Callable[..., Path], name: str
) -> tuple[BertHead, dict[str, NDArray[np.int64]]]:
    """A head with random tiny weights, and a batch for it."""
    decoder = {"is_decoder": True} if name == "BertLMHeadModel" else {}
    checkpoint = load_checkpoint(str(tiny(name, **decoder)))
    head = load_head(name, checkpoint)
    tensors = random_batch(checkpoint.config["vocab_size"])
    if name == "BertForMultipleChoice":
        tensors = tuple(tensor.unsqueeze(0) for tensor in tensors)  # three choices
    return head, {
        input_: tensor.numpy() for input_, tensor in zip(head.inputs, tensors, strict=True)
    }


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_a_plain_call(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str, *, onednn: bool
) -> None:
    available = torch.backends.mkldnn.is_available()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn and available)
    head, feeds = head_and_feeds(tiny, name)
    with torch.inference_mode():
        expected = head(*map(torch.from_numpy, feeds.values()))
    tensors = (expected,) if isinstance(expected, torch.Tensor) else expected
    outputs = run_head(head, feeds)
    assert tuple(outputs) == head.outputs
    for array, tensor in zip(outputs.values(), tensors, strict=True):
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, tensor.numpy(), atol=1e-5)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
def test_onednn_computes_every_linear_layer(tiny: Callable[..., Path]) -> None:
    head, feeds = head_and_feeds(tiny, "BertModel")
    layers = sum(isinstance(module, torch.nn.Linear) for module in head.modules())
    with torch.autograd.profiler.profile() as profile:
        run_head(head, feeds)
    names = [event.name for event in profile.function_events]
    assert names.count("aten::mkldnn_linear") == layers
    assert "aten::addmm" not in names
