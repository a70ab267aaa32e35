"""OpenAI's ``/v1/embeddings``."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
import numpy as np

from bert_export.errors import InputError
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.replies import openai_error
from bert_export.serving.routes import ApiRoute
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

if TYPE_CHECKING:
    from bert_export.runtime.pipelines.sentence_embedding import SentenceEmbeddingPipeline

__all__ = ["ROUTES"]


class Embeddings(msgspec.Struct, kw_only=True):
    """Texts, or ids of the bundle's tokens; ``model`` names a bundle where several are served."""

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


def _embeddings(pipeline: Pipeline[Any, Any, Any], body: Embeddings) -> Any:
    texts = _texts(pipeline, body)
    embedding = cast("SentenceEmbeddingPipeline", pipeline)
    settings = embedding.settings(truncate_dim=body.dimensions)
    # Step by step, for the rows tell how many tokens there are.
    rows = [row for own in embedding.encode_items(texts, settings) for row in own]
    reduced = embedding.complete_rows(rows, settings)
    vectors = np.stack(
        [
            embedding.decode(text, [row], [vector], settings)
            for text, row, vector in zip(texts, rows, reduced, strict=True)
        ]
    )
    if body.dimensions is not None:  # of length 1, as OpenAI's
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if body.encoding_format == "base64":
        spelled: list[Any] = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        spelled = vectors.tolist()
    tokens = sum(map(len, rows))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(spelled)
        ],
        "model": body.model or pipeline.manifest.model.source,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _texts(pipeline: Pipeline[Any, Any, Any], body: Embeddings) -> list[str]:
    """The texts; those that came as ids as their tokens spell them, as other services do."""
    inputs = _inputs(body)
    if not inputs:
        raise InputError("input is empty", expected="at least one text", got="none")
    texts = []
    for index, one in enumerate(inputs):
        if isinstance(one, list):
            for token in one:
                pipeline.tokenizer.id_to_token(token)  # refuses those of other vocabularies
            one = pipeline.tokenizer.decode(one, clean_up=False)
        elif not isinstance(one, str):
            raise InputError(
                f"input[{index}] is of the wrong type",
                expected="texts only, or ids only",
                got=type(one).__name__,
            )
        texts.append(one)
    return texts


def _inputs(body: Embeddings) -> list[Any]:
    """What is embedded: each a text, or a list of ids."""
    given = body.input
    bare = isinstance(given, str) or (given and all(isinstance(one, int) for one in given))
    return [given] if bare else list(given)


ROUTES = (
    ApiRoute(
        path="/v1/embeddings",
        summary="A vector per text, as OpenAI's API.",
        body=Embeddings,
        answer=_embeddings,
        items=lambda body: len(_inputs(body)),
        counted="input",
        tasks=frozenset({SENTENCE_EMBEDDING.name}),
        error=openai_error,
        model=lambda body: body.model,
    ),
)
