"""sentence-transformers: ``SentenceTransformer`` embeds, ``CrossEncoder`` scores pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_export.errors import TargetError
from bert_export.hand_over.answers import pipeline_answers
from bert_export.hand_over.consumer import Bundle, Consumer, Trial, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_json, write_tokenizer
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION

__all__ = ["SENTENCE_TRANSFORMERS"]

_CLASSES = {
    SENTENCE_EMBEDDING.name: "SentenceTransformer",
    TEXT_CLASSIFICATION.name: "CrossEncoder",
}

_PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy, sentence_transformers
folder, task, inputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
options = {"backend": "onnx", "model_kwargs": {"file_name": "onnx/model.onnx"}}
if task == "sentence-embedding":
    model = sentence_transformers.SentenceTransformer(folder, **options)
    answers = model.encode(inputs, prompt="").tolist()
    own = json.load(open(folder + "/config_sentence_transformers.json"))["prompts"]
    for name in sorted(own):  # the library adds empty ones
        answers += model.encode(inputs, prompt_name=name).tolist()
else:
    model = sentence_transformers.CrossEncoder(folder, **options)
    texts = [{"text": one, "text_pair": one} if isinstance(one, str) else one for one in inputs]
    pairs = [[one["text"], one["text_pair"]] for one in texts]
    answers = numpy.asarray(model.predict(pairs)).tolist()
print(json.dumps(answers))
"""


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    manifest = bundle.manifest
    own = manifest.postprocessing
    if own.get("truncate_dim") is not None:
        raise TargetError(
            "bundle cuts its vectors, which a folder of sentence-transformers cannot say",
            expected="truncate_dim null",
            got=own["truncate_dim"],
            fix="Export without it, and pass truncate_dim to SentenceTransformer",
        )
    write_config(bundle, folder)
    write_tokenizer(bundle, folder)
    graph = folder / "onnx" / "model.onnx"
    written = write_graph(bundle, graph, opset=opset, external_data=True, states=True)
    name = _CLASSES[manifest.task]
    if manifest.task == SENTENCE_EMBEDDING.name:
        _write_modules(bundle, folder)
    return Written(
        graph=graph,
        opset=written,
        use=(
            f"from sentence_transformers import {name}",
            'options = {"backend": "onnx", "model_kwargs": {"file_name": "onnx/model.onnx"}}',
            f'model = {name}("{folder.name}", **options)',
        ),
        notes=("pooling, dense layers and normalization are in the graph",)
        if manifest.task == SENTENCE_EMBEDDING.name
        else (),
    )


def _write_modules(bundle: Bundle, folder: Path) -> None:
    """Two modules: the graph, whose one state is the sentence's vector, and what takes that."""
    own, record = bundle.manifest.postprocessing, bundle.manifest.tokenizer
    kind = "sentence_transformers.models"
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{kind}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{kind}.Pooling"},
        ],
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": record.max_length, "do_lower_case": False},
    )
    pooling = {"word_embedding_dimension": bundle.width, "pooling_mode_cls_token": True}
    others = ("mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens")
    write_json(
        folder / "1_Pooling" / "config.json",
        pooling | {f"pooling_mode_{name}": False for name in (*others, "lasttoken")},
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": own.get("prompts", {}),
            "default_prompt_name": own.get("default_prompt_name"),
            "similarity_fn_name": own.get("similarity_fn_name", "cosine"),
        },
    )


def _call(bundle: Bundle, inputs: Sequence[Any]) -> list[Any]:
    pipeline: Any = bundle.pipeline
    if bundle.manifest.task == SENTENCE_EMBEDDING.name:
        answers = pipeline_answers(bundle, inputs)
        for name in sorted(pipeline.prompts):
            answers += pipeline.encode(list(inputs), prompt_name=name).tolist()
        return answers
    texts = [{"text": one, "text_pair": one} if isinstance(one, str) else one for one in inputs]
    pairs = [(one["text"], one["text_pair"]) for one in texts]
    found: list[Any] = pipeline.predict(pairs).tolist()
    return found


SENTENCE_TRANSFORMERS = Consumer(
    name="sentence-transformers",
    tasks=_CLASSES,
    write=_write,
    trial=Trial(("sentence_transformers", "optimum.onnxruntime"), _PROGRAM),
    call=_call,
)
