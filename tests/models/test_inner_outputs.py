"""States between layers and attention's weights, against the original implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.models import BertConfig, load_head
from bert_export.models.heads import BertForSentenceEmbedding
from bert_export.models.inner_outputs import expose_inner
from bert_export.tasks.interface import INNER_OUTPUTS
from tests.models.test_parity_with_original import HEADS, TOLERANCE
from tests.oracle import random_batch
from tests.support import ONE_GRAPH

LAYERS = 2
_NUMBERS: dict[str, Any] = {"num_hidden_layers": LAYERS, "position_embedding_type": "relative_key"}


def original_of(head: str, folder: Path) -> Any:
    """The original, which gives weights of attention when it is eager."""
    return getattr(transformers, head).from_pretrained(folder, attn_implementation="eager").eval()


def inputs_for(head: str, vocabulary: int) -> tuple[Tensor, ...]:
    """Ids, mask and types of unequal texts."""
    batch: tuple[Tensor, ...] = random_batch(vocabulary, (7, 3, 1, 5))
    if head == "BertForMultipleChoice":
        return tuple(row.view(2, 2, -1) for row in batch)
    return batch


def test_every_head_is_compared() -> None:
    pooled = BertForSentenceEmbedding.__name__
    assert {task.head for task in ONE_GRAPH.values()} - {pooled} <= set(HEADS)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("config", [{}, _NUMBERS], ids=["absolute", "relative"])
def test_inner_values_are_those_of_the_original(
    head: str, config: dict[str, Any], tiny: Callable[..., Path]
) -> None:
    folder = tiny(head, **config, **({"is_decoder": True} if head == "BertLMHeadModel" else {}))
    original = original_of(head, folder)
    ours = load_head(head, load_checkpoint(str(folder)))
    batch = inputs_for(head, original.config.vocab_size)
    asked = {f"output_{name}": True for name in INNER_OUTPUTS}
    with torch.no_grad():
        alone = ours(*batch)
        expected = original(**dict(zip(ours.inputs, batch, strict=True)), **asked)
        expose_inner(ours, INNER_OUTPUTS)
        given = ours(*batch)
    own = len(ours.outputs)
    for before, after in zip(alone if own > 1 else (alone,), given[:own], strict=True):
        assert torch.equal(before, after)
    wanted = (*expected.hidden_states, *expected.attentions)
    assert len(wanted) == 2 * LAYERS + 1
    for found, right in zip(given[own:], wanted, strict=True):
        assert found.shape == (*batch[0].shape[:-1], *right.shape[1:])
        torch.testing.assert_close(found.flatten(), right.flatten(), rtol=0, atol=TOLERANCE)
    assert len({id(value) for value in given}) == len(given)  # a graph's outputs have a name each


def test_nothing_changes_where_nothing_is_asked(tiny: Callable[..., Path]) -> None:
    ours = load_head("BertModel", load_checkpoint(str(tiny("BertModel"))))
    expose_inner(ours, ())
    with torch.no_grad():
        assert len(ours(*random_batch(30))) == len(ours.outputs)


@pytest.mark.parametrize("pooled", [1, 2, 4])
def test_a_sentence_is_pooled_from_the_mean_of_the_last_layers(
    pooled: int, tiny: Callable[..., Path]
) -> None:
    folder = tiny("BertModel", num_hidden_layers=5)
    original, checkpoint = original_of("BertModel", folder), load_checkpoint(str(folder))
    modules = SentenceModules(pooled_layers=pooled)
    head = BertForSentenceEmbedding(BertConfig.from_dict(checkpoint.config), modules).eval()
    head.load_state_dict(
        {name: tensor for name, tensor in checkpoint.tensors.items() if "pooler" not in name}
    )
    ids, mask, types = random_batch(original.config.vocab_size, (7, 3, 1))
    with torch.no_grad():
        states = original(ids, mask, types, output_hidden_states=True).hidden_states
        mean = torch.stack(states[-pooled:]).mean(dim=0)  # (B, S, H)
        weights = mask.unsqueeze(-1).float()
        expected = (mean * weights).sum(dim=1) / weights.sum(dim=1)
        torch.testing.assert_close(head(ids, mask, types), expected, rtol=0, atol=TOLERANCE)
