"""Every head against the original implementation, eager attention, random tiny weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.demo import find_base
from bert_export.errors import MissingExtraError
from bert_export.models import load_head
from tests.oracle import random_batch, save_tiny

TOLERANCE = 1e-5

# What the original calls each output.
ORIGINAL_OUTPUTS = {
    "BertForPreTraining": ("prediction_logits", "seq_relationship_logits"),
    "BertForQuestionAnswering": ("start_logits", "end_logits"),
    "BertModel": ("last_hidden_state", "pooler_output"),
}
HEADS = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
ACTIVATIONS = (
    "gelu",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_pytorch_tanh",
    "quick_gelu",
    "relu",
    "silu",
    "swish",
    "tanh",
)
POSITIONS = ("absolute", "relative_key", "relative_key_query")


def _covering_set() -> list[tuple[str, dict[str, Any]]]:
    """Heads x positions x decoder in full; the other fields turn with their own periods."""
    cases: list[tuple[str, dict[str, Any]]] = []
    for head in HEADS:
        for positions in POSITIONS:
            for is_decoder in (True,) if head == "BertLMHeadModel" else (False, True):
                index, answers = len(cases), head == "BertForQuestionAnswering"
                cases.append(
                    (
                        head,
                        {
                            "position_embedding_type": positions,
                            "is_decoder": is_decoder,
                            "hidden_act": ACTIVATIONS[index % len(ACTIVATIONS)],
                            "type_vocab_size": (2, 1, 3)[index % 3],
                            "layer_norm_eps": (1e-12, 1e-5, 1e-2)[(index // 2) % 3],
                            "tie_word_embeddings": index % 2 == 0,
                            "num_attention_heads": (4, 1, 2)[(index // 3) % 3],
                            "num_labels": 2 if answers else (2, 5, 1)[(index // 4) % 3],
                            "intermediate_size": (24, 7)[index % 2],
                        },
                    )
                )
    cases += [(head, {"hidden_act": name}) for head in HEADS[3:4] for name in ACTIVATIONS]
    return cases


def _label(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key[:8]}={field}" for key, field in value.items())
    return str(value)


def _tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize(("head", "config"), _covering_set(), ids=_label)
def test_head_equals_the_original(head: str, config: dict[str, Any], tmp_path: Path) -> None:
    original = save_tiny(head, tmp_path, **config)
    ours = load_head(head, load_checkpoint(str(tmp_path)))
    size = original.config.vocab_size
    for lengths in ((7, 3, 1, 5), (1,), (32, 31)):
        batch: tuple[Tensor, ...] = random_batch(
            size, lengths, type_vocab_size=original.config.type_vocab_size
        )
        if head == "BertForMultipleChoice":
            choices = 2 if len(lengths) > 1 else 1
            batch = tuple(row.view(-1, choices, row.size(1)) for row in batch)
        with torch.no_grad():
            expected = original(**dict(zip(ours.inputs, batch, strict=True)))
            answered = _tuple(ours(*batch))
        names = ORIGINAL_OUTPUTS.get(head, ("logits",))
        assert len(names) == len(ours.outputs) == len(answered)
        for name, tensor in zip(names, answered, strict=True):
            assert tensor.shape == expected[name].shape
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=TOLERANCE)


def test_fully_padded_row_equals_the_original(tmp_path: Path) -> None:
    original = save_tiny("BertForTokenClassification", tmp_path)
    ours = load_head("BertForTokenClassification", load_checkpoint(str(tmp_path)))
    ids, mask, types = random_batch(original.config.vocab_size, (6, 4))
    mask[1] = 0
    with torch.no_grad():
        expected = original(ids, mask, types).logits
        torch.testing.assert_close(ours(ids, mask, types), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_compute_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    original = save_tiny("BertForMaskedLM", tmp_path)
    original.to(dtype).save_pretrained(tmp_path)
    original = original.to(torch.float32)
    checkpoint = load_checkpoint(str(tmp_path))
    ours = load_head("BertForMaskedLM", checkpoint)
    batch = random_batch(original.config.vocab_size)
    assert {tensor.dtype for tensor in checkpoint.tensors.values()} == {dtype}
    with torch.no_grad():
        expected = original(*batch).logits
        torch.testing.assert_close(ours(*batch), expected, rtol=0, atol=TOLERANCE)


def test_minilm_equals_the_original() -> None:
    try:
        folder = find_base("minilm")
    except MissingExtraError as error:
        pytest.skip(str(error))
    original = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    ours = load_head("BertModel", load_checkpoint("demo:minilm"))
    batch = random_batch(original.config.vocab_size, (37, 11, 1))
    with torch.no_grad():
        expected = original(**dict(zip(ours.inputs, batch, strict=True)))
        states, pooled = ours(*batch)
    torch.testing.assert_close(states, expected.last_hidden_state, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(pooled, expected.pooler_output, rtol=0, atol=TOLERANCE)
