"""Both answers equal those of the original model, spelt as upstream's fill-mask spells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bert_export.errors import InputError
from bert_export.runtime.pipelines.pretraining import PretrainingPipeline
from tests.oracle import save_tiny
from tests.runtime.pipelines.test_fill_mask import assert_answers
from tests.support import open_tiny

PAIRS = [
    ("the [MASK] sat", "on the mat."),
    ("the cat sat", "on the [MASK], don't you think?"),
    ("the [MASK] sat [MASK]", "on [MASK] mat"),
    ("the cat", "sat"),
    ("[MASK]", "[MASK]"),
    ("", ""),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pretraining")
    save_tiny("BertForPreTraining", path)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> PretrainingPipeline:
    opened = open_tiny("pretraining", folder, token_budget=48)
    assert isinstance(opened, PretrainingPipeline)
    return opened


class Oracle:
    """The model's logits through upstream's fill-mask post-processing, pair by pair."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.BertForPreTraining.from_pretrained(folder)
        # Only its post-processing is used: the weights of its own head do not matter.
        self.fill = transformers.pipeline(
            "fill-mask",
            model=transformers.BertForMaskedLM(self.model.config),
            tokenizer=self.tokenizer,
            device="cpu",
        )

    def __call__(self, text: str, text_pair: str, top_k: int) -> dict[str, Any]:
        # Lists, because a single empty second text would count as none at all.
        encoded = self.tokenizer([text], [text_pair], return_tensors="pt")
        with torch.no_grad():
            outputs = self.model(**encoded)
        score = outputs.seq_relationship_logits.softmax(-1)[0, 0].item()
        masks = self.fill.postprocess(
            {"input_ids": encoded["input_ids"], "logits": outputs.prediction_logits}, top_k=top_k
        )
        return {
            "next_sentence": {"is_next": score >= 0.5, "score": score},
            "masks": [masks] if masks and isinstance(masks[0], dict) else masks,
        }


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)


def _equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == ["next_sentence", "masks"]
    verdict, wanted = found["next_sentence"], expected["next_sentence"]
    assert verdict == {**wanted, "score": pytest.approx(wanted["score"], abs=1e-5)}
    assert_answers(found["masks"], expected["masks"])


@pytest.mark.parametrize("top_k", [1, 5])
def test_answers_equal_the_models(
    pipeline: PretrainingPipeline, oracle: Oracle, top_k: int
) -> None:
    expected = [oracle(*pair, top_k) for pair in PAIRS]
    records = [{"text": text, "text_pair": pair} for text, pair in PAIRS]
    for answers in (
        [pipeline(text=text, text_pair=pair, top_k=top_k) for text, pair in PAIRS],
        pipeline(records, top_k=top_k),
        list(pipeline(iter(records), top_k=top_k, batch_size=2)),
    ):
        for found, wanted in zip(answers, expected, strict=True):
            _equal(found, wanted)


def test_five_candidates_by_default_and_none_without_a_mask(pipeline: PretrainingPipeline) -> None:
    assert len(pipeline(text="[MASK]", text_pair="a")["masks"][0]) == 5
    assert pipeline(text="a", text_pair="b")["masks"] == []
    assert pipeline([]) == []


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (None, {}, "inputs are of the wrong type"),
        (None, {"text": "a"}, "item lacks 'text_pair'"),
        (None, {"text": "the cat " * 20, "text_pair": "b"}, "too long"),
        (None, {"text": "a", "text_pair": "b", "top_k": -1}, "top_k is wrong"),
        (None, {"text": "[MASK]", "text_pair": "b", "top_k": 10**6}, "top_k is too large"),
        (["a"], {}, "item is of the wrong type"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: PretrainingPipeline, inputs: Any, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **fields)
    assert "\n" not in str(caught.value)
