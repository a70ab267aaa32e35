"""A target whose engine answers the opposite, behind the protocol of every target's module."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.passes.recipe import Recipes
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.sessions.onnxruntime import open_engine
from bert_export.runtime.sessions.session import Feeds, Outputs, Session

RECIPES: Recipes = {"fp32": (), "int8": ()}

opened: list[str] = []
"""Targets of the engines that were opened, in order."""


def check_installed() -> None:
    """It needs nothing."""


def scheme(processor: str) -> Scheme:
    return SCHEMES[processor]


def check_graph(_: ir.Model) -> None:
    """It takes every graph."""


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> Session:
    opened.append(engine.target)
    return _Reversed(open_engine(folder, engine, threads=threads))


class _Reversed(Session):
    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds: Feeds) -> Outputs:
        return {name: -array for name, array in self._session.run(feeds).items()}

    def close(self) -> None:
        self._session.close()
