"""The parity check: an exported graph answers as the PyTorch head does, or there is no bundle.

Agreement is measured on real text that set no range. Without a tolerance, which is INT8, the rules
are these:

- The held-out part of the user's own set must agree by :data:`MIN_AGREEMENT`, where it has
  :data:`MIN_ROWS` rows. Other text may then differ twice as often: it need not be like the user's,
  but an engine that fails on it was calibrated on text that is too narrow.
- Where there is no such part, or less of it, all text together must agree by
  :data:`MIN_AGREEMENT`.
- Text that is mostly unknown to the vocabulary does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bert_export.bundle import ParityCase, ParityRecord, ParityTextRecord
from bert_export.errors import VerificationError
from bert_export.exporter.agreement import (
    MIN_AGREEMENT,
    MIN_RARE_AGREEMENT,
    Given,
    Pair,
    agreement,
    answers_given,
    rare_agreement,
)
from bert_export.exporter.cases import Case
from bert_export.exporter.unseen_text import UnseenText
from bert_export.runtime.sessions.session import Array, Feeds, Outputs
from bert_export.tasks import AgreementKind

__all__ = ["FP32_TOLERANCE", "MIN_ROWS", "answers_of", "describe_texts", "verify"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference of a float32 graph's outputs from the head's."""

MIN_ROWS = 32
"""Rows of a text on which an agreement stands by itself."""

_NOTABLE_UNKNOWN = 0.1
_SHOWN_UNKNOWN = 0.001
_MANY_NEVER_GIVEN = 0.5


@dataclass(slots=True)
class _Compared:
    """What was seen of one text: pairs of outputs, and how many rows."""

    text: UnseenText
    pairs: list[Pair] = field(default_factory=list)
    rows: int = 0


def verify(
    run: Callable[[Feeds], Outputs],
    answers: Sequence[tuple[Case, Outputs]],
    *,
    kind: AgreementKind,
    per_token: frozenset[str],
    tolerance: float | None,
    labels: Sequence[str] = (),
    caches: frozenset[str] = frozenset(),
    grown: frozenset[str] = frozenset(),
    inner: frozenset[str] = frozenset(),
    advance: Callable[[int, int], None] | None = None,
) -> ParityRecord:
    """Compare a graph with the head it came from.

    Args:
        run: The graph.
        answers: Cases of :func:`bert_export.exporter.cases.make_cases`, each with the outputs of
            the PyTorch head in float32; some are of real text.
        kind: What "the same answer" means: a key of :data:`MIN_AGREEMENT`.
        per_token: Outputs whose second axis is the sequence; only unpadded tokens are compared.
        tolerance: Bound on the absolute difference; ``None`` leaves agreement alone to count.
        labels: Of the head, in id order; empty where it has none.
        caches: Outputs that are no answer but kept for the next call: they must be as exact where
            there is a tolerance, and say nothing about agreement.
        grown: Of the caches those that calls add to, (B, N, T, D); only tokens are compared.
        inner: Outputs that are inner values. Where there is no tolerance, each must point where the
            head's does, by their mean cosine on real text.
        advance: Called with (cases done, cases in all).

    Returns:
        The figures, all of them within their bounds.

    Raises:
        VerificationError: A figure is out of its bound, or an output is not finite, be it the
            graph's or the head's own.
    """
    worst: dict[str, tuple[int, float]] = {}
    compared: dict[str, _Compared] = {}
    states: list[Pair] = []
    for done, (case, expected) in enumerate(answers, 1):
        mask = case.feeds["attention_mask"].astype(bool)  # (B, S) or (B, C, S)
        found = run(case.feeds)
        rows, difference = worst.get(case.name, (0, 0.0))
        if case.text is not None:
            compared.setdefault(case.text.source, _Compared(case.text)).rows += mask.shape[0]
        for name, right in expected.items():
            kept = _unpadded(mask, right) if name in per_token else _all_rows(right)
            left = found[name]
            if name in grown:
                left, right = (array.swapaxes(1, 2) for array in (left, right))  # (B, T, N, D)
                kept = case.feeds.get("decoder_attention_mask", mask).astype(bool)
            _check_finite(name, case, left, right, kept)
            if tolerance is not None or name not in caches | inner:
                apart = float(np.abs(left[kept] - right[kept]).max(initial=0.0))
                difference = max(difference, apart)
            if case.text is not None and name not in caches:
                pairs = states if name in inner else compared[case.text.source].pairs
                pairs.append((name, left, right, kept))
        worst[case.name] = rows + mask.shape[0], difference
        if advance is not None:
            advance(done, len(answers))
    counting = [one for one in compared.values() if one.text.is_known] or [*compared.values()]
    own = [one for one in counting if one.text.held_out and one.rows >= MIN_ROWS]
    deciding = [pair for one in own or counting for pair in one.pairs]
    texts = tuple(_text_record(one, kind, counted=one in counting) for one in compared.values())
    others = [text for text in texts if text.counted and not text.held_out] if own else []
    head = [(name, right, kept) for one in counting for name, _, right, kept in one.pairs]
    given = answers_given(kind, head, labels)
    parity = ParityRecord(
        reference="PyTorch float32",
        max_abs_difference=max(difference for _, difference in worst.values()),
        tolerance=tolerance,
        agreement=agreement(kind, deciding),
        min_agreement=MIN_AGREEMENT[kind],
        agreement_kind=kind,
        cases=tuple(
            ParityCase(name=name, rows=rows, max_abs_difference=difference)
            for name, (rows, difference) in worst.items()
        ),
        texts=texts,
        labels_never_given=given.never,
        warnings=(
            *_text_warnings(texts),
            *(_other_text_warnings(others, MIN_AGREEMENT[kind]) if tolerance is None else ()),
            *_answer_warnings(texts, given, labels),
        ),
    )
    _check(parity, others)
    if tolerance is None:
        _check_inner(states)
    rare = rare_agreement(kind, [pair for one in counting for pair in one.pairs])
    if rare is not None and rare < MIN_RARE_AGREEMENT:
        raise VerificationError(
            f"graph loses the PyTorch head's rarer answers ({kind} agreement)",
            expected=f"at least {MIN_RARE_AGREEMENT:.3g} of them",
            got=f"{rare:.4g}",
            fix=f"No bundle was written; {_advice(tolerance)}",
        )
    return parity


def answers_of(
    answers: Sequence[tuple[Case, Outputs]],
    *,
    kind: AgreementKind,
    per_token: frozenset[str],
    labels: Sequence[str],
) -> Given:
    """How different a head's answers to some cases are; see :func:`verify` for the arguments."""
    outputs = []
    for case, arrays in answers:
        mask = case.feeds["attention_mask"].astype(bool)  # (B, S) or (B, C, S)
        for name, array in arrays.items():
            kept = _unpadded(mask, array) if name in per_token else _all_rows(array)
            outputs.append((name, array, kept))
    return answers_given(kind, outputs, labels)


def _unpadded(mask: NDArray[np.bool_], array: Array) -> NDArray[np.bool_]:
    """Which tokens of this call are no padding, (B, S), of a mask (B, T) over a cache's too."""
    return mask[:, -array.shape[1] :]


def _all_rows(array: Array) -> NDArray[np.bool_]:
    return np.ones(array.shape[:1], dtype=bool)


def describe_texts(parity: ParityRecord) -> str:
    """What an agreement rests on, in words."""
    texts = []
    for text in parity.texts:
        part = "held out of" if text.held_out else "of"
        facts = [f"{100 * text.agreement:.2f} % on {text.rows} rows {part} {text.source}"]
        if text.unknown_share >= _SHOWN_UNKNOWN:
            facts.append(f"{100 * text.unknown_share:.1f} % [UNK]")
        if not text.counted:
            facts.append("not counted")
        texts.append(" ".join(facts) if len(facts) == 1 else f"{facts[0]} ({', '.join(facts[1:])})")
    return "; ".join(texts)


def _text_record(compared: _Compared, kind: AgreementKind, *, counted: bool) -> ParityTextRecord:
    return ParityTextRecord(
        source=compared.text.source,
        held_out=compared.text.held_out,
        rows=compared.rows,
        unknown_share=compared.text.unknown_share,
        agreement=agreement(kind, compared.pairs),
        counted=counted,
    )


def _text_warnings(texts: Sequence[ParityTextRecord]) -> Iterator[str]:
    for text in texts:
        if text.unknown_share > _NOTABLE_UNKNOWN:
            unknown = f"{100 * text.unknown_share:.0f} % unknown to the vocabulary"
            counts = "" if text.counted else ", and does not count"
            yield f"text {text.source} that engines are verified on is {unknown}{counts}"


def _other_text_warnings(others: Sequence[ParityTextRecord], bound: float) -> Iterator[str]:
    for text in others:
        if text.agreement < bound:
            yield (
                f"INT8 agrees by {100 * text.agreement:.1f} % only on {text.source}: calibrate on "
                "more kinds of text where the bundle will meet such"
            )


def _answer_warnings(
    texts: Sequence[ParityTextRecord], given: Given, labels: Sequence[str]
) -> Iterator[str]:
    rows = sum(text.rows for text in texts if text.counted)
    if given.only is not None:
        yield (
            f"the head gives {given.only}, on all {rows} rows that were compared: their agreement "
            "proves little"
        )
    elif len(given.never) > _MANY_NEVER_GIVEN * len(labels):
        yield (
            f"the head gives {len(given.never)} of its {len(labels)} labels to none of the {rows} "
            "rows that were compared"
        )


def _check_inner(states: Sequence[Pair]) -> None:
    """Inner values of real text point where the head's do."""
    for name in dict.fromkeys(name for name, *_ in states):
        alike = agreement("cosine", [pair for pair in states if pair[0] == name])
        if alike < MIN_AGREEMENT["cosine"]:
            raise VerificationError(
                f"output {name} is not the PyTorch head's in this precision",
                expected=f"a mean cosine of at least {MIN_AGREEMENT['cosine']}",
                got=f"{alike:.4g}",
                fix="No bundle was written; export with --fp32, or leave it out of --outputs",
            )


def _check_finite(
    name: str, case: Case, left: Array, right: Array, kept: NDArray[np.bool_]
) -> None:
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


def _advice(tolerance: float | None) -> str:
    """What to do about other answers: in float32, which has a tolerance, it is a defect."""
    if tolerance is not None:
        return "report the checkpoint's config"
    return "calibrate on text like your own, or export with --fp32"


def _check(parity: ParityRecord, others: Sequence[ParityTextRecord]) -> None:
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
    least = 1 - 2 * (1 - parity.min_agreement)
    for text in others:
        if text.rows >= MIN_ROWS and text.agreement < least:
            raise VerificationError(
                f"graph gives other answers than the PyTorch head on {text.source}, text unlike "
                f"the calibration set ({parity.agreement_kind} agreement)",
                expected=f"at least {least:.3g}",
                got=f"{text.agreement:.4g}",
                fix="No bundle was written; calibrate on more kinds of text, or export with --fp32",
            )
