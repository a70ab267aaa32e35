"""The graphs that a user would otherwise run: optimum's, NNCF's and CTranslate2's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bert_export.errors import MeasurementError
from bert_export.measuring.child import call_apart
from scripts.benchmarks.common.commands import Usage, run_command
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.making.checkpoints import weights_digest
from scripts.benchmarks.making.environments import Environments, optimum_preset

__all__ = ["CTRANSLATE2_INT8", "NNCF_INT8", "STOCK_FP32", "STOCK_INT8", "StockGraphs"]

STOCK_FP32 = ("exported FP32", "optimized FP32 O2", "optimized FP32 O3")
STOCK_INT8 = ("exported INT8", "optimized INT8")
NNCF_INT8 = "NNCF INT8"
CTRANSLATE2_INT8 = "CTranslate2 INT8"

_CALIBRATION_ROWS = 300


class StockGraphs:
    """Makes the graphs of one checkpoint, each once, and whatever they are made of.

    Args:
        task: As both sides name it.
        model: The checkpoint's directory.
        work: The folder of all work.
        environments: Where the tools are.
        threads: Of the tools.
        announce: Called with what is being made.
        fresh: Whether what an earlier run made is made again, to know what that takes.
    """

    def __init__(
        self,
        task: str,
        model: Path,
        work: Path,
        environments: Environments,
        *,
        threads: int,
        announce: Callable[[str], None],
        fresh: bool = False,
    ) -> None:
        self._task, self._model = task, model
        self._folder = work / "stock" / f"{model.name}-{task}-{weights_digest(model)}"
        self._environments, self._threads, self._announce = environments, threads, announce
        self._fresh = fresh
        self.usages: dict[str, Usage] = {}
        """By name, what making it took; without those that were there."""

    def stock(self, name: str) -> Path:
        """The graph of a name in :data:`STOCK_FP32` or :data:`STOCK_INT8`.

        Raises:
            MeasurementError: It cannot be made.
        """
        makers: dict[str, Callable[[], Path]] = {
            "exported FP32": self.exported,
            "optimized FP32 O2": lambda: self._optimized("O2"),
            "optimized FP32 O3": lambda: self._optimized("O3"),
            "exported INT8": self._quantized,
            "optimized INT8": self._optimized_and_quantized,
        }
        return makers[name]()

    def maker(self, name: str) -> Callable[[], dict[str, Any]]:
        """Makes the graph of a name when it is called, and gives the request that opens it."""
        return lambda: {"kind": "onnxruntime", "path": str(self.stock(name))}

    def exported(self) -> Path:
        """Optimum's export."""
        options = ("--model", str(self._model), "--task", self._task, "--library", "transformers")
        return self._optimum("exported FP32", "model.onnx", ("export", "onnx", *options))

    def nncf(self, bundle: Path) -> Path:
        """NNCF's INT8 for OpenVINO, calibrated on the text that calibrates ours.

        Args:
            bundle: Ours, whose pipeline makes the rows.
        """
        source = self.exported()

        def make(folder: Path) -> Usage:
            rows = folder / "rows.npz"
            asked = {"bundle": str(bundle), "rows": str(rows), "most": _CALIBRATION_ROWS}
            call_apart(WORKERS / "feeds.py", "write_calibration_rows", asked, threads=self._threads)
            request = {
                "graph": str(source),
                "rows": str(rows),
                "output": str(folder / "model.xml"),
            }
            return self._job("openvino", "quantize_with_nncf", request)

        return self._make(NNCF_INT8, "model.xml", make)

    def ctranslate2(self) -> Path:
        """CTranslate2's INT8; a folder."""

        def make(folder: Path) -> Usage:
            request = {"model": str(self._model), "output": str(folder)}
            return self._job("ctranslate2", "convert_for_ctranslate2", request)

        return self._make(CTRANSLATE2_INT8, "model.bin", make).parent

    def _optimized(self, level: str) -> Path:
        """The export after the stock optimizer, at a level such as ``O3``."""
        options = ("--onnx_model", str(self.exported().parent), f"-{level}", "-o")
        return self._optimum(
            f"optimized FP32 {level}",
            "model_optimized.onnx",
            ("onnxruntime", "optimize", *options),
        )

    def _quantized(self) -> Path:
        """The export, quantized dynamically by optimum's preset for this processor."""
        options = (optimum_preset(), "--onnx_model", str(self.exported().parent), "-o")
        return self._optimum(
            "exported INT8", "model_quantized.onnx", ("onnxruntime", "quantize", *options)
        )

    def _optimized_and_quantized(self) -> Path:
        """The stock optimizer's graph, quantized dynamically; optimum's command refuses to."""
        source = self._optimized("O2")

        def make(folder: Path) -> Usage:
            output = str(folder / "model.onnx")
            request: dict[str, str | bool] = {
                "graph": str(source),
                "output": output,
                "optimized": True,
            }
            return self._job("optimum", "quantize_dynamically", request)

        return self._make("optimized INT8", "model.onnx", make)

    def _optimum(self, name: str, file: str, arguments: tuple[str, ...]) -> Path:
        """Run optimum's command, which is told the folder last."""

        def make(folder: Path) -> Usage:
            command = self._environments.optimum(*arguments, str(folder))
            return run_command(command, threads=self._threads)

        return self._make(name, file, make)

    def _job(self, environment: str, function: str, request: Mapping[str, str | bool]) -> Usage:
        job = call_apart(
            WORKERS / "quantize.py",
            function,
            request,
            threads=self._threads,
            python=self._environments.python(environment),
        )
        return Usage(job.seconds, job.peak_bytes)

    def _make(self, name: str, file: str, make: Callable[[Path], Usage]) -> Path:
        """A file in a folder of its own, made unless it is there.

        Raises:
            MeasurementError: It cannot be made.
        """
        folder = self._folder / name.replace(" ", "-").lower()
        output = folder / file
        if output.is_file() and (name in self.usages or not self._fresh):
            return output
        self._announce(f"{self._model.name}: {name}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.usages[name] = make(folder)
        if not output.is_file():
            raise MeasurementError(f"{name} was not made", expected=file, got="no such file")
        return output
