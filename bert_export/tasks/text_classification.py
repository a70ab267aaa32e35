"""One label, several labels or a score for a text or a pair of texts."""

from __future__ import annotations

from typing import Literal, Self

from bert_export.tasks.checkpoint_facts import CheckpointFacts
from bert_export.tasks.interface import BATCH, GraphInterface, GraphTensor, token_inputs
from bert_export.tasks.postprocessing import Positive, PostProcessing, Truncation
from bert_export.tasks.task import AgreementKind, Task, always

__all__ = [
    "TASK",
    "Activation",
    "ClassifierPostProcessing",
    "Problem",
    "TextClassificationPostProcessing",
    "agreement_of_labels",
    "problem_of",
]

Activation = Literal["none", "sigmoid", "softmax"]
Problem = Literal["single_label", "multi_label", "regression"]


class ClassifierPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """What tasks of a sequence-classification head share, so that a bundle serves each of them.

    Args:
        problem_type: ``problem_type`` of the checkpoint's config; ``null`` where it does not say.
        activation_fn: What a cross-encoder's ``predict`` and ``rank`` apply to the logits, as
            sentence-transformers' files spell it; ``null`` where they do not say: ``sigmoid`` where
            there is one label, else nothing.
    """

    problem_type: str | None = None
    activation_fn: str | None = None

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        return cls(problem_type=facts.problem_type, activation_fn=facts.activation_fn)


class TextClassificationPostProcessing(ClassifierPostProcessing, frozen=True, kw_only=True):
    """How logits become scores, how many labels are reported, and how texts are cut.

    Args:
        function_to_apply: What turns logits into scores. ``default``: nothing where
            ``problem_type`` is ``regression``, ``sigmoid`` where it is
            ``multi_label_classification`` or there is one label, else ``softmax``.
        top_k: Labels that are reported, best first; ``null`` for all.
        truncation: Which text of a pair gives way.
        max_length: Tokens that a row keeps; ``null`` for the tokenizer's own limit.
    """

    function_to_apply: Literal["default", "none", "sigmoid", "softmax"] = "default"
    top_k: Positive | None = 1
    truncation: Truncation = "longest_first"
    max_length: Positive | None = None


def problem_of(facts: CheckpointFacts) -> Problem:
    """What a sequence-classification head was trained for."""
    if facts.problem_type == "multi_label_classification":
        return "multi_label"
    if facts.problem_type == "regression" or len(facts.labels) == 1:
        return "regression"
    return "single_label"


def agreement_of_labels(facts: CheckpointFacts) -> AgreementKind:
    """The same label, the same decision on every label, or the same number."""
    kinds: dict[Problem, AgreementKind] = {
        "single_label": "label",
        "multi_label": "sign",
        "regression": "concordance",
    }
    return kinds[problem_of(facts)]


def _scorer(facts: CheckpointFacts) -> str:
    scorers: dict[Problem, str] = {
        "single_label": "classification:SingleLabelScorer",
        "multi_label": "classification:MultiLabelScorer",
        "regression": "classification:RegressionScorer",
    }
    return scorers[problem_of(facts)]


def _metric(facts: CheckpointFacts) -> str:
    metrics: dict[Problem, str] = {
        "single_label": "accuracy",
        "multi_label": "micro F1",
        "regression": "Spearman correlation",
    }
    return metrics[problem_of(facts)]


TASK = Task(
    name="text-classification",
    aliases=(
        "classification",
        "cross-encoder",
        "reranking",
        "sentiment",
        "sentiment-analysis",
        "sequence-classification",
        "text-ranking",
    ),
    summary="a label, several labels or a score for a text or a pair",
    head="BertForSequenceClassification",
    architectures=("BertForSequenceClassification",),
    interface=always(GraphInterface(token_inputs(), (GraphTensor("logits", (BATCH, "labels")),))),
    scored_positions="first_token",
    text_forms=("single", "pair"),
    postprocessing=TextClassificationPostProcessing,
    pipeline="text_classification:TextClassificationPipeline",
    scorer=_scorer,
    metric=_metric,
    agreement=agreement_of_labels,
    shortest_row=3,
    required=("text",),
    optional=("text_pair", "label", "labels"),
    unseen=("demo:snips", "demo:nlupp", "demo:stsb", "demo:taxinli"),
    demo="snips",
    representative=True,
    example={"text": "Book a table for four at the Italian place on Friday."},
)
