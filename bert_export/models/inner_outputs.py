"""What a head computes on its way: states between layers, and attention's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from bert_export.models.bert import BertLayer
from bert_export.models.heads import BertHead
from bert_export.tasks.interface import ATTENTIONS, HIDDEN_STATES

__all__ = ["expose_inner"]


def expose_inner(head: BertHead, outputs: Sequence[str]) -> None:
    """Let a head give inner values behind its own outputs.

    Args:
        head: Changed in place. Its answer becomes a tuple: its own outputs, then the states before
            the first layer and behind every layer, (B, S, H), then every layer's weights of
            attention, (B, N, S, S), or (B, N, S, T) behind a cache. Where its inputs are (B, C, S),
            the first axis of each is B, C.
        outputs: Of :data:`bert_export.tasks.interface.INNER_OUTPUTS`; nothing changes for none.
    """
    if not outputs:
        return
    layers = [cast("BertLayer", layer) for layer in head.bert.encoder.layer]
    places: list[tuple[nn.Module, bool]] = []
    if HIDDEN_STATES in outputs:
        places += [(head.bert.embeddings, False), *((layer, True) for layer in layers)]
    if ATTENTIONS in outputs:
        places += [(layer.attention.self.softmax, False) for layer in layers]
    if not places:
        return
    seen: dict[int, Tensor] = {}

    def watch(place: int, *, first: bool) -> Any:
        def keep(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            seen[place] = output[0] if first else output

        return keep

    def add(_: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> tuple[Tensor, ...]:
        own = output if isinstance(output, tuple) else (output,)
        inner = [seen.pop(place) for place in range(len(places))]
        # The last states may be an answer already, and a graph's outputs have a name each.
        inner = [value.clone() if any(value is each for each in own) else value for value in inner]
        if inputs[0].ndim == 3:  # choices were put below each other
            shape = inputs[0].shape[:2]
            inner = [torch.unflatten(value, 0, shape) for value in inner]
        return *own, *inner

    for place, (module, first) in enumerate(places):
        module.register_forward_hook(watch(place, first=first))
    head.register_forward_hook(add)
