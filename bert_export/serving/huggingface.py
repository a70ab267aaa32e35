"""Hugging Face's ``{"inputs", "parameters"}``: for every task, the arguments of its call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bert_export.errors import InputError
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.replies import tei_error
from bert_export.serving.routes import ApiRoute
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION

__all__ = ["ROUTES", "Ask", "answer", "count"]


class Ask(msgspec.Struct):
    """A call: its first argument, and the others by name."""

    inputs: Any
    parameters: dict[str, Any] | None = None


def count(body: Ask) -> int:
    """Items of a call."""
    return len(body.inputs) if isinstance(body.inputs, list) else 1


def answer(pipeline: Pipeline[Any, Any, Any], body: Ask) -> Any:
    """What the pipeline's own call returns."""
    return pipeline(body.inputs, **(body.parameters or {}))


def answer_as_hub(pipeline: Pipeline[Any, Any, Any], body: Ask) -> Any:
    """The same in the shapes of the hub's own service, which its client expects.

    Labels are all of them, a list of lists; entities are grouped; ``source_sentence`` is compared;
    what an encoder-decoder is told of its answers may stand in ``generate_parameters``.
    """
    options = dict(body.parameters or {})
    if pipeline.task == TEXT_CLASSIFICATION.name:
        single = not isinstance(body.inputs, list)
        found = pipeline([body.inputs] if single else body.inputs, **{"top_k": None, **options})
        return found if not found or isinstance(found[0], list) else [found]
    if pipeline.task == TOKEN_CLASSIFICATION.name:
        options = {"aggregation_strategy": "simple", **options}
    if pipeline.task == SENTENCE_EMBEDDING.name:
        options.pop("truncate", None)  # texts are cut in any case
        if isinstance(body.inputs, Mapping):
            return similarities(pipeline, body.inputs, options)
    if pipeline.definition.has_encoder:
        return pipeline(body.inputs, **_flat(options))
    return pipeline(body.inputs, **options)


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an answer that another text asks for, each by its own name."""
    own = dict(options)
    inner = own.pop("generate_parameters", None) or {}
    if not isinstance(inner, Mapping):
        raise InputError(
            "generate_parameters are of the wrong type",
            expected='an object, such as {"num_beams": 2}',
            got=type(inner).__name__,
        )
    twice = sorted(own.keys() & inner.keys())
    if twice:
        raise InputError(
            f"option {twice[0]} is given twice", expected="once, inside generate_parameters or not"
        )
    if not own.get("clean_up_tokenization_spaces"):
        own.pop("clean_up_tokenization_spaces", None)  # spaces stay as they are in any case
    return own | dict(inner)


def similarities(
    pipeline: Pipeline[Any, Any, Any], inputs: Mapping[str, Any], options: Mapping[str, Any]
) -> list[float]:
    """How alike a sentence is to each of others."""
    pair = msgspec.convert(dict(inputs), SimilarityInputs)
    vectors = pipeline([pair.source_sentence, *pair.sentences], **options)
    found: list[float] = pipeline.similarity(vectors[0], vectors[1:])[0].tolist()  # type: ignore[attr-defined]
    return found


class SimilarityInputs(msgspec.Struct):
    """A sentence, and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


ROUTES = (
    ApiRoute(
        path="",
        summary="Answer as the pipeline's call with these arguments does.",
        body=Ask,
        answer=answer,
        items=count,
        error=tei_error,
    ),
    ApiRoute(
        path="/pipeline/{task}",
        summary="Answer in the shapes of the Hugging Face hub's service.",
        body=Ask,
        answer=answer_as_hub,
        items=count,
        error=tei_error,
    ),
)
