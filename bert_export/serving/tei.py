"""The routes of Text Embeddings Inference, where the head has one."""

from __future__ import annotations

from typing import Any

import msgspec

from bert_export.errors import InputError
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.huggingface import SimilarityInputs, similarities
from bert_export.serving.replies import tei_error
from bert_export.serving.routes import ApiRoute
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION

__all__ = ["ROUTES"]

Loaded = Pipeline[Any, Any, Any]


class Embed(msgspec.Struct, kw_only=True):
    """Texts to embed; ``truncate`` is whether longer ones are cut."""

    inputs: str | list[str]
    normalize: bool = True
    truncate: bool = True
    prompt_name: str | None = None
    dimensions: int | None = None


class EmbedAll(msgspec.Struct, kw_only=True):
    """Texts of which every token is embedded."""

    inputs: str | list[str]
    truncate: bool = True


class Predict(msgspec.Struct, kw_only=True):
    """A text, a pair as a list of two, or a list of lists of one or two texts."""

    inputs: str | list[str | list[str]]
    raw_scores: bool = False
    truncate: bool = True


class Rerank(msgspec.Struct, kw_only=True):
    """Texts to sort by how well they fit a query."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool = True


class Similarity(msgspec.Struct, kw_only=True):
    """A sentence and others."""

    inputs: SimilarityInputs


class Tokenize(msgspec.Struct, kw_only=True):
    """Texts to cut into tokens."""

    inputs: str | list[str]
    add_special_tokens: bool = True


def _texts(inputs: str | list[str]) -> list[str]:
    return [inputs] if isinstance(inputs, str) else inputs


def _filled(inputs: str | list[Any], name: str = "inputs") -> None:
    if not inputs:
        raise InputError(f"{name} are empty", expected="at least one text", got="none")


def _fit(pipeline: Loaded, texts: list[str], *, truncate: bool) -> None:
    """Refuse longer texts where they must not be cut."""
    if not truncate:
        pipeline.tokenizer.encode(texts, truncation="none")


def _embed(pipeline: Loaded, body: Embed) -> Any:
    _filled(body.inputs)
    texts = _texts(body.inputs)
    _fit(pipeline, texts, truncate=body.truncate)
    return pipeline(
        texts,
        normalize=True if body.normalize else None,
        truncate_dim=body.dimensions,
        prompt_name=body.prompt_name,
    )


def _embed_all(pipeline: Loaded, body: EmbedAll) -> Any:
    _filled(body.inputs)
    return pipeline(_texts(body.inputs), truncation=body.truncate, return_arrays=True)


def _predict(pipeline: Loaded, body: Predict) -> Any:
    _filled(body.inputs)
    options = {
        "top_k": None,
        "truncation": body.truncate,
        "function_to_apply": "none" if body.raw_scores else None,
    }
    if isinstance(body.inputs, str):
        return pipeline(body.inputs, **options)
    if all(isinstance(text, str) for text in body.inputs):
        return pipeline(_text_or_pair(body.inputs), **options)
    return pipeline(list(map(_text_or_pair, body.inputs)), **options)


def _text_or_pair(texts: Any) -> Any:
    """A text, or two of them as a record."""
    if isinstance(texts, str):
        return texts
    if len(texts) == 1:
        return texts[0]
    if len(texts) == 2:
        return {"text": texts[0], "text_pair": texts[1]}
    raise InputError("inputs are wrong", expected="one text or two", got=f"{len(texts)} texts")


def _rerank(pipeline: Loaded, body: Rerank) -> Any:
    _filled(body.texts, "texts")
    pairs = [{"text": body.query, "text_pair": text} for text in body.texts]
    found = pipeline(
        pairs, function_to_apply="none" if body.raw_scores else "sigmoid", truncation=body.truncate
    )
    ranked: list[dict[str, Any]] = [
        {"index": index, "score": answer["score"]} for index, answer in enumerate(found)
    ]
    if body.return_text:
        for place in ranked:
            place["text"] = body.texts[place["index"]]
    return sorted(ranked, key=lambda place: -place["score"])


def _similarity(pipeline: Loaded, body: Similarity) -> Any:
    _filled(body.inputs.sentences, "sentences")
    return similarities(pipeline, msgspec.to_builtins(body.inputs), {})


def _tokenize(pipeline: Loaded, body: Tokenize) -> Any:
    _filled(body.inputs)
    texts = _texts(body.inputs)
    encoded = pipeline.tokenizer.encode(
        texts, truncation="longest_first", add_special_tokens=body.add_special_tokens
    )
    return [
        [
            {
                "id": index,
                "text": token,
                "special": bool(special),
                "start": None if special else start,
                "stop": None if special else stop,
            }
            for index, token, special, (start, stop) in zip(
                own.ids, own.tokens, own.special_tokens_mask, own.offsets, strict=True
            )
        ]
        for (own,) in encoded
    ]


def _several(body: Any) -> int:
    return 1 if isinstance(body.inputs, str) else len(body.inputs)


_EMBEDS = frozenset({SENTENCE_EMBEDDING.name})
_CLASSIFIES = frozenset({TEXT_CLASSIFICATION.name})

ROUTES = (
    ApiRoute(
        path="/embed",
        summary="A vector per text.",
        body=Embed,
        answer=_embed,
        items=_several,
        tasks=_EMBEDS,
        error=tei_error,
    ),
    ApiRoute(
        path="/embed_all",
        summary="A vector per token.",
        body=EmbedAll,
        answer=_embed_all,
        items=_several,
        tasks=frozenset({FEATURE_EXTRACTION.name}),
        error=tei_error,
    ),
    ApiRoute(
        path="/predict",
        summary="All labels of a text or pair, best first.",
        body=Predict,
        answer=_predict,
        items=_several,
        tasks=_CLASSIFIES,
        error=tei_error,
    ),
    ApiRoute(
        path="/rerank",
        summary="Texts by how well they fit a query, best first.",
        body=Rerank,
        answer=_rerank,
        items=lambda body: len(body.texts),
        counted="texts",
        tasks=_CLASSIFIES,
        error=tei_error,
        fits=lambda model: len(model.manifest.labels) == 1,
    ),
    ApiRoute(
        path="/similarity",
        summary="How alike a sentence is to others.",
        body=Similarity,
        answer=_similarity,
        items=lambda body: len(body.inputs.sentences),
        counted="sentences",
        tasks=_EMBEDS,
        error=tei_error,
    ),
    ApiRoute(
        path="/tokenize",
        summary="The tokens of texts.",
        body=Tokenize,
        answer=_tokenize,
        items=_several,
        error=tei_error,
    ),
)
