"""Makes the contenders of an accuracy table: our bundles, and the graphs of other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train_demo import RECIPES

from measuring.checkpoints import export_command
from measuring.children import ChildError, run_command, run_worker
from measuring.heads import Head, write_test_set

__all__ = [
    "BUDGET",
    "CONTENDERS",
    "DYNAMIC",
    "FP32",
    "MADE_FOR",
    "NNCF",
    "OURS",
    "STATIC",
    "Workshop",
    "float_share",
]

FP32, OURS, BUDGET = "FP32", "ours INT8", "ours INT8, --max-drop 0.1%"
DYNAMIC, STATIC, NNCF = "ONNX Runtime dynamic", "ONNX Runtime static", "NNCF in OpenVINO"
MADE_FOR = {
    "x86-64-vnni": "ours INT8 as on x86-64 with VNNI",
    "x86-64": "ours INT8 as on x86-64 without VNNI",
    "arm64": "ours INT8 as on Arm",
}
"""Ours as it is made for each kind of processor; for this machine's that is :data:`OURS`."""
CONTENDERS = (FP32, OURS, BUDGET, DYNAMIC, STATIC, NNCF, *MADE_FOR.values())

_WORKER = "worker_stock_int8"
_STOCK = {DYNAMIC: "dynamic", STATIC: "static", NNCF: "nncf"}
_FILES = {DYNAMIC: "dynamic.onnx", STATIC: "static.onnx", NNCF: "nncf.xml"}
_OURS = {
    FP32: ("fp32", ()),
    OURS: ("int8", ()),
    BUDGET: ("budget", ("--max-drop", "0.1%", "--eval", "{data}")),
    **{name: (processor, ("--cpu", processor)) for processor, name in MADE_FOR.items()},
}  # folder, and options of the export
_FINE_TUNE = Path(__file__).parents[1] / "fine_tune.py"


@dataclass(slots=True)
class Workshop:
    """Where everything about one set of heads is made.

    Args:
        work: Folder of what is made.
        data: Folder of the open data sets.
        threads: Of every child.
        limit: Test records of a head at most.
        fine_tuned: Whether the heads are fully fine-tuned ones; else the demonstrations.
        epochs: Of that fine-tuning; the demonstration's own when ``None``.
        nncf_python: Interpreter that has NNCF.
        notes: What a reader of the table must know; grows.
    """

    work: Path
    data: Path
    threads: int
    limit: int | None
    fine_tuned: bool
    epochs: float | None
    nncf_python: str | None
    notes: list[str] = field(default_factory=list)

    def make(
        self, name: str, head: Head, wanted: Sequence[str], announce: Callable[[str], None]
    ) -> dict[str, dict[str, Any]]:
        """Make a head's contenders.

        Args:
            name: Of the head.
            head: The head.
            wanted: Names of contenders.
            announce: Called with what is being made.

        Returns:
            A request to ``worker_accuracy`` by contender; without those that could not be made,
            which are noted.
        """
        folder = self.work / "accuracy" / ("fine-tuned" if self.fine_tuned else "demo") / name
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "test.jsonl"
        write_test_set(head, self.data, data, self.limit)
        model = self._model(name, head, announce)
        requests: dict[str, dict[str, Any]] = {}
        for contender in wanted:
            announce(f"{name}: make {contender}")
            try:
                made = self._make(contender, head, model, folder, data)
            except ChildError as error:
                self.notes.append(f"{name}: {contender} was not measured: {_last_line(error)}")
                continue
            requests[contender] = {
                **made,
                "fp32": str(folder / "fp32"),
                "data": str(data),
                "compare": head.compare and contender != FP32,
            }
        return requests

    def _model(self, name: str, head: Head, announce: Callable[[str], None]) -> str:
        """The checkpoint: a demonstration, or a directory that is trained once."""
        if not self.fine_tuned or head.recipe is None:
            return f"demo:{head.demo}"
        epochs = self.epochs or RECIPES[head.recipe].epochs
        folder = self.work / "fine-tuned" / f"{head.recipe}-{epochs:g}"
        if not (folder / "model.safetensors").is_file():
            announce(f"{name}: fine-tune")
            options = ("--data", str(self.data), "--output", str(folder))
            tuning = ("--epochs", str(epochs), "--threads", str(self.threads))
            argv = [sys.executable, str(_FINE_TUNE), head.recipe, *options, *tuning]
            run_command(argv, threads=self.threads)
        return str(folder)

    def _make(
        self, contender: str, head: Head, model: str, folder: Path, data: Path
    ) -> dict[str, Any]:
        if contender in _STOCK:
            return self._make_stock(contender, head, model, folder)
        precision = "fp32" if contender == FP32 else "int8"
        name, options = _OURS[contender]
        bundle = folder / name
        argv = export_command(head.task, model, bundle, precision=precision, threads=self.threads)
        argv += (option.format(data=data) for option in options)
        run_command(argv, threads=self.threads)
        return {"kind": "bundle", "path": str(bundle)}

    def _make_stock(self, contender: str, head: Head, model: str, folder: Path) -> dict[str, Any]:
        stock = folder / "stock"
        request = {
            "folder": str(stock),
            "task": head.task,
            "model": model,
            "fp32": str(folder / "fp32"),
        }
        if not (stock / "model.onnx").is_file() or _older(stock, folder / "fp32"):
            run_worker(_WORKER, request | {"kind": "export"}, threads=self.threads)
        foreign = contender == NNCF and self.nncf_python is not None
        python = str(self.nncf_python) if foreign else sys.executable
        run_worker(
            _WORKER,
            request | {"kind": _STOCK[contender]},
            threads=self.threads,
            python=python,
        )
        kind = "openvino" if contender == NNCF else "onnx"
        return {
            "kind": kind,
            "path": str(stock / _FILES[contender]),
            "stock": str(stock / "model.onnx"),
        }


def float_share(bundle: Path) -> float | None:
    """Share of a bundle's multiplications that its budget left in float."""
    engine = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["engines"][0]
    search: Mapping[str, Any] | None = (engine["quantization"] or {}).get("search")
    return None if search is None else float(search["path"][search["chosen"]]["float_share"])


def _older(stock: Path, bundle: Path) -> bool:
    return (stock / "model.onnx").stat().st_mtime < (bundle / "manifest.json").stat().st_mtime


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
