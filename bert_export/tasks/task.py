"""What a task is: all that the export, the runtime, the evaluation and the tables know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from bert_export.tasks.checkpoint_facts import CheckpointFacts, SentenceFacts
from bert_export.tasks.interface import (
    GraphInterface,
    GraphTensor,
    ScoredPositions,
    TextForm,
    has_source,
    pruned_interface,
)
from bert_export.tasks.postprocessing import PostProcessing

__all__ = ["LABELS", "AgreementKind", "Task", "always", "tokenizer_max_length"]

Value = TypeVar("Value")

LABELS = ("label", "labels", "tags", "answers", "score", "summary")
"""Fields that tell the answer to a record, which is then scored and not read."""

LIST_FIELDS = ("candidate_labels", "choices", "tokens")
"""Fields that hold several strings."""

AgreementKind = Literal["label", "token", "mask", "span", "sign", "concordance", "cosine"]
"""What "the same answer" means when two precisions are compared.

``label``: arg-max over the last axis. ``token``: the same of every unpadded token. ``mask``: the
first of all words per mask. ``span``: arg-max over the sequence. ``sign``: each label of a
multi-label head. ``concordance``: of numbers, shift and scale included. ``cosine``: of each vector.
"""


def always(value: Value) -> Callable[[CheckpointFacts], Value]:
    """What is the same for every checkpoint."""
    return lambda _: value


def tokenizer_max_length(facts: CheckpointFacts) -> int | None:
    """The longest row as the tokenizer's files say."""
    return facts.max_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One row of :data:`bert_export.tasks.TASKS`.

    Args:
        name: As typed after ``--task``.
        aliases: Other names that people have for it, understood wherever a task is named.
        variants: The task under further names, by which its answers are spelt otherwise.
        pipeline_tag: What the Hugging Face hub calls it: its name when empty, ``None`` where it is
            not there.
        summary: One line for tables.
        head: Class in :mod:`bert_export.models.heads` that is traced.
        architectures: ``architectures`` entries of ``config.json`` (without a ``TF`` or ``Flax``
            prefix) whose checkpoints default to this task.
        sentence_modules: Whether checkpoints of sentence-transformers default to this task.
        interface: Inputs and outputs of the head that a checkpoint has, before any pass.
        scored_positions: Whose tokens' states the head reads; passes leave out what the others
            would cost.
        masked_texts: Whether texts carry masks: words are hidden in those that have none.
        text_forms: How its texts may enter a graph that tokenizes, the usual one first; none where
            a text is no row as it stands.
        text_offsets: Whether such a graph tells the characters of each token.
        postprocessing: The parameters of the answers, with their defaults.
        pipeline: ``module:Class`` of the runtime pipeline below ``bert_export.runtime.pipelines``.
        scorer: ``module:Class`` below ``bert_export.evaluation`` that scores the answers.
        metric: The figure that a labelled set is scored with.
        agreement: What "the same answer" means when two precisions are compared.
        shortest_row: Tokens of the shortest row that holds a token of each text.
        max_length: Longest row as the checkpoint's files say; ``None`` where they do not.
        required: Fields that every record of a calibration or evaluation file has.
        optional: Fields that a record may have.
        calibration: Name of the built-in calibration set: the task's own when empty.
        unseen: Samples of the demonstrations whose text the head reads: engines are verified on
            them where the task's built-in set calibrates.
        demo: Name of the demonstration checkpoint, ``None`` where there is none.
        representative: Whether it is among the few tasks that stand for all where not all are
            tried: one for every way in which a graph reads tokens.
        example: The record that is answered after an export.
        command_options: Options of the call that the command line sets where a user names none:
            its answers are read by a person, while Python's are those of transformers.
    """

    name: str
    aliases: tuple[str, ...] = ()
    variants: tuple[Task, ...] = ()
    pipeline_tag: str | None = ""
    summary: str
    head: str
    architectures: tuple[str, ...] = ()
    sentence_modules: bool = False
    interface: Callable[[CheckpointFacts], GraphInterface]
    scored_positions: ScoredPositions
    masked_texts: bool = False
    text_forms: tuple[TextForm, ...] = ("single",)
    text_offsets: bool = False
    postprocessing: type[PostProcessing]
    pipeline: str
    scorer: Callable[[CheckpointFacts], str]
    metric: Callable[[CheckpointFacts], str]
    agreement: Callable[[CheckpointFacts], AgreementKind]
    shortest_row: int
    max_length: Callable[[CheckpointFacts], int | None] = tokenizer_max_length
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    calibration: str = ""
    unseen: tuple[str, ...] = ()
    demo: str | None
    representative: bool = False
    example: Mapping[str, Any]
    command_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def built_in_set(self) -> str:
        """Name of the calibration set that is used where a user names none."""
        return self.calibration or self.name

    @property
    def input_fields(self) -> tuple[str, ...]:
        """The fields that a request names: the required ones, or the first that may be given."""
        return self.required or self.optional[:1]

    @property
    def outputs(self) -> tuple[GraphTensor, ...]:
        """The graph's outputs, in order, where the checkpoint has all of the head."""
        return self.interface(CheckpointFacts()).outputs

    def graph_interfaces(
        self, *, layers: int = 0, heads: int = 0, head_size: int = 0
    ) -> tuple[GraphInterface, ...]:
        """Every interface that a graph of the task may have, for any checkpoint and any passes.

        Args:
            layers: Of the encoder, which a cache has keys and values of; 0 for none.
            heads: Of each layer.
            head_size: Width of each head.
        """
        facts = (
            CheckpointFacts(),
            CheckpointFacts(pooler=False),
            CheckpointFacts(sentence=SentenceFacts(include_prompt=False)),
            CheckpointFacts(layers=layers, heads=heads, head_size=head_size),
        )
        exact = [self.interface(each) for each in facts]
        pruned = [pruned_interface(each, self.scored_positions) for each in exact]
        return tuple(dict.fromkeys((*exact, *pruned)))

    @property
    def has_encoder(self) -> bool:
        """Whether a decoder attends to a text that an encoder's graph read before."""
        return has_source(self.interface(CheckpointFacts()).inputs)

    @property
    def has_labels(self) -> bool:
        """Whether the head scores labels that the config names."""
        return any("labels" in output.shape for output in self.outputs)
