"""optimum's ``ORTModelFor...`` and the pipelines of transformers over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_export.hand_over.answers import pipeline_answers
from bert_export.hand_over.consumer import Bundle, Consumer, Trial, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_tokenizer

__all__ = ["OPTIMUM"]

_CLASSES = {
    "feature-extraction": "ORTModelForFeatureExtraction",
    "sentence-embedding": "ORTModelForFeatureExtraction",
    "fill-mask": "ORTModelForMaskedLM",
    "text-classification": "ORTModelForSequenceClassification",
    "zero-shot-classification": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "question-answering": "ORTModelForQuestionAnswering",
    "multiple-choice": "ORTModelForMultipleChoice",
}

# A task that has no pipeline is called as its model is.
_PROGRAM = f"""
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy, optimum.onnxruntime, transformers
folder, task, inputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
transformers.logging.set_verbosity_error()
model = getattr(optimum.onnxruntime, {_CLASSES!r}[task]).from_pretrained(folder)
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
answers = []
if task == "multiple-choice":
    for one in inputs:
        pairs = [[one["prompt"]] * len(one["choices"]), one["choices"]]
        rows = tokenizer(*pairs, padding=True, truncation=True, return_tensors="pt")
        logits = model(**{{name: rows[name][None] for name in rows}}).logits[0]
        answers.append(logits.softmax(-1).tolist())
elif task == "sentence-embedding":
    for one in inputs:
        rows = tokenizer(one, truncation=True, return_tensors="pt")
        answers.append(model(**rows).last_hidden_state[0, 0].tolist())
elif task == "question-answering":
    answer = transformers.pipeline(task, model=model, tokenizer=tokenizer)
    answers = [answer(question=one["question"], context=one["context"]) for one in inputs]
elif task == "zero-shot-classification":
    answer = transformers.pipeline(task, model=model, tokenizer=tokenizer)
    answers = [answer(one["text"], candidate_labels=one["candidate_labels"]) for one in inputs]
else:
    answer = transformers.pipeline(task, model=model, tokenizer=tokenizer)
    answers = [answer(one) for one in inputs]
print(json.dumps(answers, default=float))
"""


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    write_config(bundle, folder)
    write_tokenizer(bundle, folder)
    graph = folder / "model.onnx"
    written = write_graph(bundle, graph, opset=opset, external_data=True, states=True)
    task = bundle.manifest.task
    return Written(
        graph=graph,
        opset=written,
        use=(
            f"from optimum.onnxruntime import {_CLASSES[task]}",
            f'model = {_CLASSES[task]}.from_pretrained("{folder.name}")',
        ),
        notes=("last_hidden_state holds one token, the sentence's vector",)
        if task == "sentence-embedding"
        else (),
    )


def _call(bundle: Bundle, inputs: Sequence[Any]) -> list[Any]:
    answers = pipeline_answers(bundle, inputs)
    if bundle.manifest.task == "multiple-choice":
        return [answer["scores"] for answer in answers]
    return answers


OPTIMUM = Consumer(
    name="optimum",
    tasks=_CLASSES,
    write=_write,
    trial=Trial(("optimum.onnxruntime", "transformers"), _PROGRAM),
    call=_call,
    why_not=dict.fromkeys(
        ("next-sentence-prediction", "pretraining"), "optimum has no class for this head"
    ),
)
