"""The words that fit behind ``[MASK]``, as the upstream ``fill-mask`` pipeline ranks them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bert_export.errors import InputError, shown
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_mapping, check_whole
from bert_export.runtime.decoding.masks import (
    Candidates,
    describe_candidates,
    find_candidates,
)
from bert_export.runtime.pipelines.inputs import check_text, field, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.texts import CUT, Tokenization, encode_texts
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks.fill_mask import TASK, FillMaskPostProcessing
from bert_export.tasks.interface import MASKED_POSITIONS

__all__ = ["FillMaskPipeline", "FillMaskSettings", "check_top_k"]


@dataclass(frozen=True, slots=True)
class FillMaskSettings:
    """A call's choices.

    Args:
        top_k: Candidates per mask.
        tokenization: Truncation, its length and special tokens.
        targets: Ids that candidates are taken from; the whole vocabulary when ``None``.
    """

    top_k: int
    tokenization: Tokenization
    targets: tuple[int, ...] | None = None


def check_top_k(value: object) -> int:
    """The value, if it is a whole number of candidates.

    Raises:
        InputError: It is anything else.
    """
    return check_whole("top_k", value, least=0)


class FillMaskPipeline(Pipeline[str, Candidates, FillMaskSettings]):
    """Ranks what stands behind each mask of a text."""

    definition = TASK
    parameters: FillMaskPostProcessing

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        top_k: int | None = None,
        targets: str | Iterable[str] | None = None,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Fill the masks of texts.

        Args:
            inputs: A text, a list of texts, or any other iterable of them.
            top_k: Candidates per mask; the bundle's default, as a rule 5, when ``None``.
            targets: Words that candidates are taken from. One that is not a token counts as its
                first token, with a warning.
            tokenizer_kwargs: ``truncation``, ``max_length`` and ``add_special_tokens``, as upstream
                names them.
            batch_size: Rows per graph call at most.

        Returns:
            Per text a list of dictionaries ``score, token, token_str, sequence``, best first, or a
            list of such lists where it has several masks. A list of them for a list (for a list of
            one, that one's answer itself, as upstream), an iterator for another iterable.

        Raises:
            InputError: A text is no string, has no mask or is too long; ``top_k`` or ``targets``
                does not fit the vocabulary.
        """
        default = self.defaults
        settings = FillMaskSettings(
            top_k=default.top_k if top_k is None else check_top_k(top_k),
            targets=None if targets is None else self._target_ids(targets),
            tokenization=Tokenization.from_options(
                check_mapping("tokenizer_kwargs", tokenizer_kwargs), default.tokenization
            ),
        )
        single, texts = text_items(inputs)
        answer = self.respond(
            inputs,
            single=single,
            records=texts,
            read=check_text,
            settings=settings,
            batch_size=batch_size,
        )
        return answer[0] if isinstance(inputs, list) and len(inputs) == 1 else answer

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``; whoever reads records masks those that have no mask."""
        return check_text(field(record, "text"))

    def default_settings(self) -> FillMaskSettings:
        """The best of the whole vocabulary."""
        return FillMaskSettings(
            self.parameters.top_k, Tokenization.from_parameters(self.parameters)
        )

    def dataset_settings(self) -> FillMaskSettings:
        """As a call that cuts long text."""
        return replace(self.defaults, tokenization=CUT)

    def encode_items(self, items: Sequence[str], settings: FillMaskSettings) -> list[list[Row]]:
        """One row per text."""
        return [[row] for row in encode_texts(self.tokenizer, items, settings.tokenization)]

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """Name the masks' places, where the graph scores only those."""
        if not self._scores_masks_only:
            return feeds
        masks = feeds["input_ids"].reshape(-1) == self.tokenizer.required_mask_id  # (B * S,)
        return {**feeds, MASKED_POSITIONS: np.flatnonzero(masks)}

    def ragged_feeds(self, rows: Sequence[Row]) -> Feeds:
        """Name the masks' places among all tokens, where the graph scores only those."""
        return self.graph_feeds(super().ragged_feeds(rows))

    def split_outputs(self, rows: Sequence[Row], outputs: Outputs) -> list[Outputs]:
        """Logits (M, V) of all masks, row by row; or (S, V) where every token is scored."""
        if not self._scores_masks_only:
            return super().split_outputs(rows, outputs)
        mask_id = self.tokenizer.required_mask_id
        ends = np.cumsum([np.count_nonzero(row.input_ids == mask_id) for row in rows])
        return [{"logits": own} for own in np.split(outputs["logits"], ends[:-1])]

    @property
    def _scores_masks_only(self) -> bool:
        return any(spec.name == MASKED_POSITIONS for spec in self._session.inputs)

    def reduce(self, row: Row, outputs: Outputs, settings: FillMaskSettings) -> Candidates:
        """The row's best tokens; its logits (S, V) are not kept."""
        return find_candidates(
            row.input_ids,
            outputs["logits"],
            mask_id=self.tokenizer.required_mask_id,
            top_k=settings.top_k,
            targets=settings.targets,
        )

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[Candidates],
        settings: FillMaskSettings,
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """The candidates of the only mask, or of each.

        Raises:
            InputError: The row has no mask.
        """
        if len(reduced[0].positions) == 0:
            raise InputError(
                "text has no mask",
                expected=f"{self.tokenizer.mask_token} in it",
                got=shown(item),
            )
        answers = describe_candidates(
            rows[0].input_ids,
            reduced[0],
            pad_id=self.tokenizer.pad_id,
            spell=self.tokenizer.spell,
        )
        return answers[0] if len(answers) == 1 else answers

    def _target_ids(self, targets: str | Iterable[str]) -> tuple[int, ...]:
        found: dict[int, None] = {}
        _, words = text_items(targets, "targets")
        for target in words:
            index = self.tokenizer.token_to_id(check_text(target, "target"))
            if index is None:
                (row,) = self.tokenizer.encode(
                    [target], max_length=1, truncation="longest_first", add_special_tokens=False
                )
                if not row[0].ids:
                    warnings.warn(f"target {target!r} holds no token and is ignored", stacklevel=3)
                    continue
                index = row[0].ids[0]
                warnings.warn(
                    f"target {target!r} is not in the vocabulary; its first token "
                    f"{self.tokenizer.id_to_token(index)!r} stands for it",
                    stacklevel=3,
                )
            found[index] = None
        if not found:
            raise InputError("targets are empty", expected="at least one word", got="none")
        return tuple(sorted(found))
