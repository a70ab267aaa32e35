"""Where things are."""

from __future__ import annotations

from pathlib import Path

__all__ = ["CHECKOUT", "DATA", "NUMBERS", "WORK", "WORKERS"]

CHECKOUT = Path(__file__).resolve().parents[3]

WORK = CHECKOUT / "build" / "benchmarks"
"""Checkpoints, bundles and environments are put here unless another folder is named."""

WORKERS = Path(__file__).resolve().parents[1] / "workers"
"""Files that run in processes of their own, some in interpreters of other environments."""

NUMBERS = CHECKOUT / "scripts" / "NUMBERS.md"

DATA = CHECKOUT.parent / "shared" / "data"
"""The open data sets, beside the checkout."""
