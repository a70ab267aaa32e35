"""Score labels given at call time, as upstream's ``zero-shot-classification`` pipeline does.

Every label becomes a hypothesis about the text, and a head trained on natural language inference
says how far the text entails it (Yin et al. 2019, arXiv:1909.00161).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType

from bert_export.bundle import Manifest
from bert_export.errors import InputError, TaskError
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_flag, or_default
from bert_export.runtime.decoding.labels import (
    find_entailment,
    rank_hypotheses,
    score_hypotheses,
)
from bert_export.runtime.pipelines.inputs import check_text, field, several, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import Tokenization, encode_texts
from bert_export.runtime.sessions.session import Array, Outputs, Session
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks.zero_shot_classification import (
    TASK,
    ZeroShotClassificationPostProcessing,
)

__all__ = [
    "ZeroShotClassificationPipeline",
    "ZeroShotClassificationSettings",
    "ZeroShotItem",
]


@dataclass(frozen=True, slots=True)
class ZeroShotItem:
    """A text and the labels that it may have."""

    text: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ZeroShotClassificationSettings:
    """How a call phrases and scores its hypotheses.

    Args:
        template: The hypothesis, with a placeholder for the label.
        multi_label: Whether every label is scored for itself.
        tokenization: How texts are cut.
    """

    template: str
    multi_label: bool
    tokenization: Tokenization


class ZeroShotClassificationPipeline(Pipeline[ZeroShotItem, Array, ZeroShotClassificationSettings]):
    """Labels that were never trained, scored by a natural-language-inference head.

    Raises:
        TaskError: None of the head's labels means entailment.
    """

    definition = TASK
    parameters: ZeroShotClassificationPostProcessing

    def __init__(
        self, manifest: Manifest, tokenizer: Tokenizer, session: Session, **batching: Any
    ) -> None:
        super().__init__(manifest, tokenizer, session, **batching)
        entailment = self.parameters.entailment_id
        if entailment is None:
            entailment = find_entailment(manifest.labels)
        if entailment is None or entailment >= len(manifest.labels):
            raise TaskError(
                f"{self.task} does not fit the head",
                expected="a label that starts with 'entail'",
                got=", ".join(map(repr, manifest.labels)) or "no labels",
                fix="Export a checkpoint trained on natural language inference",
            )
        self._entailment = entailment

    def __call__(
        self,
        sequences: Any,
        candidate_labels: str | Sequence[str],
        *,
        hypothesis_template: str | UnsetType = UNSET,
        multi_label: bool | UnsetType = UNSET,
        batch_size: int | None = None,
    ) -> Any:
        """Score labels.

        Args:
            sequences: A text, a list of texts, or any other iterable of them. An over-long text
                loses tokens at its end; its hypothesis never does.
            candidate_labels: The labels: a list, or a string with commas between them.
            hypothesis_template: The hypothesis, with a placeholder (``{}``) for the label; the
                bundle's, as a rule "This example is {}.", when left out.
            multi_label: Whether several labels may hold: each is then scored for itself, otherwise
                the scores of a text sum to 1. As the bundle says, as a rule not, when left out.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            ``{"sequence", "labels", "scores"}`` per text, best label first; a list of them for a
            list. Inputs that are neither a text nor a list are answered lazily.

        Raises:
            InputError: A text is empty, there is no label, the template has no placeholder, or a
                hypothesis leaves no room for the text.
        """
        labels = _read_labels(candidate_labels)
        default = self.defaults
        template = or_default(hypothesis_template, default.template)
        _check_template(template, labels)
        single, records = text_items(sequences, "sequences")
        return self.respond(
            sequences,
            single=single,
            records=records,
            read=lambda text: ZeroShotItem(_read_text(text), labels),
            settings=ZeroShotClassificationSettings(
                template,
                check_flag("multi_label", or_default(multi_label, default.multi_label)),
                default.tokenization,
            ),
            batch_size=batch_size,
        )

    def ask(self, record: Mapping[str, Any], **options: Any) -> Any:
        """Answer one record of a data file; its candidate labels may stand among the options."""
        labels = options.pop("candidate_labels", None) or record.get("candidate_labels", ())
        return self(record["text"], labels, **options)

    def item(self, record: Mapping[str, Any]) -> ZeroShotItem:
        return ZeroShotItem(
            _read_text(field(record, "text")), _read_labels(field(record, "candidate_labels"))
        )

    def default_settings(self) -> ZeroShotClassificationSettings:
        own = self.parameters
        return ZeroShotClassificationSettings(
            own.hypothesis_template, own.multi_label, Tokenization(own.truncation)
        )

    def encode_items(
        self, items: Sequence[ZeroShotItem], settings: ZeroShotClassificationSettings
    ) -> list[list[Row]]:
        pairs = [
            (item.text, settings.template.format(label)) for item in items for label in item.labels
        ]
        rows = iter(
            encode_texts(
                self.tokenizer,
                pairs,
                settings.tokenization,
                limit=self.manifest.model.max_position_embeddings,
            )
        )
        return [[next(rows) for _ in item.labels] for item in items]

    def reduce(self, row: Row, outputs: Outputs, settings: ZeroShotClassificationSettings) -> Array:
        return outputs["logits"]  # (L,)

    def decode(
        self,
        item: ZeroShotItem,
        rows: Sequence[Row],
        reduced: Sequence[Array],
        settings: ZeroShotClassificationSettings,
    ) -> dict[str, Any]:
        scores = score_hypotheses(
            np.stack(reduced), self._entailment, multi_label=settings.multi_label
        )
        return rank_hypotheses(item.text, item.labels, scores)


def _read_text(text: object) -> str:
    if not check_text(text, "sequence"):
        raise InputError("sequence is empty", expected="at least one character", got="''")
    return str(text)


def _read_labels(labels: object) -> tuple[str, ...]:
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",") if label.strip()]
    listed = several(
        labels,
        "candidate_labels",
        expected="a list of strings, or a string with commas between the labels",
    )
    names = tuple(check_text(label, "candidate label") for label in listed)
    if not names:
        raise InputError("candidate_labels are empty", expected="at least one label", got="none")
    return names


def _check_template(template: object, labels: Sequence[str]) -> None:
    text = check_text(template, "hypothesis_template")
    try:
        placeholders = [name for _, name, _, _ in Formatter().parse(text) if name is not None]
        text.format(labels[0])
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"hypothesis_template {text!r} cannot be filled in",
            expected="one placeholder such as {}",
            got=f"{type(error).__name__}: {error}",
        ) from error
    if not placeholders:
        raise InputError(
            f"hypothesis_template {text!r} has no placeholder",
            expected="{} where the label goes",
            got="none",
        )
