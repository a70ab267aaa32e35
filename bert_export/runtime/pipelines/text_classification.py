"""Label a text, or a pair of texts, as upstream's ``text-classification`` pipeline does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_word
from bert_export.runtime.decoding.labels import choose_activation, rank_labels, score_labels
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import (
    UNCUT,
    Tokenization,
    check_text,
    encode_texts,
    text_items,
)
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.text_classification import (
    TASK,
    Activation,
    TextClassificationPostProcessing,
)

__all__ = ["TextClassificationPipeline", "TextClassificationSettings"]

TextItem = str | tuple[str, str]

_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")


@dataclass(frozen=True, slots=True)
class TextClassificationSettings:
    """How a call scores and reports.

    Args:
        activation: What turns logits into scores.
        top_k: How many labels are reported; all when ``None``.
        bare: Whether the best label is reported as a mapping instead of a list of them.
        tokenization: How the texts are cut.
    """

    activation: Activation
    top_k: int | None
    bare: bool
    tokenization: Tokenization


class TextClassificationPipeline(Pipeline[TextItem, Array, TextClassificationSettings]):
    """One label, several labels or a score for a text or a pair of texts."""

    definition = TASK
    parameters: TextClassificationPostProcessing

    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int | str | None = "",
        function_to_apply: str | None = None,
        truncation: bool | str | UnsetType | None = UNSET,
        max_length: int | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Classify.

        Args:
            inputs: A text, a mapping with ``text`` and perhaps ``text_pair``, a list of these, or
                any other iterable of them.
            top_k: How many labels to report, best first; ``None`` for all. Left out, the answer is
                the best label alone, unless the bundle says otherwise.
            function_to_apply: ``sigmoid``, ``softmax``, ``none``, or ``default``: nothing for
                regression, sigmoid for several labels at once or a single label, else softmax. As
                the bundle says, as a rule ``default``, when ``None``.
            truncation: Whether an over-long input loses tokens, from the longer text of a pair
                first; when false such an input is an error. As the bundle says, as a rule true,
                when left out. (Upstream's default leaves it to break inside the model.)
            max_length: Tokens a row keeps; the tokenizer's own limit when ``None``.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            Without ``top_k``: ``{"label", "score"}`` per input, and a list that holds it for a
            single text. With it: a list of such mappings per input. Inputs that are neither a
            single one nor a list are answered lazily.

        Raises:
            InputError: An input or an option is malformed, or too long and not to be truncated.
        """
        default = self.defaults
        left_out = isinstance(top_k, str) and not top_k
        bare = left_out and default.bare
        settings = TextClassificationSettings(
            self._read_activation(function_to_apply),
            default.top_k if left_out else _read_top_k(top_k),
            bare,
            Tokenization.from_options({"max_length": max_length}, default.tokenization)
            if truncation is UNSET
            else Tokenization.from_options(
                {"truncation": truncation, "max_length": max_length}, UNCUT
            ),
        )
        single, records = (True, [inputs]) if isinstance(inputs, Mapping) else text_items(inputs)
        answer = self.respond(
            inputs,
            single=single,
            items=map(_read_item, records),
            settings=settings,
            batch_size=batch_size,
        )
        return [answer] if bare and isinstance(inputs, str) else answer

    def item(self, record: Mapping[str, Any]) -> TextItem:
        return _read_item({name: record[name] for name in ("text", "text_pair") if name in record})

    def default_settings(self) -> TextClassificationSettings:
        own = self.parameters
        return TextClassificationSettings(
            self._read_activation(own.function_to_apply),
            own.top_k,
            own.top_k == 1,
            Tokenization(own.truncation, own.max_length),
        )

    def encode_items(
        self, items: Sequence[TextItem], settings: TextClassificationSettings
    ) -> list[list[Row]]:
        rows = encode_texts(
            self.tokenizer,
            items,
            settings.tokenization,
            limit=self.manifest.model.max_position_embeddings,
        )
        return [[row] for row in rows]

    def reduce(self, row: Row, outputs: Outputs, settings: TextClassificationSettings) -> Array:
        return outputs["logits"]  # (L,)

    def decode(
        self,
        item: TextItem,
        rows: Sequence[Row],
        reduced: Sequence[Array],
        settings: TextClassificationSettings,
    ) -> Any:
        (logits,) = reduced
        answer = rank_labels(score_labels(logits, settings.activation), self.labels, settings.top_k)
        return answer[0] if settings.bare else answer

    def _read_activation(self, name: str | None) -> Activation:
        """What an option, or the bundle where it is left out, applies to the logits."""
        if name is None:
            name = self.parameters.function_to_apply
        if isinstance(name, str) and name.lower() == "default":
            return choose_activation(self.parameters.problem_type, len(self.labels))
        return check_word(
            "function_to_apply",
            name,
            _ACTIVATIONS,
            expected=f"default, {', '.join(_ACTIVATIONS)}",
        )


def _read_item(record: object) -> TextItem:
    """A text or a pair of them."""
    if isinstance(record, str):
        return record
    if not isinstance(record, Mapping):
        raise InputError(
            "input is of the wrong type",
            expected="a string, or a mapping with 'text'",
            got=type(record).__name__,
            fix="Pass a pair as {'text': ..., 'text_pair': ...}",
        )
    if "text" not in record or record.keys() - {"text", "text_pair"}:
        raise InputError(
            "input has the wrong fields",
            expected="'text' and perhaps 'text_pair'",
            got=", ".join(map(repr, record)) or "none",
        )
    text = check_text(record["text"])
    pair = record.get("text_pair")
    if pair is None or not check_text(pair, "text_pair"):
        return text  # upstream takes an empty second text for none
    return text, pair


def _read_top_k(top_k: object) -> int | None:
    if top_k is None or (isinstance(top_k, int) and not isinstance(top_k, bool) and top_k >= 1):
        return top_k
    raise InputError(
        "top_k is wrong",
        expected="a positive whole number, or None for all labels",
        got=repr(top_k),
    )
