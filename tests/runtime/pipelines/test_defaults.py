"""What a call leaves out is as the manifest says; what it names goes before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bert_export.errors import BundleError, InputError
from bert_export.runtime.loading import open_pipeline
from bert_export.tasks import find_task
from tests.runtime.vectors import (
    Vector,
    VectorSession,
    manifest_of,
    open_vector,
    read_tokenizer,
    read_vectors,
)

# By task: a call's options that the manifest can name as well.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "fill-mask": [{"top_k": 3}],
    "text-classification": [
        {"top_k": 2},
        {"top_k": None},
        {"function_to_apply": "sigmoid"},
        {"function_to_apply": "none"},
    ],
    "zero-shot-classification": [{"multi_label": True}],
    "token-classification": [
        {"aggregation_strategy": "simple"},
        {"aggregation_strategy": "max", "ignore_labels": []},
    ],
    "question-answering": [
        {"top_k": 3},
        {"method": "pipeline", "max_answer_len": 2},
        {"handle_impossible_answer": True},
        {"align_to_words": False},
        {"method": "squad_v2"},
        {"method": "squad_v2", "n_best_size": 2, "top_k": 9},
        {"method": "squad_v2", "null_score_diff_threshold": -50.0},
    ],
    "pretraining": [{"top_k": 2}],
    "text-generation": [{"return_full_text": False}],
    "sentence-embedding": [{"truncate_dim": 2}],
}


def plain(answer: Any) -> Any:
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


CALLS = [(task, options) for task, several in OPTIONS.items() for options in several]


def calls_without(task: str, options: dict[str, Any]) -> Iterator[tuple[Vector, dict[str, Any]]]:
    """The recorded calls, and what they say beside these options."""
    for vector in read_vectors(task):
        others = {name: value for name, value in vector.options.items() if name not in options}
        if not (vector.error or vector.warns or "stride" in others):
            yield vector, others


@pytest.mark.parametrize(("task", "options"), CALLS)
def test_the_manifest_says_what_a_call_leaves_out(task: str, options: dict[str, Any]) -> None:
    differing = 0
    for vector, others in calls_without(task, options):
        told = replace(vector, postprocessing=vector.postprocessing | options)
        with open_vector(vector) as ours, open_vector(told) as theirs:
            plainly = plain(ours(vector.input, **others))
            by_call = plain(ours(vector.input, **others, **options))
            by_manifest = plain(theirs(vector.input, **others))
        assert by_manifest == by_call, vector.name
        differing += by_manifest != plainly
    assert differing


@pytest.mark.parametrize(("task", "options"), CALLS)
def test_what_a_call_names_goes_before_the_manifest(task: str, options: dict[str, Any]) -> None:
    named = find_task(task).postprocessing().to_manifest()
    named = {name: named[name] for name in options}
    for vector, others in calls_without(task, options):
        told = replace(vector, postprocessing=vector.postprocessing | options)
        with open_vector(vector) as ours, open_vector(told) as theirs:
            expected = plain(ours(vector.input, **others, **named))
            if None not in named.values():  # that is how a call leaves an option out
                assert plain(theirs(vector.input, **others, **named)) == expected


def test_another_task_of_the_head_has_its_own_defaults() -> None:
    vector = next(one for one in read_vectors("text-classification") if one.rows)
    own = {"problem_type": "multi_label_classification", "top_k": 2, "truncation": "none"}
    nli = replace(vector, postprocessing=own, labels=("contradiction", "entailment"))
    session = VectorSession(nli)
    tokenizer = read_tokenizer(nli.tokenizer)
    manifest = manifest_of(nli, session)
    pipeline = open_pipeline(find_task("zero-shot-classification"), manifest, tokenizer, session)
    parameters = pipeline.parameters.to_manifest()
    assert parameters == {
        "problem_type": "multi_label_classification",
        "activation_fn": None,
        "entailment_id": None,
        "hypothesis_template": "This example is {}.",
        "multi_label": False,
        "truncation": "only_first",
    }


def test_a_pipeline_that_cannot_be_closes_its_session() -> None:
    vector = next(one for one in read_vectors("text-classification") if one.rows)
    broken = replace(vector, postprocessing={"top_k": "two"})
    session = VectorSession(broken)
    tokenizer = read_tokenizer(vector.tokenizer)
    with pytest.raises(BundleError, match="malformed postprocessing"):
        open_pipeline(find_task(vector.task), manifest_of(broken, session), tokenizer, session)
    with pytest.raises(InputError, match="session is closed"):
        session.run({})
