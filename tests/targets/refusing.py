"""A target that takes no graph at all, behind the protocol of every target's module."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import EngineRecord
from bert_export.errors import TargetError
from bert_export.passes.recipe import Recipes
from bert_export.quantization.quantizer import SCHEMES, Scheme
from bert_export.runtime.sessions.onnxruntime import open_engine
from bert_export.runtime.sessions.session import Session

RECIPES: Recipes = {"fp32": (), "int8": ()}


def check_installed() -> None:
    """It needs nothing."""


def scheme(processor: str) -> Scheme:
    return SCHEMES[processor]


def check_graph(_: ir.Model) -> None:
    raise TargetError("graph cannot be taken", expected="none", got="one")


def open_written(folder: Path, engine: EngineRecord, *, threads: int | None) -> Session:
    return open_engine(folder, engine, threads=threads)
