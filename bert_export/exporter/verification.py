"""The gate: an exported graph answers as the PyTorch head does, or there is no bundle.

Both are run on rows of real text and on shapes that break exports: one token, the longest row, very
unequal rows in one batch, a row that is nearly all padding, emoji, unknown characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import ParityCase, ParityRecord
from bert_export.errors import VerificationError
from bert_export.runtime.batching import Row, batch_rows, pad_rows, row_from_encoding
from bert_export.runtime.sessions.session import Array, Feeds, Outputs
from bert_export.runtime.tokenization import Tokenizer

__all__ = [
    "FP32_TOLERANCE",
    "MIN_AGREEMENT",
    "MIN_RARE_AGREEMENT",
    "Case",
    "agreement",
    "make_cases",
    "rare_agreement",
    "verify",
]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference of a float32 graph's outputs from the head's."""

MIN_AGREEMENT: Mapping[str, float] = {
    "label": 0.90,
    "token": 0.90,
    "mask": 0.85,
    "span": 0.85,
    "sign": 0.95,
    "concordance": 0.98,
    "cosine": 0.98,
}
"""Least agreement of an INT8 graph with the head on real text, by kind."""

MIN_RARE_AGREEMENT = 0.5
"""Least share of the head's rarer answers (entities, labels that hold) that a graph keeps: one that
always gives the usual answer agrees with a head that mostly does."""

_TOKEN_BUDGET = 1024
_FEW = 10  # rarer answers, that tell nothing
_AWKWARD_TEXTS = (
    "🙂🚀👩‍👩‍👧 done ✅",
    "ᚠᛇᚻ ᛒᛦᚦ 𒀀𒈾 ꧁꧂ unknown",
    "naïve façade — Ünïcödé, 東京都, Привет",
    "a",
    "!?",
)


@dataclass(frozen=True, slots=True)
class Case:
    """Feeds of one batch and what is peculiar about them.

    Args:
        name: What the batch tries.
        feeds: int64 arrays by input name, axes as the graph's.
        real: Whether the rows are real text, on which agreement is measured.
    """

    name: str
    feeds: Feeds
    real: bool


def make_cases(
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    shape_feeds: Callable[[Feeds], Feeds],
    real_rows: int = 128,
    seed: int = 0,
) -> list[Case]:
    """Batches of real text and of awkward shapes.

    Args:
        tokenizer: Of the checkpoint; its ``max_length`` is tried.
        rows: Rows of real text, as the task makes them.
        shape_feeds: Gives (B, S) feeds the axes of the graph's inputs.
        real_rows: How many of ``rows`` are compared, spread over all of them.
        seed: Of the random ids that fill the longest rows.
    """
    rng = np.random.default_rng(seed)
    step = max(1, len(rows) // real_rows)
    chosen = list(rows[::step][:real_rows])
    extras = tuple(chosen[0].extra or ())
    cases = []
    for batch in batch_rows([len(row) for row in chosen], token_budget=_TOKEN_BUDGET):
        feeds = pad_rows([chosen[index] for index in batch], pad_id=tokenizer.pad_id)
        cases.append(Case("real text", shape_feeds(feeds), real=True))

    def case(name: str, lengths: Sequence[int], *, padded: int | None = None) -> Case:
        shape = (len(lengths), padded or max(lengths))
        ids = rng.integers(0, tokenizer.vocab_size, shape)
        mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int64)  # (B, S)
        ids = np.where(mask == 1, ids, tokenizer.pad_id)
        ids[:, 0] = tokenizer.cls_id
        if tokenizer.mask_id is not None:
            longer = [row for row, length in enumerate(lengths) if length > 1]
            ids[longer, [lengths[row] - 1 for row in longer]] = tokenizer.mask_id
        feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return Case(name, shape_feeds(feeds | dict.fromkeys(extras, mask)), real=False)

    longest = tokenizer.max_length
    cases += [
        case("one token", [1]),
        case("longest row", [longest]),
        case("unequal rows", [1, max(2, longest // 2), 3, longest]),
        case("nearly all padding", [2, 2], padded=longest),
        case("many short rows", [min(4, longest)] * 33),
    ]
    encoded = tokenizer.encode(list(_AWKWARD_TEXTS))
    awkward = [row_from_encoding(windows[0]) for windows in encoded]
    feeds = pad_rows(awkward, pad_id=tokenizer.pad_id)
    for name in extras:
        feeds[name] = feeds["attention_mask"]
    cases.append(Case("emoji and unknown characters", shape_feeds(feeds), real=False))
    return cases


def verify(
    run: Callable[[Feeds], Outputs],
    answers: Sequence[tuple[Case, Outputs]],
    *,
    kind: str,
    per_token: frozenset[str],
    tolerance: float | None,
    advance: Callable[[int, int], None] | None = None,
) -> ParityRecord:
    """Compare a graph with the head it came from.

    Args:
        run: The graph.
        answers: Cases of :func:`make_cases`, each with the outputs of the PyTorch head in float32.
        kind: What "the same answer" means: a key of :data:`MIN_AGREEMENT`.
        per_token: Outputs whose second axis is the sequence; only unpadded tokens are compared.
        tolerance: Bound on the absolute difference; ``None`` gates on agreement alone.
        advance: Called with (cases done, cases in all).

    Returns:
        The figures, all of them within their bounds.

    Raises:
        VerificationError: A figure is out of its bound, or an output is not finite, be it the
            graph's or the head's own.
    """
    worst: dict[str, tuple[int, float]] = {}
    pairs: list[tuple[str, Array, Array, NDArray[np.bool_]]] = []
    for done, (case, expected) in enumerate(answers, 1):
        mask = case.feeds["attention_mask"].astype(bool)  # (B, S) or (B, C, S)
        found = run(case.feeds)
        rows, difference = worst.get(case.name, (0, 0.0))
        for name, right in expected.items():
            kept = mask if name in per_token else np.ones(right.shape[:1], dtype=bool)
            left = found[name]
            if not np.isfinite(right[kept]).all():
                raise VerificationError(
                    f"PyTorch head's {name} is wrong on {case.name!r}",
                    expected="finite values",
                    got="values that are not",
                    fix="Check the checkpoint's weights",
                )
            if left.shape != right.shape or not np.isfinite(left[kept]).all():
                same = left.shape == right.shape
                raise VerificationError(
                    f"output {name} is wrong on {case.name!r}",
                    expected=f"finite values of shape {right.shape}",
                    got="values that are not" if same else f"shape {left.shape}",
                )
            difference = max(difference, float(np.abs(left[kept] - right[kept]).max(initial=0.0)))
            if case.real:
                pairs.append((name, left, right, kept))
        worst[case.name] = rows + mask.shape[0], difference
        if advance is not None:
            advance(done, len(answers))
    parity = ParityRecord(
        reference="PyTorch float32",
        max_abs_difference=max(difference for _, difference in worst.values()),
        tolerance=tolerance,
        agreement=agreement(kind, pairs),
        min_agreement=MIN_AGREEMENT[kind],
        agreement_kind=kind,
        cases=tuple(
            ParityCase(name=name, rows=rows, max_abs_difference=difference)
            for name, (rows, difference) in worst.items()
        ),
    )
    _gate(parity)
    rare = rare_agreement(kind, pairs)
    if rare is not None and rare < MIN_RARE_AGREEMENT:
        raise VerificationError(
            f"graph loses the PyTorch head's rarer answers ({kind} agreement)",
            expected=f"at least {MIN_RARE_AGREEMENT:.3g} of them",
            got=f"{rare:.4g}",
            fix=f"No bundle was written; {_advice(tolerance)}",
        )
    return parity


Pair = tuple[str, Array, Array, NDArray[np.bool_]]
"""Output name, the graph's array, the head's array, and which entries are no padding."""


def agreement(kind: str, pairs: Sequence[Pair]) -> float:
    """Share of equal answers, mean cosine or concordance; the least over the outputs.

    Args:
        kind: A key of :data:`MIN_AGREEMENT`. ``concordance`` is the correlation coefficient that
            a shift and a change of scale lower too.
        pairs: All outputs of all batches.

    Source: Lin 1989, "A concordance correlation coefficient to evaluate reproducibility".
    """
    compare = {"cosine": _cosines, "concordance": _columns}.get(kind, partial(_equal, kind))
    scores: dict[str, list[NDArray[np.float64]]] = {}
    for name, left, right, kept in pairs:
        scores.setdefault(name, []).append(compare(left, right, kept))
    summary = _concordance if kind == "concordance" else np.mean
    return min(float(summary(np.concatenate(parts))) for parts in scores.values())


def rare_agreement(kind: str, pairs: Sequence[Pair]) -> float | None:
    """Share of the head's answers beside its most frequent one that the graph gives too.

    The least over the outputs; ``None`` where a kind has no such answers, or too few were seen.

    Args:
        kind: A key of :data:`MIN_AGREEMENT`.
        pairs: All outputs of all batches.
    """
    if kind not in ("label", "token", "sign"):
        return None
    answers: dict[str, list[NDArray[np.int64]]] = {}
    for name, left, right, kept in pairs:
        both = np.stack([_answers(kind, array, kept) for array in (left, right)])  # (2, rows)
        answers.setdefault(name, []).append(both)
    shares = []
    for parts in answers.values():
        ours, theirs = np.concatenate(parts, axis=1)
        rare = theirs != np.bincount(theirs).argmax()
        if rare.sum() >= _FEW:
            shares.append(float((ours[rare] == theirs[rare]).mean()))
    return min(shares, default=None)


def _answers(kind: str, array: Array, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The answers that outputs stand for, as ids."""
    if kind == "span":  # the sequence axis itself is scored
        return np.asarray((array + np.where(kept, 0.0, -np.inf)).argmax(axis=-1))
    if kind == "sign":
        return (array[kept] > 0).astype(np.int64).reshape(-1)
    return np.asarray(array[kept].argmax(axis=-1))


def _equal(kind: str, left: Array, right: Array, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    same = _answers(kind, left, kept) == _answers(kind, right, kept)
    return np.asarray(same, dtype=np.float64)


def _cosines(left: Array, right: Array, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of vectors; two that are zero point the same way."""
    left, right = left[kept].astype(np.float64), right[kept].astype(np.float64)  # (rows, D)
    norms = np.linalg.norm(left, axis=-1), np.linalg.norm(right, axis=-1)
    cosines = (left * right).sum(axis=-1) / np.maximum(norms[0] * norms[1], 1e-12)
    return np.asarray(np.where((norms[0] == 0) & (norms[1] == 0), 1.0, cosines))


def _columns(left: Array, right: Array, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.stack([left[kept].reshape(-1), right[kept].reshape(-1)], axis=1).astype(np.float64)


def _concordance(columns: NDArray[np.float64]) -> float:
    """Of two columns (rows, 2); 1 where they are the same but for rounding."""
    left, right = columns.T
    if np.allclose(left, right, rtol=1e-5, atol=1e-6):
        return 1.0
    covariance = np.cov(left, right, bias=True)  # (2, 2)
    apart = (left.mean() - right.mean()) ** 2
    return float(2 * covariance[0, 1] / (covariance.trace() + apart))


def _advice(tolerance: float | None) -> str:
    """What to do about other answers: in float32, which has a tolerance, it is a defect."""
    if tolerance is not None:
        return "report the checkpoint's config"
    return "calibrate on text like your own, or export with --fp32"


def _gate(parity: ParityRecord) -> None:
    if parity.tolerance is not None and not parity.max_abs_difference <= parity.tolerance:
        worst = max(parity.cases, key=lambda case: case.max_abs_difference)
        raise VerificationError(
            f"graph differs from the PyTorch head on {worst.name!r}",
            expected=f"at most {parity.tolerance:g}",
            got=f"{parity.max_abs_difference:.3g}",
            fix=f"No bundle was written; {_advice(parity.tolerance)}",
        )
    if not parity.agreement >= parity.min_agreement:
        raise VerificationError(
            f"graph gives other answers than the PyTorch head ({parity.agreement_kind} agreement)",
            expected=f"at least {parity.min_agreement:.3g}",
            got=f"{parity.agreement:.4g}",
            fix=f"No bundle was written; {_advice(parity.tolerance)}",
        )
