"""OpenAI's ``/v1/embeddings``."""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec
import numpy as np

from bert_export.errors import InputError
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.replies import openai_error
from bert_export.serving.routes import ApiRoute
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["ROUTES"]


class Embeddings(msgspec.Struct, kw_only=True):
    """Texts to embed; ``model`` names a bundle where several are served."""

    input: str | list[str]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


def _embeddings(pipeline: Pipeline[Any, Any, Any], body: Embeddings) -> Any:
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts:
        raise InputError("input is empty", expected="at least one text", got="none")
    vectors = pipeline(texts, truncate_dim=body.dimensions)
    if body.dimensions is not None:  # of length 1, as OpenAI's
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    vectors = np.ascontiguousarray(vectors, dtype="<f4")
    if body.encoding_format == "base64":
        spelled: list[Any] = [base64.b64encode(vector.tobytes()).decode() for vector in vectors]
    else:
        spelled = vectors.tolist()
    tokens = sum(len(own) for encoding in pipeline.tokenizer.encode(texts) for own in encoding)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(spelled)
        ],
        "model": body.model or pipeline.manifest.model.source,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


ROUTES = (
    ApiRoute(
        path="/v1/embeddings",
        summary="A vector per text, as OpenAI's API.",
        body=Embeddings,
        answer=_embeddings,
        items=lambda body: 1 if isinstance(body.input, str) else len(body.input),
        counted="input",
        tasks=frozenset({SENTENCE_EMBEDDING.name}),
        error=openai_error,
        model=lambda body: body.model,
    ),
)
