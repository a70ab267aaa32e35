"""transformers.js, in Node and in browsers: one file holds graph and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bert_export.hand_over.answers import pipeline_answers
from bert_export.hand_over.consumer import Bundle, Consumer, Trial, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_tokenizer
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.fill_mask import TASK as FILL_MASK
from bert_export.tasks.multiple_choice import TASK as MULTIPLE_CHOICE
from bert_export.tasks.question_answering import TASK as QUESTION_ANSWERING
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION
from bert_export.tasks.zero_shot_classification import TASK as ZERO_SHOT_CLASSIFICATION

__all__ = ["TRANSFORMERS_JS"]

_PIPELINES = {
    FEATURE_EXTRACTION.name: FEATURE_EXTRACTION.name,
    SENTENCE_EMBEDDING.name: FEATURE_EXTRACTION.name,
    FILL_MASK.name: FILL_MASK.name,
    TEXT_CLASSIFICATION.name: TEXT_CLASSIFICATION.name,
    ZERO_SHOT_CLASSIFICATION.name: ZERO_SHOT_CLASSIFICATION.name,
    TOKEN_CLASSIFICATION.name: TOKEN_CLASSIFICATION.name,
    QUESTION_ANSWERING.name: QUESTION_ANSWERING.name,
}
_FILES = {"fp32": "model.onnx", "fp16": "model_fp16.onnx", "int8": "model_quantized.onnx"}
_DTYPES = {"fp32": "fp32", "fp16": "fp16", "int8": "q8"}

# Its question answering joins tokens again, so letter case and spaces are not the context's. What
# its pipelines give less or name otherwise than transformers' is brought to one form.
_PROGRAM = """
const [folder, task, json] = process.argv.slice(1);
const { pipeline, env } = require("@huggingface/transformers");
const fs = require("fs"), path = require("path");
(async () => {
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(folder);
  const files = fs.readdirSync(path.join(folder, "onnx"));
  const names = { "model.onnx": "fp32", "model_fp16.onnx": "fp16", "model_quantized.onnx": "q8" };
  const dtype = names[files[0]];
  const kind = task === "sentence-embedding" ? "feature-extraction" : task;
  const answer = await pipeline(kind, path.basename(folder), { dtype });
  const answers = [];
  for (const one of JSON.parse(json)) {
    if (task === "question-answering") {
      const { answer: text } = await answer(one.question, one.context);
      answers.push(text.toLowerCase().replaceAll(" ", ""));
    } else if (task === "zero-shot-classification") {
      const { labels, scores } = await answer(one.text, one.candidate_labels);
      answers.push({ labels, scores });
    } else if (task === "token-classification") {
      const tags = await answer(one);
      answers.push(tags.map(({ entity, index, score }) => ({ entity, index, score })));
    } else if (task === "fill-mask") {
      answers.push((await answer(one)).map(({ token, score }) => ({ token, score })));
    } else if (task === "sentence-embedding") {
      answers.push((await answer(one, { pooling: "cls" })).tolist()[0]);
    } else if (task === "feature-extraction") {
      answers.push((await answer(one)).tolist());
    } else {
      answers.push((await answer(one)).map(({ label, score }) => ({ label, score })));
    }
  }
  console.log(JSON.stringify(answers));
})().catch((error) => { console.error(String(error)); process.exit(1); });
"""

_ANY_LENGTH = 1_000_000
_NOTES = {
    SENTENCE_EMBEDDING.name: ('pass { pooling: "cls" }: the one token is the sentence\'s vector',),
    QUESTION_ANSWERING.name: ("answers are joined tokens, as long as the likeliest span is",),
}
_KEPT = {
    TOKEN_CLASSIFICATION.name: ("entity", "index", "score"),
    FILL_MASK.name: ("token", "score"),
    TEXT_CLASSIFICATION.name: ("label", "score"),
}


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    write_config(bundle, folder)
    write_tokenizer(bundle, folder)
    graph = folder / "onnx" / _FILES[bundle.engine.precision]
    written = write_graph(bundle, graph, opset=opset, external_data=False, states=True)
    task = _PIPELINES[bundle.manifest.task]
    dtype = _DTYPES[bundle.engine.precision]
    return Written(
        graph=graph,
        opset=written,
        use=(
            'import { pipeline } from "@huggingface/transformers";',
            f'const answer = await pipeline("{task}", "{folder.name}", {{ dtype: "{dtype}" }});',
        ),
        notes=_NOTES.get(bundle.manifest.task, ()),
    )


def _call(bundle: Bundle, inputs: Sequence[Any]) -> list[Any]:
    task = bundle.manifest.task
    if task == QUESTION_ANSWERING.name:  # there is no longest answer in transformers.js
        pipeline: Any = bundle.pipeline
        found = [pipeline(one, max_answer_len=_ANY_LENGTH)["answer"] for one in inputs]
        return [text.lower().replace(" ", "") for text in found]
    answers = pipeline_answers(bundle, inputs)
    if task in _KEPT:
        return [[{name: one[name] for name in _KEPT[task]} for one in each] for each in answers]
    if task == ZERO_SHOT_CLASSIFICATION.name:
        return [{name: answer[name] for name in ("labels", "scores")} for answer in answers]
    return answers


TRANSFORMERS_JS = Consumer(
    name="transformers.js",
    tasks=_PIPELINES,
    write=_write,
    trial=Trial(("@huggingface/transformers",), _PROGRAM, node=True),
    call=_call,
    why_not={MULTIPLE_CHOICE.name: "transformers.js has no pipeline for this head"},
)
