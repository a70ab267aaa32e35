"""Names of the consumers, for commands that must not import what writes for them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CONSUMER_NAMES"]

CONSUMER_NAMES: Mapping[str, str] = {
    "optimum": "optimum's ORTModelFor... classes and transformers' pipelines over them",
    "sentence-transformers": 'SentenceTransformer and CrossEncoder with backend="onnx"',
    "transformers.js": "pipelines of transformers.js in Node and in browsers",
    "fastembed": "fastembed's TextEmbedding with a custom model",
    "text-embeddings-inference": "the server of that name, with its ONNX Runtime backend",
    "vespa": "Vespa's hugging-face-embedder",
    "triton": "Triton Inference Server, with its Python backend",
    "container": "Docker: a service, SageMaker, AWS Lambda",
}
"""What each is, half a sentence."""
