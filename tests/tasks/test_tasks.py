"""A task's file says all of the task, and nothing else names it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import bert_export
from bert_export.bundle import ExportRequest
from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.errors import TaskError
from bert_export.evaluation.scorer import Scorer
from bert_export.exporter import check_request
from bert_export.exporter.agreement import MIN_AGREEMENT
from bert_export.models import HEADS, BertConfig, BertHead
from bert_export.models.heads import BertForSentenceEmbedding, BertModel
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.tasks import (
    ALIASES,
    TASKS,
    AgreementKind,
    CheckpointFacts,
    SentenceFacts,
    default_task,
    find_task,
)

PACKAGE = Path(bert_export.__file__).parent
CONFIG = BertConfig(
    vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1, intermediate_size=4
)
PROBLEMS = {
    "single": CheckpointFacts(labels=("a", "b")),
    "multi": CheckpointFacts(labels=("a", "b"), problem_type="multi_label_classification"),
    "number": CheckpointFacts(labels=("a",)),
    "numbers": CheckpointFacts(labels=("a", "b"), problem_type="regression"),
}


def strings(module: Path) -> Iterator[str]:
    """The strings of a module but for its docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield str(node.value)


def test_no_task_is_named_outside_its_file() -> None:
    named = {
        f"{module.relative_to(PACKAGE)}: {text}"
        for module in PACKAGE.rglob("*.py")
        if module.parent.name != "tasks"
        for text in strings(module)
        if text in TASKS
    }
    assert not named


# TensorFlow 1 stores no architecture: its reader names the head that the tensors are of.
READS_HEADS = Path("checkpoints", "tensorflow_v1.py")


def test_no_head_is_named_outside_tasks_and_models() -> None:
    named = {
        f"{module.relative_to(PACKAGE)}: {text}"
        for module in PACKAGE.rglob("*.py")
        if module.parent.name not in ("tasks", "models")
        and module.relative_to(PACKAGE) != READS_HEADS
        for text in strings(module)
        if text in HEADS
    }
    assert not named


def head_of(task: str, facts: CheckpointFacts) -> BertHead:
    """The head of a checkpoint with these facts, without weights."""
    name = find_task(task).head
    with torch.device("meta"):
        if name == BertModel.__name__:
            return BertModel(CONFIG, add_pooling_layer=facts.pooler)
        if name == BertForSentenceEmbedding.__name__:
            sentence = facts.sentence or SentenceFacts()
            return BertForSentenceEmbedding(
                CONFIG, SentenceModules(include_prompt=sentence.include_prompt)
            )
        head: Any = HEADS[name]
        made: BertHead = head(
            replace(CONFIG, is_decoder=True, encoder=CONFIG)
            if find_task(task).has_encoder
            else CONFIG
        )
        return made


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "facts",
    [
        CheckpointFacts(),
        CheckpointFacts(pooler=False),
        CheckpointFacts(sentence=SentenceFacts(include_prompt=False)),
    ],
)
def test_the_interface_is_the_heads(task: str, facts: CheckpointFacts) -> None:
    interface, head = find_task(task).interface(facts), head_of(task, facts)
    assert tuple(tensor.name for tensor in interface.inputs) == head.inputs
    assert tuple(tensor.name for tensor in interface.outputs) == head.outputs
    assert {tensor.dtype for tensor in interface.inputs} == {"int64"}


@pytest.mark.parametrize("task", TASKS)
def test_pipeline_and_scorers_are_there(task: str) -> None:
    row = find_task(task)
    module, name = row.pipeline.split(":")
    pipeline = getattr(import_module(f"bert_export.runtime.pipelines.{module}"), name)
    assert issubclass(pipeline, Pipeline)
    assert pipeline.definition is row
    assert pipeline.__annotations__["parameters"] == row.postprocessing.__name__
    for facts in PROBLEMS.values():
        module, name = row.scorer(facts).split(":")
        scorer = getattr(import_module(f"bert_export.evaluation.{module}"), name)
        assert issubclass(scorer, Scorer)
        assert row.metric(facts)
        assert row.agreement(facts) in MIN_AGREEMENT
    assert set(MIN_AGREEMENT) == set(get_args(AgreementKind))


def test_what_a_classifier_was_trained_for_decides_how_it_is_compared_and_scored() -> None:
    task = find_task("text-classification")
    assert {name: task.agreement(facts) for name, facts in PROBLEMS.items()} == {
        "single": "label",
        "multi": "sign",
        "number": "concordance",
        "numbers": "concordance",
    }
    assert {name: task.metric(facts) for name, facts in PROBLEMS.items()} == {
        "single": "accuracy",
        "multi": "micro F1",
        "number": "Spearman correlation",
        "numbers": "Spearman correlation",
    }


@pytest.mark.parametrize("task", TASKS)
def test_a_row_holds_a_token_of_each_text(task: str) -> None:
    row = find_task(task)
    assert row.shortest_row == (5 if len(row.required) > 1 else 3)


def test_the_default_task_is_the_architectures() -> None:
    assert default_task(["BertForMaskedLM"], sentence_modules=False) is TASKS["fill-mask"]
    assert default_task(["X", "BertModel"], sentence_modules=False) is TASKS["feature-extraction"]
    assert default_task(["BertModel"], sentence_modules=True) is TASKS["sentence-embedding"]
    assert default_task(["RobertaModel"], sentence_modules=False) is None
    named = [name for task in TASKS.values() for name in task.architectures]
    assert len(set(named)) == len(named)


def test_a_few_tasks_stand_for_every_way_to_read_tokens() -> None:
    few = [task for task in TASKS.values() if task.representative]
    tried = {task.scored_positions for task in TASKS.values() if task.demo is not None}
    assert {task.scored_positions for task in few} == tried
    assert all(task.demo is not None for task in few)


@pytest.mark.parametrize("alias", [*ALIASES, "NER", "fill_mask", "Question Answering"])
def test_names_that_people_type(alias: str) -> None:
    task = find_task(alias)
    spelt = alias.casefold().replace("_", "-").replace(" ", "-")
    assert spelt == task.name or spelt in task.aliases


@pytest.mark.parametrize("name", ["", "translation", 3, None])
def test_what_is_no_task_is_refused(name: Any) -> None:
    with pytest.raises(TaskError, match=r"is unknown: expected one of feature-extraction, "):
        find_task(name)


def test_a_request_names_the_task_itself() -> None:
    request = check_request(ExportRequest(task="ner", model="somewhere"))
    assert request.task == "token-classification"
