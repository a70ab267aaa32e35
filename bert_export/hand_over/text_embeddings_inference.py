"""text-embeddings-inference with its ONNX Runtime backend; the server is not run here."""

from __future__ import annotations

from pathlib import Path

from bert_export.hand_over.consumer import Bundle, Consumer, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_json, write_tokenizer
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION

__all__ = ["TEXT_EMBEDDINGS_INFERENCE"]


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    write_config(bundle, folder)
    write_tokenizer(bundle, folder)
    graph = folder / "onnx" / "model.onnx"
    written = write_graph(bundle, graph, opset=opset, external_data=True)
    if bundle.manifest.task == SENTENCE_EMBEDDING.name:
        # The server reads a pooling, and takes the output `sentence_embedding` as it is.
        write_json(
            folder / "1_Pooling" / "config.json",
            {"word_embedding_dimension": bundle.width, "pooling_mode_cls_token": True},
        )
    return Written(
        graph=graph,
        opset=written,
        use=(f"text-embeddings-router --model-id ./{folder.name} --port 8080",),
        notes=(
            "the server itself is not run here: its files are what its documentation asks for",
            "it must be built with ONNX Runtime 1.23 or later, which knows the operator Attention",
        ),
    )


TEXT_EMBEDDINGS_INFERENCE = Consumer(
    name="text-embeddings-inference",
    tasks=(SENTENCE_EMBEDDING.name, TEXT_CLASSIFICATION.name),
    write=_write,
)
