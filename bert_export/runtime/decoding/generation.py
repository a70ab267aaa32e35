"""How one prompt grows: the next tokens from the scores of the last ones, step by step.

A :class:`Continuation` keeps what one prompt became so far. It is told the scores of the rows that
it runs and says which rows it runs next: one for the likeliest or a drawn token, several for beam
search. It knows nothing of a graph or of the prompts beside it, so an answer does not depend on
them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bert_export.runtime.decoding.logits import block_ngrams, block_tokens, penalize_repetition
from bert_export.runtime.decoding.ranking import largest
from bert_export.runtime.decoding.sampling import Sampling, draw_token, filter_logits

__all__ = [
    "BeamSearch",
    "Continuation",
    "Decoding",
    "EarlyStopping",
    "Single",
    "start_continuations",
]

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]
EarlyStopping = Literal[True, False, "never"]

_NEVER = np.float32(-1e9)
"""Added to the score of what must not be chosen, as the upstream library does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How tokens are chosen.

    Args:
        ends: Ids of the tokens that end a text.
        min_new_tokens: Tokens before one of them may come.
        repetition_penalty: See :func:`~bert_export.runtime.decoding.logits.penalize_repetition`.
        no_repeat_ngram_size: See :func:`~bert_export.runtime.decoding.logits.block_ngrams`.
        sampling: How tokens are drawn; the likeliest are taken when ``None``.
        num_beams: Texts that are kept side by side.
        length_penalty: A beam's score is divided by its new tokens to the power of this.
        early_stopping: When a beam search ends: with as many ended texts as beams, or where no
            running one can become better, judged by its present length, or for ``never`` by the
            longest that it may reach.
        num_return_sequences: Continuations of a prompt.
    """

    ends: tuple[int, ...]
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    sampling: Sampling | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: EarlyStopping = False
    num_return_sequences: int = 1

    @property
    def rows(self) -> int:
        """Rows of the graph that one prompt needs."""
        return max(self.num_beams, self.num_return_sequences)

    def allowed(self, scores: Scores, ids: Ids, new: int) -> Scores:
        """Scores (V,) of the next token, ``-inf`` where it must not come.

        Args:
            scores: float32 (V,).
            ids: int64 (S,), the prompt and its new tokens.
            new: How many are new.
        """
        scores = penalize_repetition(scores, ids, self.repetition_penalty)
        scores = block_ngrams(scores, ids, self.no_repeat_ngram_size)
        return block_tokens(scores, self.ends) if new < self.min_new_tokens else scores


class Continuation(ABC):
    """A prompt that grows.

    Attributes:
        tokens: The next token of every row that is run, int64 (R,).
        parents: Which of the rows before each of them continues, int64 (R,).
        done: Whether it grows no more; there are no rows then.
    """

    tokens: Ids
    parents: Ids
    done: bool = False

    @abstractmethod
    def advance(self, scores: Scores) -> None:
        """Choose the next tokens.

        Args:
            scores: Logits behind every row's last token, float32 (R, V); of the prompt alone first.
        """

    @property
    @abstractmethod
    def answers(self) -> list[Ids]:
        """The new tokens of each answer, int64 (N,), with the one that ended it."""


class Single(Continuation):
    """One text: the likeliest token each time, or a drawn one.

    Args:
        prompt: int64 (S,).
        most: Tokens that may come at most.
        decoding: How they are chosen.
        generator: Of the numbers that are drawn with.
    """

    parents = np.zeros(1, np.int64)

    def __init__(
        self, prompt: Ids, most: int, decoding: Decoding, generator: np.random.Generator
    ) -> None:
        self._ids = np.concatenate([prompt, np.zeros(most, np.int64)])
        self._begun, self._length = len(prompt), len(prompt)
        self._decoding, self._generator = decoding, generator

    def advance(self, scores: Scores) -> None:
        """See :meth:`Continuation.advance`."""
        decoding, length = self._decoding, self._length
        allowed = decoding.allowed(scores[0], self._ids[:length], length - self._begun)
        if decoding.sampling is None:
            token = int(allowed.argmax())
        else:
            token = draw_token(
                filter_logits(allowed, decoding.sampling), float(self._generator.random())
            )
        self._ids[length] = token
        self._length += 1
        self.tokens = self._ids[length : length + 1]
        self.done = token in decoding.ends or self._length == len(self._ids)

    @property
    def answers(self) -> list[Ids]:
        """The one answer so far."""
        return [self._ids[self._begun : self._length]]


class BeamSearch(Continuation):
    """The best of several texts that grow side by side.

    Args:
        prompt: int64 (S,).
        most: Tokens that may come at most.
        decoding: How they are chosen.

    Source: upstream's ``generate`` with ``num_beams``, whose scores and endings these are.
    """

    def __init__(self, prompt: Ids, most: int, decoding: Decoding) -> None:
        beams = decoding.num_beams
        self._decoding, self._most = decoding, most
        self._begun, self._length = len(prompt), len(prompt)
        # Two candidates per beam and end, so that enough are left where many end.
        self._candidates = max(2, 1 + len(decoding.ends)) * beams
        self._running = np.zeros((beams, len(prompt) + most), np.int64)
        self._running[:, : len(prompt)] = prompt
        # The beams are alike at first: only the first may be continued.
        self._scores = np.full(beams, _NEVER)
        self._scores[0] = 0
        self._ended = self._running.copy()
        self._ended_lengths = np.zeros(beams, np.int64)
        self._ended_scores = np.full(beams, _NEVER)
        self._has_ended = np.zeros(beams, bool)
        self._improves = True

    def advance(self, scores: Scores) -> None:
        """See :meth:`Continuation.advance`."""
        decoding, beams, length = self._decoding, self._decoding.num_beams, self._length
        new = length - self._begun
        shared = len(scores) == 1  # of the prompt, which all beams share
        if shared:
            scores = np.repeat(scores, beams, axis=0)
        # The best candidates of all beams.
        logs = np.stack(
            [
                decoding.allowed(row, ids[:length], new)
                for row, ids in zip(_log_softmax(scores), self._running, strict=True)
            ]
        )
        total = (logs + self._scores[:, None]).reshape(-1)  # (beams * V,)
        chosen = largest(total, self._candidates)
        best, parents, tokens = total[chosen], *np.divmod(chosen, logs.shape[1])
        texts = self._running[parents]
        texts[:, length] = tokens
        stopped = np.isin(tokens, decoding.ends) | (length + 1 == self._begun + self._most)
        # Those that go on.
        running = best + np.where(stopped, _NEVER, np.float32(0))
        on = largest(running, beams)
        self._running, self._scores = texts[on], running[on]
        self.tokens, self.parents = tokens[on], parents[on] * (not shared)  # one row was run
        # Those that ended, among the best that ended before.
        just_ended = stopped & (np.arange(len(chosen)) < beams)
        full = bool(self._has_ended.all()) and decoding.early_stopping is True
        final = best / _divisor(new + 1, decoding.length_penalty)
        final += (int(full) + int(not self._improves) + ~just_ended) * _NEVER
        merged = np.concatenate([self._ended_scores, final])
        kept = largest(merged, beams)
        self._ended_scores = merged[kept]
        self._ended = np.concatenate([self._ended, texts])[kept]
        self._ended_lengths = np.concatenate(
            [self._ended_lengths, np.full(len(chosen), length + 1)]
        )[kept]
        self._has_ended = np.concatenate([self._has_ended, just_ended])[kept]
        self._length += 1
        self._improves = self._improves and self._may_improve(new + 1)
        complete = bool(self._has_ended.all()) and decoding.early_stopping is True
        self.done = not self._improves or complete or bool(stopped.all())

    def _may_improve(self, new: int) -> bool:
        """Whether the best running text may become better than the worst that ended."""
        decoding = self._decoding
        longest = decoding.early_stopping == "never" and decoding.length_penalty > 0
        length = self._most if longest else new
        possible = self._scores[0] / _divisor(length, decoding.length_penalty)
        worst = np.where(self._has_ended, self._ended_scores.min(), _NEVER)
        return bool((possible > worst).any())

    @property
    def answers(self) -> list[Ids]:
        """The best texts, best first."""
        return [
            self._ended[place, self._begun : self._ended_lengths[place]]
            for place in range(self._decoding.num_return_sequences)
        ]


def start_continuations(prompt: Ids, most: int, decoding: Decoding) -> list[Continuation]:
    """What grows out of one prompt: a beam search, or as many texts as are asked for.

    Args:
        prompt: int64 (S,).
        most: Tokens that may come at most.
        decoding: How they are chosen.
    """
    if decoding.num_beams > 1:
        return [BeamSearch(prompt, most, decoding)]
    seed = None if decoding.sampling is None else decoding.sampling.seed
    return [
        Single(prompt, most, decoding, np.random.default_rng(_seed_of(seed, place)))
        for place in range(decoding.num_return_sequences)
    ]


def _divisor(length: int, penalty: float) -> np.float32:
    """What a beam's score is divided by, within bounds that leave the quotient a number."""
    with np.errstate(over="ignore", under="ignore"):
        power = np.power(np.float64(length), penalty)
    return np.float32(np.clip(power, 1e-28, 1e28))


def _seed_of(seed: int | None, place: int) -> int | Sequence[int] | None:
    """Of the sequence at a place: the call's own for the first."""
    return seed if seed is None or place == 0 else [seed, place]


def _log_softmax(logits: Scores) -> Scores:
    """Along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float32)
