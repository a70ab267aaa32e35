"""The graphs that a user would otherwise run: optimum's export, optimized and quantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from measuring.checkpoints import weights_digest
from measuring.children import run_command, run_worker
from measuring.peers import Peers, optimum_preset

__all__ = ["STOCK_FP32", "STOCK_INT8", "stock_graphs"]

STOCK_FP32 = ("exported FP32", "optimized FP32 O2", "optimized FP32 O3")
STOCK_INT8 = ("exported INT8", "optimized INT8")


def stock_graphs(
    peers: Peers,
    task: str,
    model: Path,
    work: Path,
    *,
    threads: int,
    announce: Callable[[str], None],
) -> dict[str, Path]:
    """Make each graph once per checkpoint.

    Args:
        peers: Where optimum is.
        task: As both sides name it.
        model: The checkpoint's directory.
        work: The folder of all work.
        threads: Of the commands.
        announce: Called with what is being made.

    Returns:
        ONNX files by name: those of :data:`STOCK_FP32` and :data:`STOCK_INT8`.
    """
    preset = optimum_preset()
    folder = work / "optimum" / f"{model.name}-{task}-{weights_digest(model)}"
    exported = folder / "exported"
    tool = ("onnxruntime", "optimize", "--onnx_model", str(exported))
    quantize = ("onnxruntime", "quantize", preset, "--onnx_model", str(exported))
    steps = {
        "exported FP32": (
            exported / "model.onnx",
            ("export", "onnx", "--model", str(model), "--task", task, str(exported)),
        ),
        "optimized FP32 O2": (
            folder / "o2" / "model_optimized.onnx",
            (*tool, "-O2", "-o", str(folder / "o2")),
        ),
        "optimized FP32 O3": (
            folder / "o3" / "model_optimized.onnx",
            (*tool, "-O3", "-o", str(folder / "o3")),
        ),
        "exported INT8": (
            folder / f"int8{preset}" / "model_quantized.onnx",
            (*quantize, "-o", str(folder / f"int8{preset}")),
        ),
    }
    graphs = {}
    for name, (path, arguments) in steps.items():
        announce(f"{model.name}: {name}")
        if not path.is_file():
            run_command(peers.optimum(*arguments), threads=threads)
        graphs[name] = path
    optimized = folder / "o2-int8.onnx"
    announce(f"{model.name}: optimized INT8")
    if not optimized.is_file():
        request = {"graph": str(graphs["optimized FP32 O2"]), "output": str(optimized)}
        run_worker("worker_stock_quantize", request, threads=threads, python=peers.python)
    return graphs | {"optimized INT8": optimized}
