"""BERTs with Unigram and BPE tokenizers answer every task as the original does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.other_tokenizers import KINDS, save_other
from tests.runtime.pipelines.parity import assert_same
from tests.support import open_tiny

TEXTS = (
    "the cat sat on the mat in new york",
    "Caffè 中文 😀 Ω, naïve? ﬁne… don't!",
    "running  and   sats,cats",
    "a </s> dog, <unk>",
    "İstanbul \u200b ﬁne",
    "😀😀 😀 cat😀dog",
)
LONG = "the cat sat on a mat, running in new york. naïve dogs don't sit on the mats! " * 2
LABELS = dict(enumerate(("O", "B-PER", "I-PER", "B-LOC")))
NLI = dict(enumerate(("contradiction", "entailment", "neutral")))

FEW = ("xlm_roberta", "begins_elsewhere", "herbert")


def _named(labels: dict[int, str]) -> dict[str, Any]:
    return {"id2label": labels, "label2id": {name: index for index, name in labels.items()}}


def _both(task: str, cls_name: str, kind: str, folder: Path, **config: Any) -> tuple[Any, Any]:
    save_other(cls_name, folder, kind, **config)
    pipeline: Any = transformers.pipeline  # any task by its name
    return open_tiny(task, folder), pipeline(task, str(folder), device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_tags(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both(
        "token-classification", "BertForTokenClassification", kind, tmp_path, **_named(LABELS)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the original warns of words that it can only guess
        for text in TEXTS:
            for how in ("none", "simple", "first", "average", "max"):
                asked: dict[str, Any] = {"aggregation_strategy": how, "ignore_labels": []}
                assert_same(ours(text, **asked), theirs(text, **asked))
        words = ["the", "Caffè", "new york", "running"]
        split: dict[str, Any] = {"is_split_into_words": True, "aggregation_strategy": "first"}
        if kind != "byte_level":  # whose words need a blank before them upstream
            assert_same(ours(words, **split), theirs(words, **split))
        strided: dict[str, Any] = {"stride": 4, "aggregation_strategy": "simple"}
        assert_same(ours(LONG, **strided), theirs(LONG, **strided))


@pytest.mark.parametrize("kind", KINDS)
def test_spans(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both("question-answering", "BertForQuestionAnswering", kind, tmp_path)
    for context in (*TEXTS, LONG):
        for options in ({}, {"align_to_words": False}, {"handle_impossible_answer": True}):
            asked: dict[str, Any] = {
                "question": "the cat?", "context": context, "doc_stride": 3, **options
            }  # fmt: skip
            assert_same(ours(**asked), theirs(**asked))


@pytest.mark.parametrize("kind", KINDS)
def test_masks(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both("fill-mask", "BertForMaskedLM", kind, tmp_path)
    for text in ("the cat <mask> on the mat", "<mask> sat, and <mask> ran.", "ﬁne  <mask>!"):
        assert_same(ours(text), theirs(text))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets = ["cat", "▁cat", "dog"]
        asked: dict[str, Any] = {"targets": targets, "top_k": 2}
        assert_same(ours("the <mask>", **asked), theirs("the <mask>", **asked))


@pytest.mark.parametrize("kind", FEW)
def test_classes_of_texts_and_pairs(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both(
        "text-classification", "BertForSequenceClassification", kind, tmp_path, num_labels=3
    )
    texts = [*TEXTS, LONG]
    assert_same(ours(texts, top_k=None), theirs(texts, top_k=None, truncation=True))
    pairs = [{"text": "the cat", "text_pair": "sat on the mat"}, {"text": "a", "text_pair": LONG}]
    for pair in pairs:
        assert_same(ours([pair])[0], theirs(pair, truncation=True))


@pytest.mark.parametrize("kind", FEW)
def test_hypotheses(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both(
        "zero-shot-classification",
        "BertForSequenceClassification",
        kind,
        tmp_path,
        **_named(NLI),
    )
    for text in ("the cat sat", "new york"):
        for multi in (False, True):
            asked: dict[str, Any] = {"candidate_labels": ["cat", "york"], "multi_label": multi}
            assert_same(ours(text, **asked), theirs(text, **asked))


@pytest.mark.parametrize("kind", FEW)
def test_features(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both("feature-extraction", "BertModel", kind, tmp_path)
    for text in TEXTS:
        np.testing.assert_allclose(ours(text), theirs(text), atol=1e-5)
    batched = ours(list(TEXTS))
    for answer, text in zip(batched, TEXTS, strict=True):
        np.testing.assert_allclose(answer, theirs(text), atol=1e-5)


@pytest.mark.parametrize("kind", FEW)
def test_generated_text(kind: str, tmp_path: Path) -> None:
    ours, theirs = _both("text-generation", "BertLMHeadModel", kind, tmp_path, is_decoder=True)
    tokenizer, model = theirs.tokenizer, theirs.model
    for text in ("the cat", "naïve dogs"):
        (answer,) = ours(text, max_new_tokens=4, return_full_text=False)
        ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :-1]  # (1, S)
        for _ in range(4):
            with torch.inference_mode():
                following = model(ids).logits[:, -1].argmax(dim=-1, keepdim=True)
            ids = torch.cat([ids, following], dim=1)
            if following.item() == tokenizer.sep_token_id:
                break
        # The pipeline cleans up, whatever the tokenizer says.
        full = tokenizer.decode(ids[0], skip_special_tokens=True, clean_up_tokenization_spaces=True)
        assert full.endswith(answer["generated_text"])


@pytest.mark.parametrize("kind", FEW)
def test_choices_and_next_sentences(kind: str, tmp_path: Path) -> None:
    save_other("BertForMultipleChoice", tmp_path / "choice", kind)
    ours = open_tiny("multiple-choice", tmp_path / "choice")
    model = transformers.BertForMultipleChoice.from_pretrained(tmp_path / "choice").eval()
    loader: Any = transformers.AutoTokenizer
    tokenizer = loader.from_pretrained(tmp_path / "choice")
    choices = ["sat on the mat", "new york, naïve"]
    answer = ours(prompt="the cat", choices=choices)
    encoded = tokenizer(["the cat"] * 2, choices, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(**{name: value[None] for name, value in encoded.items()}).logits[0]
    np.testing.assert_allclose(answer["scores"], logits.softmax(-1), atol=1e-5)

    save_other("BertForNextSentencePrediction", tmp_path / "next", kind)
    ours = open_tiny("next-sentence-prediction", tmp_path / "next")
    sentences = transformers.BertForNextSentencePrediction.from_pretrained(tmp_path / "next").eval()
    verdict = ours(text="the cat", text_pair="sat on the mat")
    encoded = tokenizer("the cat", "sat on the mat", return_tensors="pt")
    with torch.inference_mode():
        expected = sentences(**encoded).logits.softmax(-1)[0, 0].item()
    assert verdict["score"] == pytest.approx(expected, abs=1e-5)
