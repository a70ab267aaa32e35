"""Which of several continuations fits a prompt.

The graph takes (batch, choices, sequence), yet it scores every choice on its own. So a choice is a
row like any other: rows of several questions are batched by length, reach the graph as
(rows, 1, sequence), and are only put side by side again for the softmax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.decoding.choices import choose
from bert_export.runtime.pipelines.inputs import check_text, field, several
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import Tokenization, encode_texts
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks.multiple_choice import TASK, MultipleChoicePostProcessing

__all__ = ["MultipleChoicePipeline", "MultipleChoiceSettings", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its possible continuations, one at least."""

    prompt: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MultipleChoiceSettings:
    """A call has nothing to choose; pairs are cut as the bundle says."""

    tokenization: Tokenization


class MultipleChoicePipeline(Pipeline[Question, NDArray[np.float32], MultipleChoiceSettings]):
    """Picks the continuation that fits a prompt."""

    definition = TASK
    parameters: MultipleChoicePostProcessing

    def __call__(
        self,
        inputs: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
        *,
        prompt: str | None = None,
        choices: Sequence[str] | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Pick a choice.

        Args:
            inputs: A mapping with ``prompt`` and ``choices``, a list of mappings, or any other
                iterable of them; questions may differ in how many choices they have.
            prompt: Of one question, instead of ``inputs``.
            choices: Its continuations. A prompt and a choice that are together too long are cut,
                the longer first.
            batch_size: Rows (choices) per graph call at most.

        Returns:
            ``{"choice": index, "text": choice, "scores": [...]}`` per question; a list of them for
            a list, an iterator for another iterable.

        Raises:
            InputError: A field is missing or of another type, or there are no choices.
        """
        return self.respond_to_records(
            inputs, self.defaults, batch_size=batch_size, prompt=prompt, choices=choices
        )

    def item(self, record: Mapping[str, Any]) -> Question:
        """The record's ``prompt`` and ``choices``."""
        prompt, choices = check_text(field(record, "prompt"), "prompt"), field(record, "choices")
        listed = several(choices, "choices", expected="a list of strings")
        texts = tuple(check_text(choice, "choice") for choice in listed)
        if not texts:
            raise InputError("choices are empty", expected="at least one", got="none")
        return Question(prompt, texts)

    def default_settings(self) -> MultipleChoiceSettings:
        """The only settings."""
        return MultipleChoiceSettings(Tokenization(self.parameters.truncation))

    def encode_items(
        self, items: Sequence[Question], settings: MultipleChoiceSettings
    ) -> list[list[Row]]:
        """One row per choice: the prompt, then the choice."""
        pairs = [(item.prompt, choice) for item in items for choice in item.choices]
        rows = iter(encode_texts(self.tokenizer, pairs, settings.tokenization))
        return [[next(rows) for _ in item.choices] for item in items]

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """Rows (B, S) as B questions of one choice, (B, 1, S)."""
        return {name: array[:, None] for name, array in feeds.items()}

    def reduce(
        self, row: Row, outputs: Outputs, settings: MultipleChoiceSettings
    ) -> NDArray[np.float32]:
        """The choice's logit, float32 (1,)."""
        return outputs["logits"]

    def decode(
        self,
        item: Question,
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.float32]],
        settings: MultipleChoiceSettings,
    ) -> dict[str, Any]:
        """The best choice and everyone's probability."""
        return choose(np.concatenate(reduced), item.choices)
