"""Heads and pipelines against the original implementation, on the real MiniLM weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bert_export.checkpoints import load_checkpoint
from bert_export.models import load_head
from tests.oracle import random_batch
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

HEADS = {
    "wnut17": ("BertForTokenClassification",),
    "snips": ("BertForSequenceClassification",),
    "spans": ("BertForQuestionAnswering",),
    "codah": ("BertForMultipleChoice",),
    "gutenberg": ("BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"),
}
TEXT = "Ada Lovelace met Charles Babbage in London, near Baker Street."
CALLS: dict[str, tuple[str, str, tuple[Any, ...], dict[str, Any]]] = {
    "token-classification": (
        "wnut17",
        "BertForTokenClassification",
        (TEXT,),
        {"aggregation_strategy": "simple"},
    ),
    "text-classification": ("snips", "BertForSequenceClassification", (TEXT,), {"top_k": None}),
    "zero-shot-classification": (
        "taxinli",
        "BertForSequenceClassification",
        (TEXT, ["travel", "science", "sport"]),
        {},
    ),
    "question-answering": (
        "spans",
        "BertForQuestionAnswering",
        (),
        {"question": "Where did they meet?", "context": TEXT},
    ),
    "fill-mask": ("gutenberg", "BertForMaskedLM", ("She opened the old [MASK].",), {}),
}


def original(name: str, cls_name: str) -> transformers.PreTrainedModel:
    """The original's model with the demonstration checkpoint's tensors in it."""
    checkpoint = load_checkpoint(f"demo:{name}")
    config = transformers.BertConfig(**checkpoint.config)
    model = getattr(transformers, cls_name)(config)
    missing, _ = model.load_state_dict(dict(checkpoint.tensors), strict=False)
    model.tie_weights()
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    assert not [key for key in missing if key not in tied]
    return model.eval()


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize(
    ("name", "cls_name"), [(name, cls) for name, heads in HEADS.items() for cls in heads]
)
def test_logits_equal_the_original(name: str, cls_name: str) -> None:
    head = load_head(cls_name, load_checkpoint(f"demo:{name}"))
    inputs = random_batch(30_000, (40, 7, 1))
    if cls_name == "BertForMultipleChoice":
        inputs = tuple(tensor.unsqueeze(1).repeat(1, 2, 1) for tensor in inputs)
    with torch.inference_mode():
        found = head(*inputs)
        expected = original(name, cls_name)(**dict(zip(head.inputs, inputs, strict=True)))
    mask = inputs[1].bool()
    parts = found if isinstance(found, tuple) else (found,)
    for output, left in zip(head.outputs, parts, strict=True):
        right = expected[output]
        if left.shape[:2] == mask.shape and cls_name != "BertForMultipleChoice":
            left, right = left[mask], right[mask]
        torch.testing.assert_close(left, right, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("task", sorted(CALLS))
def test_answers_equal_the_original(task: str, minilm: Path) -> None:
    name, cls_name, inputs, options = CALLS[task]
    tokenizer = transformers.BertTokenizerFast.from_pretrained(minilm)
    oracle = transformers.pipeline(
        task, model=original(name, cls_name), tokenizer=tokenizer, device="cpu"
    )
    with open_tiny(task, Path(f"demo:{name}")) as pipeline:
        assert_same(pipeline(*inputs, **options), oracle(*inputs, **options))
