"""What the demonstration heads learn: encode records, compute the loss, score the answers.

One class per kind of head. ``encode`` turns records into :class:`Row` values, ``loss`` takes a
batch of them, ``score`` gives a test set's figures with the metrics libraries of the field.
"""

from __future__ import annotations

import collections
import math
import re
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as entity_f1
from seqeval.metrics import precision_score as entity_precision
from seqeval.metrics import recall_score as entity_recall
from sklearn.metrics import accuracy_score, f1_score
from tokenizers import Encoding, Tokenizer
from torch import Tensor
from torch.nn import functional

from bert_export.models import BertHead
from scripts.demonstrations.data import Record

__all__ = ["OBJECTIVES", "Answers", "NextWord", "Objective", "Pretraining", "Row", "batches"]

IGNORED = -100
_PER_BATCH = 64
_FITTED_ROWS = 320  # that a start in closed form reads
_RIDGE = 0.2
_TRIED_TOKENS = 250
_LINEAR = 6.0  # where GELU gives what it gets, of numbers whose spread is 1
_FITTED_TEXTS = 1536  # that cross-attention's start reads
_OTHER_WORDS = 2048  # that a step of next words scores beside its own


@dataclass(frozen=True, slots=True)
class Row:
    """One example.

    Args:
        parts: Token ids, one list per choice; a single one everywhere but in multiple choice.
        types: Segment ids, of the same lengths.
        target: What the objective wants to see; its own affair.
    """

    parts: tuple[list[int], ...]
    types: tuple[list[int], ...]
    target: Any

    @property
    def length(self) -> int:
        """Tokens of the longest part."""
        return max(len(part) for part in self.parts)


Inputs = tuple[Tensor, Tensor, Tensor]


class Objective(Protocol):
    """What one kind of head is trained for."""

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Tokenize labelled records."""

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Mean loss of a batch, a scalar in float32."""

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Figures of a test set, the headline first."""


def batches(rows: Sequence[Row], size: int) -> Iterator[list[int]]:
    """Indices of the rows, those of similar length together, the longest first."""
    order = sorted(range(len(rows)), key=lambda index: -rows[index].length)
    for start in range(0, len(order), size):
        yield order[start : start + size]


def _pad(rows: Sequence[Row]) -> Inputs:
    """Ids, mask and types of shape (B, S); int64."""
    length = max(row.length for row in rows)
    return _stack(
        [(part, kind) for row in rows for part, kind in zip(row.parts, row.types, strict=True)],
        length,
    )


def _stack(parts: Sequence[tuple[list[int], list[int]]], length: int) -> Inputs:
    ids = torch.zeros(len(parts), length, dtype=torch.int64)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    for index, (part, kind) in enumerate(parts):
        ids[index, : len(part)] = torch.tensor(part)
        types[index, : len(kind)] = torch.tensor(kind)
        mask[index, : len(part)] = 1
    return ids, mask, types


def _single(encoding: Encoding, target: Any) -> Row:
    return Row((encoding.ids,), (encoding.type_ids,), target)


def _logits(head: BertHead, rows: Sequence[Row]) -> list[Tensor]:
    """The head's answer to every row, in the rows' order; padding is cut where it is per token."""
    answers: list[Tensor | None] = [None] * len(rows)
    with torch.inference_mode():
        for chosen in batches(rows, _PER_BATCH):
            picked = [rows[index] for index in chosen]
            for index, answer in zip(chosen, head(*_pad(picked)), strict=True):
                answers[index] = answer
    return [answer for answer in answers if answer is not None]


def _text_rows(
    tokenizer: Tokenizer, records: Sequence[Record], target: Callable[[Record], Any]
) -> list[Row]:
    """Rows of texts and pairs, with what ``target`` gives for each record."""
    tokenizer.enable_truncation(128)
    encodings = tokenizer.encode_batch(
        [
            (record["text"], record["text_pair"]) if "text_pair" in record else record["text"]
            for record in records
        ]
    )
    return [
        _single(encoding, target(record))
        for encoding, record in zip(encodings, records, strict=True)
    ]


@dataclass(frozen=True)
class Classification:
    """One label per text or pair."""

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are label ids."""
        names = list(self.labels)
        return _text_rows(self.tokenizer, records, lambda record: names.index(record["label"]))

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Cross entropy."""
        logits = head(*_pad(rows)).float()  # (B, L)
        return functional.cross_entropy(logits, torch.tensor([row.target for row in rows]))

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Accuracy and macro F1."""
        rows = self.encode(records)
        answers = [int(logits.argmax()) for logits in _logits(head, rows)]
        gold = [row.target for row in rows]
        return {
            "accuracy": float(accuracy_score(gold, answers)),
            "macro F1": float(f1_score(gold, answers, average="macro")),
        }


@dataclass(frozen=True)
class MultiLabel:
    """Any number of labels per text."""

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are lists of 0 and 1, one per label."""
        return _text_rows(
            self.tokenizer,
            records,
            lambda record: [float(label in record["labels"]) for label in self.labels],
        )

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Binary cross entropy, summed over the labels."""
        logits = head(*_pad(rows)).float()  # (B, L)
        wanted = torch.tensor([row.target for row in rows])  # (B, L)
        return functional.binary_cross_entropy_with_logits(logits, wanted) * wanted.size(1)

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """F1 at a probability of 0.5, and how often the whole set of labels is right."""
        rows = self.encode(records)
        answers = torch.stack(_logits(head, rows)).gt(0).numpy()
        gold = np.array([row.target for row in rows]) > 0
        return {
            "micro F1": float(f1_score(gold, answers, average="micro", zero_division=0)),
            "macro F1": float(f1_score(gold, answers, average="macro", zero_division=0)),
            "exact match": float(accuracy_score(gold, answers)),
        }


@dataclass(frozen=True)
class Regression:
    """One number per pair."""

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are the numbers."""
        return _text_rows(self.tokenizer, records, lambda record: record["label"])

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Mean squared error."""
        logits = head(*_pad(rows)).float()  # (B, 1)
        wanted = torch.tensor([row.target for row in rows])  # (B,)
        return functional.mse_loss(logits.squeeze(1), wanted)

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Spearman and Pearson correlation."""
        rows = self.encode(records)
        answers = torch.cat(_logits(head, rows)).numpy()
        gold = np.array([row.target for row in rows])
        return {
            "Spearman correlation": float(spearmanr(answers, gold)[0]),
            "Pearson correlation": float(pearsonr(answers, gold)[0]),
        }


@dataclass(frozen=True)
class Tagging:
    """One label per token.

    A word's later subwords continue its entity (``B-x`` and ``I-x`` become ``I-x``), so that
    token-level aggregation sees whole entities; the score reads first subwords alone.
    """

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are (label id per token, whether a token is the first of its word)."""
        self.tokenizer.enable_truncation(192)
        encodings = self.tokenizer.encode_batch(
            [record["tokens"] for record in records], is_pretokenized=True
        )
        return [
            _single(encoding, self._targets(encoding, record["tags"]))
            for encoding, record in zip(encodings, records, strict=True)
        ]

    def _targets(self, encoding: Encoding, tags: Sequence[str]) -> tuple[list[int], list[int]]:
        names = list(self.labels)
        ids, words = [], []
        for position, word in enumerate(encoding.word_ids):
            is_first = word is not None and word != encoding.word_ids[position - 1]
            words.append(word if is_first and word is not None else IGNORED)
            if word is None:
                ids.append(IGNORED)
            else:
                tag = tags[word]
                ids.append(names.index(tag if is_first else tag.replace("B-", "I-")))
        return ids, words

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Cross entropy over the tokens that are no special ones."""
        inputs = _pad(rows)
        logits = head(*inputs).float()  # (B, S, L)
        wanted = torch.full_like(inputs[0], IGNORED)  # (B, S)
        for index, row in enumerate(rows):
            wanted[index, : len(row.target[0])] = torch.tensor(row.target[0])
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Entity F1, precision and recall; a word that was cut off counts as O."""
        rows = self.encode(records)
        answers = []
        for record, row, logits in zip(records, rows, _logits(head, rows), strict=True):
            tags = ["O"] * len(record["tags"])
            for word, choice in zip(row.target[1], logits.argmax(dim=-1).tolist(), strict=False):
                if word != IGNORED:
                    tags[word] = self.labels[choice]
            answers.append(tags)
        gold = [record["tags"] for record in records]
        return {
            "entity F1": float(entity_f1(gold, answers)),
            "precision": float(entity_precision(gold, answers)),
            "recall": float(entity_recall(gold, answers)),
        }


@dataclass(frozen=True)
class _Window:
    """A stretch of a context, as scoring needs it."""

    record: int
    first: int
    offsets: list[tuple[int, int]]


@dataclass(frozen=True)
class Extraction:
    """The span of a context that answers a question, the CLS token where there is none."""

    tokenizer: Tokenizer
    labels: Sequence[str]
    longest: int = 30

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are (start, end, window); both are 0 where the window holds no answer."""
        self.tokenizer.enable_truncation(384, stride=128, strategy="only_second")
        rows = []
        for number, record in enumerate(records):
            whole = self.tokenizer.encode(record["question"], record["context"])
            for encoding in (whole, *whole.overflowing):
                first = encoding.sequence_ids.index(1)
                last = len(encoding.ids) - 1
                window = _Window(number, first, encoding.offsets[first:last])
                rows.append(_single(encoding, (*_find(window, record["answers"]), window)))
        return rows

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Mean cross entropy of start and end over the tokens that may be one."""
        inputs = _pad(rows)
        logits = torch.stack(head(*inputs), dim=1).float()  # (B, 2, S)
        logits = logits.masked_fill(inputs[1].unsqueeze(1) == 0, -1e4)
        wanted = torch.tensor([row.target[:2] for row in rows])  # (B, 2)
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """SQuAD's F1 and exact match; no answer where CLS beats every span.

        Where every record has an answer, one is always given. Records without an answer score 1
        for none; ``answered F1`` is over the others.
        """
        may_be_silent = any(not record["answers"]["text"] for record in records)
        guesses = self._guess(head, records, may_be_silent=may_be_silent)
        overlap, exact, answered = [], [], []
        for record, guess in zip(records, guesses, strict=True):
            gold = record["answers"]["text"] or [""]
            overlap.append(max(_word_f1(guess, answer) for answer in gold))
            exact.append(max(_normal(guess) == _normal(answer) for answer in gold))
            if record["answers"]["text"]:
                answered.append(overlap[-1])
        figures = {"answer F1": float(np.mean(overlap)), "exact match": float(np.mean(exact))}
        if may_be_silent:
            figures["answered F1"] = float(np.mean(answered))
        return figures

    def _guess(
        self, head: BertHead, records: Sequence[Record], *, may_be_silent: bool
    ) -> list[str]:
        rows = self.encode(records)
        best: list[tuple[float, str]] = [(-np.inf, "")] * len(records)
        silence = [np.inf] * len(records)
        with torch.inference_mode():
            for chosen in batches(rows, _PER_BATCH):
                start, end = head(*_pad([rows[index] for index in chosen]))
                for index, starts, ends in zip(chosen, start.numpy(), end.numpy(), strict=True):
                    window = rows[index].target[2]
                    context = records[window.record]["context"]
                    found = self._best(window, starts, ends, context)
                    best[window.record] = max(best[window.record], found)
                    silence[window.record] = min(silence[window.record], starts[0] + ends[0])
        return [
            "" if may_be_silent and none > score else answer
            for (score, answer), none in zip(best, silence, strict=True)
        ]

    def _best(
        self, window: _Window, starts: np.ndarray, ends: np.ndarray, context: str
    ) -> tuple[float, str]:
        """Largest start + end of at most ``longest`` tokens, inside the context."""
        inside = slice(window.first, window.first + len(window.offsets))
        sums = starts[inside, None] + ends[None, inside]  # (W, W)
        allowed = np.triu(np.ones(sums.shape, bool)) & ~np.triu(
            np.ones(sums.shape, bool), k=self.longest
        )
        sums = np.where(allowed, sums, -np.inf)
        first, last = divmod(int(sums.argmax()), sums.shape[1])
        answer = context[window.offsets[first][0] : window.offsets[last][1]]
        return float(sums[first, last]), answer


def _find(window: _Window, answers: Mapping[str, Sequence[Any]]) -> tuple[int, int]:
    """Token positions of the first answer that the window holds whole; (0, 0) for none."""
    for text, begin in zip(answers["text"], answers["answer_start"], strict=True):
        stop = begin + len(text.rstrip())
        begin += len(text) - len(text.lstrip())
        inside = [
            window.first + index
            for index, (left, right) in enumerate(window.offsets)
            if left < stop and right > begin
        ]
        covered = window.offsets[0][0] <= begin and stop <= window.offsets[-1][1]
        if inside and covered:
            return inside[0], inside[-1]
    return 0, 0


def _normal(answer: str) -> str:
    """As SQuAD compares: lower case, no punctuation, no articles, single spaces."""
    bare = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _word_f1(guess: str, answer: str) -> float:
    ours, gold = _normal(guess).split(), _normal(answer).split()
    if not ours or not gold:
        return float(ours == gold)
    shared = sum((collections.Counter(ours) & collections.Counter(gold)).values())
    return 2 * shared / (len(ours) + len(gold))


@dataclass(frozen=True)
class Choice:
    """Which of several continuations fits."""

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are indices of choices."""
        self.tokenizer.enable_truncation(128)
        rows = []
        for record in records:
            encodings = self.tokenizer.encode_batch(
                [(record["prompt"], choice) for choice in record["choices"]]
            )
            parts = tuple(encoding.ids for encoding in encodings)
            rows.append(Row(parts, tuple(part.type_ids for part in encodings), record["label"]))
        return rows

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Cross entropy over the choices."""
        wanted = torch.tensor([row.target for row in rows])
        return functional.cross_entropy(head(*self._pad(rows)).float(), wanted)

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Accuracy."""
        rows = self.encode(records)
        hits = 0
        with torch.inference_mode():
            for chosen in batches(rows, _PER_BATCH // 4):
                picked = [rows[index] for index in chosen]
                guesses = head(*self._pad(picked)).argmax(dim=1).tolist()
                hits += sum(row.target == guess for row, guess in zip(picked, guesses, strict=True))
        return {"choice accuracy": hits / len(rows)}

    def _pad(self, rows: Sequence[Row]) -> Inputs:
        """Ids, mask and types of shape (B, C, S)."""
        choices = len(rows[0].parts)
        ids, mask, types = (tensor.view(len(rows), choices, -1) for tensor in _pad(rows))
        return ids, mask, types


@dataclass(frozen=True)
class Pretraining:
    """Masked words and next sentence (Devlin 2018, section 3.1).

    Of the tokens that are no special ones 15 % are hidden: 80 % of these become ``[MASK]``, 10 %
    another token, 10 % stay. Training draws them anew for every batch; scoring draws them once,
    from a seed of its own.
    """

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are 0 where the second text is next and 1 where it is not, as in the head."""
        return _text_rows(self.tokenizer, records, lambda record: 1 - record["label"])

    def loss(self, head: BertHead, rows: Sequence[Row]) -> Tensor:
        """Cross entropy of the hidden words plus twice that of the pair, the smaller of the two."""
        (ids, mask, types), pairs = _pad(rows), torch.tensor([row.target for row in rows])
        hidden, shown = self._hide(ids, mask, None)
        words, relation = _both(head, (shown, mask, types), hidden)
        pair_loss = functional.cross_entropy(relation.float(), pairs)
        return functional.cross_entropy(words.float(), ids[hidden]) + 2 * pair_loss

    def score(self, head: BertHead, records: Sequence[Record]) -> dict[str, float]:
        """Share of hidden words guessed right, share of pairs judged right."""
        rows = self.encode(records)
        dice = torch.Generator().manual_seed(0)
        right, seen, pairs = 0, 0, 0
        with torch.inference_mode():
            for chosen in batches(rows, _PER_BATCH // 2):
                picked = [rows[index] for index in chosen]
                ids, mask, types = _pad(picked)
                hidden, shown = self._hide(ids, mask, dice)
                words, relation = _both(head, (shown, mask, types), hidden)
                right += int((words.argmax(dim=1) == ids[hidden]).sum())
                seen += int(hidden.sum())
                wanted = torch.tensor([row.target for row in picked])
                pairs += int((relation.argmax(dim=1) == wanted).sum())
        return {
            "masked-token accuracy": right / seen,
            "next-sentence accuracy": pairs / len(rows),
            "masked tokens": float(seen),
        }

    def start_from_frequencies(self, head: BertHead, rows: Sequence[Row]) -> None:
        """Set the decoder's bias to the log share of every word in the rows, one added to each.

        Few steps would move a bias per word only a little; this way they learn from context.
        """
        special = {self.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
        _start_from_frequencies(
            head, [[token for token in row.parts[0] if token not in special] for row in rows]
        )

    def _hide(
        self, ids: Tensor, mask: Tensor, dice: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Which tokens are hidden, bool (B, S), and the ids that the model sees, (B, S)."""
        special = [self.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]", "[PAD]")]
        open_ = mask.bool() & ~torch.isin(ids, torch.tensor(special))
        hidden = open_ & (torch.rand(ids.shape, generator=dice) < 0.15)
        fate = torch.rand(ids.shape, generator=dice)
        others = torch.randint(1000, self.tokenizer.get_vocab_size(), ids.shape, generator=dice)
        shown = torch.where(hidden & (fate < 0.8), self.tokenizer.token_to_id("[MASK]"), ids)
        return hidden, torch.where(hidden & (fate >= 0.9), others, shown)


def _ridge(covariance: Tensor) -> Tensor:
    """A covariance (H, H) with a share of its mean variance added to each."""
    return covariance + _RIDGE * covariance.diagonal().mean() * torch.eye(len(covariance))


def _start_from_frequencies(head: BertHead, texts: Sequence[Sequence[int]]) -> None:
    """Set the bias of every word to the log of its share of the texts, counted once more."""
    bias = head.get_parameter("cls.predictions.decoder.bias")
    counts = torch.ones(len(bias))
    for ids in texts:
        counts += torch.bincount(torch.tensor(ids), minlength=len(counts))
    bias.data.copy_((counts / counts.sum()).log())


@dataclass(frozen=True)
class NextWord:
    """The token behind every token of a text (Radford 2018, section 3.1).

    A training step scores the words that come in its batch and a sample of all others, which stands
    for all of them: most of a step would go into words that nobody writes.
    """

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are the ids without the first; the last of them is ``[SEP]``."""
        rows = _text_rows(self.tokenizer, records, lambda _: None)
        return [Row((row.parts[0][:-1],), (row.types[0][:-1],), row.parts[0][1:]) for row in rows]

    def loss(self, head: Any, rows: Sequence[Row]) -> Tensor:
        """Mean cross entropy of the next tokens, the sum over all words estimated."""
        states, wanted = self._next(head, rows)  # (M, H), (M,)
        return _sampled_loss(head.cls.predictions, states, wanted, wanted)

    def score(self, head: Any, records: Sequence[Record]) -> dict[str, float]:
        """Share of next tokens guessed right, and the perplexity."""
        rows = self.encode(records)
        right, total, seen = 0, 0.0, 0
        with torch.inference_mode():
            for chosen in batches(rows, _PER_BATCH // 4):
                states, wanted = self._next(head, [rows[index] for index in chosen])
                words = head.cls.predictions(states)  # (M, V)
                right += int((words.argmax(dim=1) == wanted).sum())
                total += float(functional.cross_entropy(words.float(), wanted, reduction="sum"))
                seen += len(wanted)
        return {
            "next-token accuracy": right / seen,
            "perplexity": math.exp(total / seen),
            "tokens": float(seen),
        }

    def start_from_frequencies(self, head: Any, rows: Sequence[Row]) -> None:
        """Set the biases to the words' frequencies and the transform to a fit in closed form.

        To first order in the scores, the best log-linear ones are ``log p(w) + e_w . A (s - mean)``
        with ``A = cov(e)^-1 cov(e_next, s) cov(s)^-1`` of the states s and the words' vectors e,
        which one pass over some text gives. The transform's norm keeps the direction of ``A s``;
        how long it is, is tried.
        """
        _start_from_frequencies(head, [row.target for row in rows])
        words = head.cls.predictions
        table = words.decoder.weight.detach()  # (V, H)
        share = torch.softmax(words.decoder.bias.detach(), dim=0)  # (V,)
        vectors = table - share @ table  # (V, H)
        with torch.no_grad():
            parts = [
                self._next(head, rows[start : start + _PER_BATCH // 4])
                for start in range(0, min(len(rows), _FITTED_ROWS), _PER_BATCH // 4)
            ]
            states = torch.cat([found for found, _ in parts])  # (M, H)
            wanted = torch.cat([ids for _, ids in parts])  # (M,)
            mean, next_ = states.mean(dim=0), vectors[wanted]
            spread = _ridge(torch.cov(states.T, correction=0))
            shared = (next_ - next_.mean(dim=0)).T @ (states - mean) / len(wanted)
            fit = torch.linalg.solve(_ridge((vectors * share[:, None]).T @ vectors), shared)
            fit = torch.linalg.solve(spread, fit.T).T  # (H, H)
            size = ((fit @ spread) * fit).sum(dim=1).mean().sqrt()  # of A s, per number
            words.transform.dense.weight.data.copy_(fit / size)
            words.transform.dense.bias.data.copy_(_LINEAR - fit @ mean / size)
            # The length that tells most of some text.
            some = slice(0, None, max(1, len(wanted) // _TRIED_TOKENS))
            losses = {}
            for length in torch.logspace(-2.5, 0.5, 16).tolist():
                words.transform.LayerNorm.weight.data.fill_(length)
                losses[length] = float(
                    functional.cross_entropy(words(states[some]).float(), wanted[some])
                )
        best = min(losses, key=lambda length: losses[length])
        words.transform.LayerNorm.weight.data.fill_(best)

    def _next(self, head: BertHead, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """States (M, H) of every token, and the ids (M,) that came next."""
        learns = any(parameter.requires_grad for parameter in head.bert.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            states = head.encode(*_pad(rows))  # (B, S, H)
        behind = torch.cat([states[index, : row.length] for index, row in enumerate(rows)])
        wanted = torch.tensor([token for row in rows for token in row.target])
        return behind, wanted


def _sampled_loss(words: Any, states: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Mean cross entropy over all words, most of which a sample stands for.

    Args:
        words: The head that scores words.
        states: (M, H).
        wanted: Ids of the words behind the states, (M,).
        known: Ids of words that are scored by themselves, (K,), the wanted ones among them.
    """
    decoder = words.decoder
    own = torch.zeros(len(decoder.bias), dtype=torch.bool)
    own[known] = True
    others = torch.randperm(len(own))[:_OTHER_WORDS]
    chosen = torch.unique(torch.cat([known, others]))  # (W,), in order
    drawn = ~own[chosen]
    each = torch.log((~own).sum() / drawn.sum().clamp(min=1))  # stand behind a drawn one
    logits = functional.linear(
        words.transform(states), decoder.weight[chosen], decoder.bias[chosen]
    )  # (M, W)
    logits = logits.float() + torch.where(drawn, each, 0.0)
    return functional.cross_entropy(logits, torch.searchsorted(chosen, wanted))


@dataclass(frozen=True)
class Answers:
    """A short answer to a text, word by word (Rothe 2020).

    A step scores the words of its texts and answers, and a sample of all others, see
    :class:`NextWord`.
    """

    tokenizer: Tokenizer
    labels: Sequence[str]

    def encode(self, records: Sequence[Record]) -> list[Row]:
        """Targets are the answers' ids, from ``[CLS]`` to ``[SEP]``."""
        rows = _text_rows(self.tokenizer, records, lambda _: None)
        summaries = self.tokenizer.encode_batch([record["summary"] for record in records])
        return [replace(row, target=own.ids) for row, own in zip(rows, summaries, strict=True)]

    def loss(self, head: Any, rows: Sequence[Row]) -> Tensor:
        """Mean cross entropy of the next tokens, the sum over all words estimated."""
        states, wanted = self._next(head, rows)  # (M, H), (M,)
        texts = torch.tensor([token for row in rows for token in row.parts[0]])
        known = torch.cat([wanted, texts])
        return _sampled_loss(head.decoder.cls.predictions, states, wanted, known)

    def score(self, head: Any, records: Sequence[Record]) -> dict[str, float]:
        """Next tokens guessed right; answers without beams that are right, whole and in parts.

        A part is what stands between commas behind the first. Its F1 counts every part once.
        """
        rows = self.encode(records)
        right, seen, whole = 0, 0, 0
        hits, given, wanted = 0, 0, 0
        with torch.inference_mode():
            for chosen in batches(rows, _PER_BATCH):
                some = [rows[index] for index in chosen]
                states, ids = self._next(head, some)
                right += int((head.decoder.cls.predictions(states).argmax(dim=1) == ids).sum())
                seen += len(ids)
                for row, answer in zip(some, self._answer(head, some), strict=True):
                    found, gold = self._parts(answer), self._parts(row.target)
                    whole += found == gold
                    hits += len({*found[1:]} & {*gold[1:]})
                    given, wanted = given + len({*found[1:]}), wanted + len({*gold[1:]})
        return {
            "next-token accuracy": right / seen,
            "exact match": whole / len(rows),
            "parts F1": 2 * hits / max(1, given + wanted),
        }

    def _parts(self, ids: Sequence[int]) -> list[str]:
        return str(self.tokenizer.decode(list(ids))).split(", ")

    def _answer(self, head: Any, rows: Sequence[Row]) -> list[list[int]]:
        """The likeliest token each time, until ``[SEP]`` or as long as the longest target."""
        ids, mask, _ = _pad(rows)
        end = rows[0].target[-1]
        own = torch.tensor([[row.target[0]] for row in rows])  # (B, 1)
        past: tuple[Tensor, ...] = ()
        layers = len(head.decoder.bert.encoder.layer)
        while own.size(1) < max(len(row.target) for row in rows) + 4:
            scores, *kept = head(ids, mask, own[:, -1:], torch.ones_like(own), *past)
            past = tuple(kept[: 2 * layers])
            own = torch.cat([own, scores[:, -1].argmax(dim=1, keepdim=True)], dim=1)
        return [answer[: answer.index(end)] if end in answer else answer for answer in own.tolist()]

    def start_from_words(self, head: Any, rows: Sequence[Row]) -> None:
        """Let cross-attention begin by reading on: the word behind the one that was said last.

        Queries tell the answer's last word, keys the word before each of the text, and values the
        word itself, each fitted in closed form to the states of some text; words are told apart by
        their vectors, made as unlike as they are. A random rotation spreads each over all heads.
        """
        words = head.encoder.embeddings.word_embeddings.weight.detach()
        vectors = words - words.mean(dim=0)  # (V, H)
        texts, own = [], []
        with torch.no_grad():
            for start in range(0, min(len(rows), _FITTED_TEXTS), _PER_BATCH):
                some = rows[start : start + _PER_BATCH]
                ids, mask, _ = _pad(some)
                behind = mask[:, 1:].bool()
                states = head.encoder(ids, mask, None)[:, 1:][behind]
                texts.append((states, ids[:, 1:][behind], ids[:, :-1][behind]))
                own.append(self._own(head, some))
            states, here, before = map(torch.cat, zip(*texts, strict=True))
            said, last = map(torch.cat, zip(*own, strict=True))
            values = _affine(states, vectors[here])
            spread = torch.linalg.eigh(torch.cov(vectors[here].T, correction=0))
            scale = (spread.eigenvalues + 1e-3 * spread.eigenvalues.max()).rsqrt()
            apart = spread.eigenvectors @ torch.diag(scale) @ spread.eigenvectors.T
            turned, turned_too = (torch.linalg.qr(torch.randn_like(apart))[0] for _ in range(2))
            cross = head.decoder.bert.encoder.layer[-1].crossattention
            for layer, (weight, bias), turn in (
                (cross.self.query, _affine(said, vectors[last]), turned @ apart),
                (cross.self.key, _affine(states, vectors[before]), turned @ apart),
                (cross.self.value, values, turned_too / (2 * vectors[here].std())),
            ):
                layer.weight.copy_(turn @ weight)
                layer.bias.copy_(turn @ bias)
            cross.output.dense.weight.copy_(2 * turned_too.T)
            cross.output.dense.bias.zero_()

    def _own(self, head: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """The states that the last layer's cross-attention asks with, (M, H), and their ids."""
        ids, mask = _pad_targets(rows)
        bert = head.decoder.bert
        states = bert.embeddings(ids, None)
        for layer in bert.encoder.layer[:-1]:
            states = layer.attention(states, bert.additive(mask))[0]
        states = bert.encoder.layer[-1].attention(states, bert.additive(mask))[0]
        return states[mask.bool()], ids[mask.bool()]

    def _next(self, head: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """States (M, H) of every token of the answers but the last, and the ids that come next."""
        ids, mask, _ = _pad(rows)
        own, own_mask = _pad_targets(rows, without_last=True)
        encoded = head.encoder(ids, mask, None)  # (B, E, H)
        additive, bert = head.encoder.additive(mask), head.decoder.bert
        held = [
            (*layer.crossattention.self.project(encoded), additive) for layer in bert.encoder.layer
        ]
        empty = torch.zeros(len(ids), head.heads, 0, head.head_size)
        past = [(empty, empty) for _ in held]
        states, _ = bert.forward_cached(own, own_mask, None, past, held)  # (B, S, H)
        wanted = torch.tensor([token for row in rows for token in row.target[1:]])
        return states[own_mask.bool()], wanted


def _pad_targets(rows: Sequence[Row], *, without_last: bool = False) -> tuple[Tensor, Tensor]:
    """Ids and mask of the answers, (B, S)."""
    end = -1 if without_last else None
    own = [row.target[:end] for row in rows]
    ids, mask, _ = _stack([(part, []) for part in own], max(map(len, own)))
    return ids, mask


def _affine(states: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (H, H) and bias (H,) that give vectors (M, H) of states (M, H) best, by a ridge."""
    mean, goal = states.mean(dim=0), vectors.mean(dim=0)
    spread = torch.cov(states.T, correction=0)
    spread = spread + 1e-2 * states.var() * torch.eye(len(spread))
    shared = (states - mean).T @ (vectors - goal) / len(states)
    weight = torch.linalg.solve(spread, shared).T
    return weight, goal - weight @ mean


def _both(head: Any, inputs: Inputs, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Word scores of the hidden tokens alone, (M, V), and pair scores, (B, 2)."""
    states = head.encode(*inputs)  # (B, S, H)
    return head.cls.predictions(states[hidden]), head.cls.seq_relationship(head.bert.pool(states))


OBJECTIVES: Mapping[str, Callable[[Tokenizer, Sequence[str]], Objective]] = {
    "single-label": Classification,
    "multi-label": MultiLabel,
    "regression": Regression,
    "tagging": Tagging,
    "extraction": Extraction,
    "choice": Choice,
    "pretraining": Pretraining,
    "answers": Answers,
    "next word": NextWord,
}
