"""The words that fit behind ``[MASK]``, as the upstream ``fill-mask`` pipeline ranks them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError, shown
from bert_export.runtime.batching import Row
from bert_export.runtime.checks import check_mapping, check_whole
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.softmax import softmax
from bert_export.runtime.pipelines.texts import (
    CUT,
    UNCUT,
    Tokenization,
    check_text,
    encode_texts,
    field,
    text_items,
)
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks.fill_mask import TASK
from bert_export.tasks.interface import MASKED_POSITIONS

__all__ = [
    "Candidates",
    "FillMaskPipeline",
    "FillMaskSettings",
    "best_candidates",
    "check_top_k",
    "describe_candidates",
    "find_candidates",
]


"""Characters of a text that an error quotes."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best tokens of every mask of a row.

    Args:
        positions: int64 (M,), where the masks stand.
        ids: int64 (M, K), best first.
        scores: float32 (M, K), probabilities over the whole vocabulary.
    """

    positions: NDArray[np.int64]
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FillMaskSettings:
    """A call's choices.

    Args:
        top_k: Candidates per mask.
        targets: Ids that candidates are taken from; the whole vocabulary when ``None``.
        tokenization: Truncation, its length and special tokens.
    """

    top_k: int = 5
    targets: tuple[int, ...] | None = None
    tokenization: Tokenization = UNCUT


def best_candidates(
    logits: NDArray[np.float32], *, top_k: int, targets: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Rank the vocabulary behind every mask.

    Probabilities are taken over the whole vocabulary first and restricted to ``targets`` then, so
    those of the targets do not sum to one. Equal probabilities keep the order of ``targets``, or of
    ids.

    Args:
        logits: float32 (M, V).
        top_k: Candidates per mask; all targets where they are fewer.
        targets: Ids without repetition.

    Returns:
        Ids int64 (M, K) and probabilities float32 (M, K), best first.

    Raises:
        InputError: ``top_k`` is above the size of the vocabulary.
    """
    probabilities = softmax(logits)  # (M, V)
    if targets is None:
        allowed = np.arange(logits.shape[-1])
    else:
        allowed = np.asarray(targets, dtype=np.int64)  # (T,)
        probabilities = probabilities[:, allowed]
        top_k = min(top_k, len(allowed))
    if top_k > len(allowed):
        raise InputError("top_k is too large", expected=f"at most {len(allowed)}", got=top_k)
    order = _largest(probabilities, top_k)  # (M, K)
    return allowed[order], np.take_along_axis(probabilities, order, axis=-1)


def find_candidates(
    input_ids: NDArray[np.int64],
    logits: NDArray[np.float32],
    *,
    mask_id: int,
    top_k: int,
    targets: Sequence[int] | None = None,
) -> Candidates:
    """Rank the vocabulary behind every mask of a row; see :func:`best_candidates`.

    Args:
        input_ids: int64 (S,).
        logits: float32 (S, V), of which only the masks' rows are read, or just these, (M, V).
        mask_id: Which id is a mask.
        top_k: Candidates per mask.
        targets: Ids that they are taken from.
    """
    positions = np.flatnonzero(input_ids == mask_id)  # (M,)
    if len(logits) != len(positions):
        logits = logits[positions]  # (M, V)
    return Candidates(positions, *best_candidates(logits, top_k=top_k, targets=targets))


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Indices of the ``count`` largest values of each row, largest first, ties by index."""
    if count == 0:
        return np.empty((len(values), 0), dtype=np.intp)
    least = np.partition(values, -count, axis=-1)[:, -count, None]  # (M, 1)
    order = np.empty((len(values), count), dtype=np.intp)
    for row, (own, bound) in enumerate(zip(values, least, strict=True)):
        kept = np.flatnonzero(own >= bound)
        order[row] = kept[np.argsort(-own[kept], kind="stable")[:count]]
    return order


def describe_candidates(
    tokenizer: Tokenizer,
    input_ids: NDArray[np.int64],
    found: Candidates,
    *,
    clean_up: bool = False,
) -> list[list[dict[str, Any]]]:
    """Spell candidates out: one list per mask, one dictionary per candidate.

    ``sequence`` is the row with the candidate in place; where it has several masks the special
    tokens are kept, or the other masks would vanish from it.

    Args:
        tokenizer: Decodes ids.
        input_ids: int64 (S,), the row.
        found: Its candidates.
        clean_up: Whether decoding removes the spaces before punctuation.
    """
    single = len(found.positions) == 1
    answers = []
    for position, ids, scores in zip(
        found.positions.tolist(), found.ids.tolist(), found.scores.tolist(), strict=True
    ):
        answer = []
        for token, score in zip(ids, scores, strict=True):
            filled = input_ids.copy()
            filled[position] = token
            filled = filled[filled != tokenizer.pad_id]
            answer.append(
                {
                    "score": score,
                    "token": token,
                    "token_str": tokenizer.decode(
                        [token], skip_special_tokens=False, clean_up=clean_up
                    ),
                    "sequence": tokenizer.decode(
                        filled.tolist(), skip_special_tokens=single, clean_up=clean_up
                    ),
                }
            )
        answers.append(answer)
    return answers


def check_top_k(value: object) -> int:
    """The value, if it is a whole number of candidates.

    Raises:
        InputError: It is anything else.
    """
    return check_whole("top_k", value, least=0)


class FillMaskPipeline(Pipeline[str, Candidates, FillMaskSettings]):
    """Ranks what stands behind each mask of a text."""

    definition = TASK

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
            top_k: Candidates per mask, 5 when ``None``.
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
        settings = FillMaskSettings(
            5 if top_k is None else check_top_k(top_k),
            None if targets is None else self._target_ids(targets),
            Tokenization.from_options(check_mapping("tokenizer_kwargs", tokenizer_kwargs)),
        )
        single, items = text_items(inputs)
        answer = self.respond(
            inputs, single=single, items=items, settings=settings, batch_size=batch_size
        )
        return answer[0] if isinstance(inputs, list) and len(inputs) == 1 else answer

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text``; whoever reads records masks those that have no mask."""
        return check_text(field(record, "text"))

    def default_settings(self) -> FillMaskSettings:
        """The five best of the whole vocabulary."""
        return FillMaskSettings()

    def dataset_settings(self) -> FillMaskSettings:
        """As a call that cuts long text."""
        return FillMaskSettings(tokenization=CUT)

    def encode(self, items: Sequence[str], settings: FillMaskSettings) -> list[list[Row]]:
        """One row per text."""
        texts = [check_text(item) for item in items]
        return [[row] for row in encode_texts(self.tokenizer, texts, settings.tokenization)]

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """Name the masks' places, where the graph scores only those."""
        if not self._scores_masks_only:
            return feeds
        masks = feeds["input_ids"].reshape(-1) == self.tokenizer.required_mask_id  # (B * S,)
        return {**feeds, MASKED_POSITIONS: np.flatnonzero(masks)}

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
            self.tokenizer,
            rows[0].input_ids,
            reduced[0],
            clean_up=self.tokenizer.record.clean_up_tokenization_spaces,
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
