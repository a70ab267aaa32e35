"""optimum's ``ORTModelFor...`` and the pipelines of transformers over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_export.hand_over.answers import pipeline_answers
from bert_export.hand_over.consumer import Bundle, Consumer, Trial, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_tokenizer
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.fill_mask import TASK as FILL_MASK
from bert_export.tasks.multiple_choice import TASK as MULTIPLE_CHOICE
from bert_export.tasks.next_sentence_prediction import TASK as NEXT_SENTENCE_PREDICTION
from bert_export.tasks.pretraining import TASK as PRETRAINING
from bert_export.tasks.question_answering import TASK as QUESTION_ANSWERING
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from bert_export.tasks.text_generation import TASK as TEXT_GENERATION
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION
from bert_export.tasks.zero_shot_classification import TASK as ZERO_SHOT_CLASSIFICATION

__all__ = ["OPTIMUM"]

_CLASSES = {
    FEATURE_EXTRACTION.name: "ORTModelForFeatureExtraction",
    SENTENCE_EMBEDDING.name: "ORTModelForFeatureExtraction",
    FILL_MASK.name: "ORTModelForMaskedLM",
    TEXT_CLASSIFICATION.name: "ORTModelForSequenceClassification",
    ZERO_SHOT_CLASSIFICATION.name: "ORTModelForSequenceClassification",
    TOKEN_CLASSIFICATION.name: "ORTModelForTokenClassification",
    QUESTION_ANSWERING.name: "ORTModelForQuestionAnswering",
    MULTIPLE_CHOICE.name: "ORTModelForMultipleChoice",
    TEXT_GENERATION.name: "ORTModelForCausalLM",
}

_NEW_TOKENS = 8
"""That a prompt is continued by when a folder is tried."""

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
elif task == "text-generation":
    for one in inputs:
        ids = tokenizer(one, truncation=True, return_tensors="pt")["input_ids"][:, :-1]
        made = model.generate(
            input_ids=ids,
            attention_mask=ids.new_ones(ids.shape),
            max_new_tokens=min({_NEW_TOKENS}, tokenizer.model_max_length - ids.shape[1]),
            do_sample=False,
        )
        answers.append(made[0, ids.shape[1] :].tolist())
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


_NOTES = {
    SENTENCE_EMBEDDING.name: ("last_hidden_state holds one token, the sentence's vector",),
    TEXT_GENERATION.name: (
        "the tokenizer closes a text with [SEP]: give generate the ids without that last one",
    ),
}


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
        notes=_NOTES.get(task, ()),
    )


def _call(bundle: Bundle, inputs: Sequence[Any]) -> list[Any]:
    pipeline = bundle.pipeline
    if isinstance(pipeline, TextGenerationPipeline):
        rows = pipeline.encode_items(list(inputs), pipeline.dataset_settings())
        prompts = [row.input_ids for (row,) in rows]
        return [ids.tolist() for ids in pipeline.continue_ids(prompts, _NEW_TOKENS)]
    answers = pipeline_answers(bundle, inputs)
    if bundle.manifest.task == MULTIPLE_CHOICE.name:
        return [answer["scores"] for answer in answers]
    return answers


OPTIMUM = Consumer(
    name="optimum",
    tasks=_CLASSES,
    write=_write,
    trial=Trial(("optimum.onnxruntime", "transformers"), _PROGRAM),
    call=_call,
    why_not=dict.fromkeys(
        (NEXT_SENTENCE_PREDICTION.name, PRETRAINING.name), "optimum has no class for this head"
    ),
)
