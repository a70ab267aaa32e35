"""The parity check: an exported graph answers as the PyTorch head does, or there is no bundle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bert_export.bundle import ParityCase, ParityRecord
from bert_export.errors import VerificationError
from bert_export.exporter.agreement import (
    MIN_AGREEMENT,
    MIN_RARE_AGREEMENT,
    Pair,
    agreement,
    rare_agreement,
)
from bert_export.exporter.cases import Case
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks import AgreementKind

__all__ = ["FP32_TOLERANCE", "verify"]

FP32_TOLERANCE = 1e-4
"""Largest absolute difference of a float32 graph's outputs from the head's."""


def verify(
    run: Callable[[Feeds], Outputs],
    answers: Sequence[tuple[Case, Outputs]],
    *,
    kind: AgreementKind,
    per_token: frozenset[str],
    tolerance: float | None,
    advance: Callable[[int, int], None] | None = None,
) -> ParityRecord:
    """Compare a graph with the head it came from.

    Args:
        run: The graph.
        answers: Cases of :func:`bert_export.exporter.cases.make_cases`, each with the outputs of
            the PyTorch head in float32.
        kind: What "the same answer" means: a key of :data:`MIN_AGREEMENT`.
        per_token: Outputs whose second axis is the sequence; only unpadded tokens are compared.
        tolerance: Bound on the absolute difference; ``None`` leaves agreement alone to count.
        advance: Called with (cases done, cases in all).

    Returns:
        The figures, all of them within their bounds.

    Raises:
        VerificationError: A figure is out of its bound, or an output is not finite, be it the
            graph's or the head's own.
    """
    worst: dict[str, tuple[int, float]] = {}
    pairs: list[Pair] = []
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
    _check(parity)
    rare = rare_agreement(kind, pairs)
    if rare is not None and rare < MIN_RARE_AGREEMENT:
        raise VerificationError(
            f"graph loses the PyTorch head's rarer answers ({kind} agreement)",
            expected=f"at least {MIN_RARE_AGREEMENT:.3g} of them",
            got=f"{rare:.4g}",
            fix=f"No bundle was written; {_advice(tolerance)}",
        )
    return parity


def _advice(tolerance: float | None) -> str:
    """What to do about other answers: in float32, which has a tolerance, it is a defect."""
    if tolerance is not None:
        return "report the checkpoint's config"
    return "calibrate on text like your own, or export with --fp32"


def _check(parity: ParityRecord) -> None:
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
