"""The decoding answers the recorded vectors without a tokenizer, a session or a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import decoders

from bert_export.runtime.decoding.choices import choose
from bert_export.runtime.decoding.embeddings import finish_vectors
from bert_export.runtime.decoding.entities import TaggedText, TagTable, decode_entities
from bert_export.runtime.decoding.generation import Decoding, start_continuations
from bert_export.runtime.decoding.labels import (
    choose_activation,
    find_entailment,
    judge_next_sentence,
    rank_hypotheses,
    rank_labels,
    score_hypotheses,
    score_labels,
)
from bert_export.runtime.decoding.masks import find_candidates
from bert_export.runtime.decoding.sampling import Sampling, draw_token, filter_logits
from bert_export.runtime.decoding.spans import decode_answers, decode_squad_v2, read_window
from bert_export.tasks.question_answering import QuestionAnsweringPostProcessing
from bert_export.tasks.text2text_generation import TextToTextPostProcessing
from bert_export.tasks.text_classification import TextClassificationPostProcessing
from bert_export.tasks.token_classification import TokenClassificationPostProcessing
from tests.runtime.test_vectors import assert_same
from tests.runtime.vectors import Vector, VectorRow, read_tokenizer, read_vectors

_UNK, _CLS, _SEP, _MASK = 1, 2, 3, 4
Rows = Sequence[VectorRow]
Decode = Callable[[Vector, Any, Rows], Any]


def items_of(vector: Vector) -> list[Any]:
    """The items of the call."""
    split = vector.options.get("is_split_into_words", False)
    single = not isinstance(vector.input, list) or (split and isinstance(vector.input[0], str))
    return [vector.input] if single else list(vector.input)


def decode_labels(vector: Vector, _: Any, rows: Rows) -> Any:
    own = TextClassificationPostProcessing.from_manifest(vector.postprocessing)
    name = (vector.options.get("function_to_apply") or own.function_to_apply).lower()
    activation: Any = (
        choose_activation(own.problem_type, len(vector.labels)) if name == "default" else name
    )
    top_k = vector.options.get("top_k", own.top_k)
    scores = score_labels(rows[0].outputs["logits"], activation)
    ranked = rank_labels(scores, vector.labels, top_k)
    listed = "top_k" in vector.options or isinstance(vector.input, str)
    return ranked if listed else ranked[0]


def decode_hypotheses(vector: Vector, item: Any, rows: Rows) -> Any:
    labels = vector.options["candidate_labels"]
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",") if label.strip()]
    entailment = find_entailment(vector.labels)
    assert entailment is not None
    logits = np.stack([row.outputs["logits"] for row in rows])
    multi_label = vector.options.get("multi_label", False)
    return rank_hypotheses(
        item, labels, score_hypotheses(logits, entailment, multi_label=multi_label)
    )


def decode_tags(vector: Vector, item: Any, rows: Rows) -> Any:
    own = TokenClassificationPostProcessing.from_manifest(vector.postprocessing)
    options = vector.options
    delimiter = options.get("delimiter", own.delimiter)
    text = TaggedText(item) if isinstance(item, str) else TaggedText.from_words(item, delimiter)
    ignored = options.get("ignore_labels")
    return decode_entities(
        text,
        [(row.encoded, row.outputs["logits"]) for row in rows],
        table=TagTable.from_labels(vector.labels),
        aggregation=options.get("aggregation_strategy", own.aggregation_strategy).lower(),
        ignore_labels=own.ignore_labels if ignored is None else ignored,
        prefix="##",
        unk_id=_UNK,
        join=decoders.WordPiece(prefix="##", cleanup=True).decode,
    )


def decode_spans(vector: Vector, item: Any, rows: Rows) -> Any:
    own = QuestionAnsweringPostProcessing.from_manifest(vector.postprocessing)
    options = vector.options
    windows = [
        read_window(
            row.encoded, row.outputs["start_logits"], row.outputs["end_logits"], cls_id=_CLS
        )
        for row in rows
    ]
    top_k = options.get("top_k", own.top_k)
    if options.get("method", own.method) == "squad_v2":
        answers = decode_squad_v2(
            item["context"],
            windows,
            top_k=top_k,
            max_answer_len=options.get("max_answer_len") or own.squad_v2_max_answer_len,
            n_best_size=options.get("n_best_size", own.n_best_size),
            null_score_diff_threshold=options.get(
                "null_score_diff_threshold", own.null_score_diff_threshold
            ),
        )
    else:
        answers = decode_answers(
            item["context"],
            windows,
            top_k=top_k,
            max_answer_len=options.get("max_answer_len") or own.max_answer_len,
            handle_impossible_answer=options.get(
                "handle_impossible_answer", own.handle_impossible_answer
            ),
            align_to_words=options.get("align_to_words", own.align_to_words),
        )
    return answers[0] if len(answers) == 1 else answers


def decode_choices(_: Vector, item: Any, rows: Rows) -> Any:
    return choose(np.concatenate([row.outputs["logits"] for row in rows]), item["choices"])


def decode_next_sentence(_: Vector, __: Any, rows: Rows) -> Any:
    return judge_next_sentence(rows[0].outputs["logits"])


def decode_embedding(vector: Vector, _: Any, rows: Rows) -> Any:
    return finish_vectors(
        rows[0].outputs["sentence_embedding"],
        truncate_dim=vector.options.get("truncate_dim"),
        normalize=bool(vector.options.get("normalize")),
    ).tolist()


DECODERS: dict[str, Decode] = {
    "text-classification": decode_labels,
    "zero-shot-classification": decode_hypotheses,
    "token-classification": decode_tags,
    "question-answering": decode_spans,
    "multiple-choice": decode_choices,
    "next-sentence-prediction": decode_next_sentence,
    "sentence-embedding": decode_embedding,
}


def answered(task: str) -> Iterable[Any]:
    """The vectors that have an answer, as parameters of a test."""
    return [
        pytest.param(vector, id=f"{task}: {vector.name}".encode("ascii", "replace").decode())
        for vector in read_vectors(task)
        if not vector.error
    ]


@pytest.mark.parametrize("vector", [one for task in DECODERS for one in answered(task)])
def test_answers_are_the_originals(vector: Vector) -> None:
    items = items_of(vector)
    found = [
        DECODERS[vector.task](vector, item, [row for row in vector.rows if row.item == index])
        for index, item in enumerate(items)
    ]
    single = not isinstance(vector.input, list) or (
        vector.task == "question-answering" and len(items) == 1
    )
    assert_same(found[0] if single else found, vector.answer)


def mask_scores(row: VectorRow, logits: Any, top_k: int, targets: Any) -> list[list[Any]]:
    """Per mask and candidate the score and the token."""
    found = find_candidates(row.input_ids, logits, mask_id=_MASK, top_k=top_k, targets=targets)
    return [
        [{"score": score, "token": token} for token, score in zip(*both, strict=True)]
        for both in zip(found.ids.tolist(), found.scores.tolist(), strict=True)
    ]


def without_words(answer: Any) -> Any:
    """An answer without what a tokenizer spells."""
    if isinstance(answer, list):
        return [without_words(part) for part in answer]
    return {name: value for name, value in answer.items() if name in ("score", "token")}


@pytest.mark.parametrize("vector", answered("fill-mask"))
def test_candidates_are_the_originals(vector: Vector) -> None:
    top_k, targets = vector.options.get("top_k", 5), vector.options.get("targets")
    ids = None
    if targets is not None:
        words = [targets] if isinstance(targets, str) else targets
        vocabulary = read_tokenizer(vector.tokenizer)
        ids = sorted({vocabulary.token_to_id(word) for word in words} - {None})
        if vector.warns:  # for a word that the vocabulary does not have its first token stands
            cut = [vocabulary.tokenize(word)[:1] for word in words]
            ids = sorted({vocabulary.token_to_id(token) for tokens in cut for token in tokens})
    found = []
    for row in vector.rows:
        masks = mask_scores(row, row.outputs["logits"], top_k, ids)
        found.append(masks[0] if len(masks) == 1 else masks)
    single = not isinstance(vector.input, list) or len(vector.input) == 1
    assert_same(found[0] if single else found, without_words(vector.answer))


@pytest.mark.parametrize("vector", answered("pretraining"))
def test_both_heads_of_pretraining_are_the_originals(vector: Vector) -> None:
    top_k = vector.options.get("top_k", 5)
    found = [
        {
            "next_sentence": judge_next_sentence(row.outputs["seq_relationship_logits"]),
            "masks": mask_scores(row, row.outputs["prediction_logits"], top_k, None),
        }
        for row in vector.rows
    ]
    answers = vector.answer if isinstance(vector.input, list) else [vector.answer]
    expected = [{**answer, "masks": without_words(answer["masks"])} for answer in answers]
    assert_same(found, expected)


def one_by_one(task: str) -> list[Any]:
    """Cases whose rows are steps of one text each, which nothing but their scores chooses."""
    chosen = {"max_new_tokens", "return_full_text", "do_sample", "temperature", "top_k", "top_p"}
    return [
        parameter
        for parameter in answered(task)
        if parameter.values[0].options.keys() <= chosen | {"seed"}
    ]


@pytest.mark.parametrize("vector", one_by_one("text-generation"))
def test_next_tokens_are_those_of_the_original(vector: Vector) -> None:
    """Every recorded step holds the tokens that the steps before it chose."""
    options = vector.options
    sampling = Sampling(
        temperature=options.get("temperature", 1.0),
        top_k=options.get("top_k", 50),
        top_p=options.get("top_p", 1.0),
    )
    for index in range(len(items_of(vector))):
        steps = [row for row in vector.rows if row.item == index]
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            logits = step.outputs["logits"]
            token = (
                draw_token(filter_logits(logits, sampling), 0.5)
                if options.get("do_sample")
                else int(logits.argmax())
            )
            if following is not None:
                assert following.input_ids.tolist() == [*step.input_ids.tolist(), token]
            else:
                ended = token == _SEP or len(step.input_ids) + 1 == vector.tokenizer.max_length
                assert ended or len(steps) == options["max_new_tokens"]


def grown(vector: Vector, rows: Rows) -> list[list[int]]:
    """The tokens of each answer to a text, its first among them, step by step as recorded."""
    own, options = TextToTextPostProcessing.from_manifest(vector.postprocessing), vector.options
    scores = {
        tuple(row.decoder_input_ids.tolist()): row.outputs["logits"]
        for row in rows
        if row.decoder_input_ids is not None
    }
    start = [_CLS if own.decoder_start_token_id is None else own.decoder_start_token_id]
    named = Decoding.__dataclass_fields__.keys() - {"ends", "sampling", "min_new_tokens"}
    given = {name: options.get(name, getattr(own, name)) for name in named}
    ends = options.get("eos_token_id", own.eos_token_id)
    drawn = {name: options[name] for name in ("temperature", "top_k", "top_p") if name in options}
    default = options.get("max_length", 1 + (own.max_new_tokens or 0)) - 1
    decoding = Decoding(
        ends=(ends,) if isinstance(ends, int) else tuple(ends),
        min_new_tokens=options.get("min_new_tokens", max(0, options.get("min_length", 1) - 1)),
        sampling=Sampling(**drawn) if options.get("do_sample") else None,
        **given,
    )
    most = min(options.get("max_new_tokens", default), vector.tokenizer.max_length - 1)
    (growing,) = start_continuations(np.array(start), most, decoding)
    running = [start]
    while not growing.done:
        growing.advance(np.stack([scores[tuple(ids)] for ids in running]))
        running = [
            [*running[parent if len(running) > 1 else 0], token]
            for parent, token in zip(growing.parents, growing.tokens.tolist(), strict=True)
        ]
    return [[*start, *answer.tolist()] for answer in growing.answers]


@pytest.mark.parametrize("vector", answered("text2text-generation"))
def test_tokens_of_answers_spell_those_of_the_original(vector: Vector) -> None:
    found = []
    for index in range(len(items_of(vector))):
        steps = [row for row in vector.rows if row.item == index and row.tokens is None]
        spelt = [
            read_tokenizer(vector.tokenizer).decode(ids, clean_up=False)
            for ids in grown(vector, steps)
        ]
        found.append([{"generated_text": text} for text in spelt])
    if isinstance(vector.input, str):
        assert found == [vector.answer]
    else:
        assert [own[0] if len(own) == 1 else own for own in found] == vector.answer
