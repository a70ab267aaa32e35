"""Makes the contenders of an accuracy table: our bundles, and the graphs of other tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_export.bundle import read_manifest
from bert_export.errors import MeasurementError
from bert_export.measuring.child import call_apart
from scripts.benchmarks.common.commands import run_command
from scripts.benchmarks.common.places import CHECKOUT, WORKERS
from scripts.benchmarks.making.checkpoints import export_bundle
from scripts.benchmarks.making.environments import Environments
from scripts.benchmarks.making.heads import Head, write_test_set
from scripts.demonstrations.train import RECIPES

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

_STOCK = {
    DYNAMIC: ("quantize_dynamically", "dynamic.onnx"),
    STATIC: ("quantize_statically", "static.onnx"),
    NNCF: ("quantize_with_nncf", "nncf.xml"),
}  # the job of ``workers/quantize.py``, and the file it writes
_OURS = {
    FP32: ("fp32", ()),
    OURS: ("int8", ()),
    BUDGET: ("budget", ("--max-drop", "0.1%", "--eval", "{data}")),
    **{name: (processor, ("--cpu", processor)) for processor, name in MADE_FOR.items()},
}  # folder, and options of the export
_FINE_TUNE = CHECKOUT / "scripts" / "demonstrations" / "fine_tune.py"


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
        environments: Where NNCF is.
        notes: What a reader of the table must know; grows.
    """

    work: Path
    data: Path
    threads: int
    limit: int | None
    fine_tuned: bool
    epochs: float | None
    environments: Environments
    notes: list[str] = field(default_factory=list)

    def make(
        self, name: str, head: Head, contenders: Sequence[str], announce: Callable[[str], None]
    ) -> dict[str, dict[str, Any]]:
        """Make a head's contenders.

        Args:
            name: Of the head.
            head: The head.
            contenders: Their names.
            announce: Called with what is being made.

        Returns:
            A request to ``workers/score.py`` by contender; without those that could not be made,
            which are noted.
        """
        folder = self.work / "accuracy" / ("fine-tuned" if self.fine_tuned else "demo") / name
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "test.jsonl"
        write_test_set(head, self.data, data, self.limit)
        model = self._model(name, head, announce)
        requests: dict[str, dict[str, Any]] = {}
        for contender in contenders:
            announce(f"{name}: make {contender}")
            try:
                made = self._make(contender, head, model, folder, data)
            except MeasurementError as error:
                self.notes.append(f"{name}: {contender} was not measured: {_last_line(error)}")
                continue
            requests[contender] = {
                **made,
                "fp32": str(folder / "fp32"),
                "data": str(data),
                "compare": head.compare and contender != FP32,
                "threads": self.threads,
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
        export_bundle(
            head.task,
            model,
            bundle,
            precision=precision,
            threads=self.threads,
            options=[option.format(data=data) for option in options],
        )
        return {"kind": "bundle", "path": str(bundle)}

    def _make_stock(self, contender: str, head: Head, model: str, folder: Path) -> dict[str, Any]:
        stock, fp32 = folder / "stock", folder / "fp32"
        graph, rows = stock / "model.onnx", stock / "rows.npz"
        if not graph.is_file() or _older(graph, fp32):
            stock.mkdir(exist_ok=True)
            asked = {"bundle": str(fp32), "rows": str(rows), "most": None}
            call_apart(WORKERS / "feeds.py", "write_calibration_rows", asked, threads=self.threads)
            plain = {
                "task": head.task,
                "model": model,
                "max_length": read_manifest(fp32).tokenizer.max_length,
                "graph": str(graph),
            }
            call_apart(WORKERS / "checkpoints.py", "trace_plainly", plain, threads=self.threads)
        function, file = _STOCK[contender]
        request = {
            "graph": str(graph),
            "rows": str(rows),
            "output": str(stock / file),
            "optimized": False,
        }
        call_apart(
            WORKERS / "quantize.py",
            function,
            request,
            threads=self.threads,
            python=self.environments.python("openvino") if contender == NNCF else sys.executable,
        )
        kind = "openvino" if contender == NNCF else "onnx"
        return {"kind": kind, "path": str(stock / file), "stock": str(graph)}


def float_share(bundle: Path) -> float | None:
    """Share of a bundle's multiplications that its budget left in float."""
    engine = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))["engines"][0]
    search: Mapping[str, Any] | None = (engine["quantization"] or {}).get("search")
    return None if search is None else float(search["path"][search["chosen"]]["float_share"])


def _older(graph: Path, bundle: Path) -> bool:
    return graph.stat().st_mtime < (bundle / "manifest.json").stat().st_mtime


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
