"""Turns a trained BERT checkpoint into the fastest engine that still gives the same answers.

:func:`export` writes a bundle, :func:`load` answers from one, :func:`evaluate` scores it. Each is
imported on first use, so that a service that only loads never pays for PyTorch. Telemetry of the
engines is switched off, see :mod:`bert_export.telemetry`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bert_export.importing import import_on_use
from bert_export.telemetry import disable_telemetry

if TYPE_CHECKING:
    from bert_export.evaluation import evaluate
    from bert_export.exporter import export
    from bert_export.runtime.loading import load

disable_telemetry()  # engines read the switch once, when they are imported

__all__ = ["evaluate", "export", "load"]
__version__ = "0.1.0"

# What the package logs is heard where the application sets up a handler, and nowhere else.
logging.getLogger(__name__).addHandler(logging.NullHandler())

_HOMES = {
    "evaluate": "bert_export.evaluation",
    "export": "bert_export.exporter",
    "load": "bert_export.runtime.loading",
}

__getattr__ = import_on_use(__name__, _HOMES)
