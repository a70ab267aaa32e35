"""The engines that a checkpoint can be exported for: one row each.

A row is light: the target's module, and with it onnx_ir and the engine's own packages, is imported
when it is first used. What form of graph a target wants, and why, stands in its module; the passes
that make it stand in :mod:`bert_export.passes.recipes`.
"""

from __future__ import annotations

from collections.abc import Mapping

from bert_export.bundle import DEFAULT_TARGET
from bert_export.errors import InputError
from bert_export.targets.target import Target

__all__ = ["DEFAULT_TARGET", "TARGETS", "Target", "find_target"]

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="onnxruntime",
            summary="ONNX Runtime's CPU provider",
            precisions=("fp32", "int8"),
            extra=None,
            module="bert_export.targets.onnxruntime",
        ),
        Target(
            name="openvino",
            summary="OpenVINO's CPU plugin",
            precisions=("fp32", "bf16", "int8"),
            extra="openvino",
            module="bert_export.targets.openvino",
        ),
        Target(
            name="onnxruntime-cuda",
            summary="ONNX Runtime's CUDA provider",
            precisions=("fp32", "fp16"),
            extra=None,
            module="bert_export.targets.onnxruntime_cuda",
            gpu=True,
        ),
        Target(
            name="onnxruntime-tensorrt",
            summary="ONNX Runtime's TensorRT provider",
            precisions=("fp32", "fp16", "int8"),
            extra=None,
            module="bert_export.targets.tensorrt",
            gpu=True,
        ),
        Target(
            name="tensorrt",
            summary="TensorRT, on the machine with the GPU",
            precisions=("fp32", "fp16", "bf16", "int8"),
            extra="tensorrt",
            module="bert_export.targets.tensorrt",
            gpu=True,
        ),
        Target(
            name="tensorrt-rtx",
            summary="TensorRT for RTX, built on any machine for the GPUs that are named",
            precisions=("fp32", "fp16", "bf16", "int8"),
            extra="tensorrt-rtx",
            module="bert_export.targets.tensorrt",
            gpu=True,
        ),
    )
}


def find_target(name: str, precision: str | None = None) -> Target:
    """The row of that name, checked for a precision.

    Raises:
        InputError: No target is called so, or it does not have the precision.
    """
    if name not in TARGETS:
        raise InputError(
            f"target {name!r} is unknown", expected=f"one of {', '.join(TARGETS)}", got=name
        )
    target = TARGETS[name]
    if precision is not None and precision not in target.precisions:
        others = [other.name for other in TARGETS.values() if precision in other.precisions]
        raise InputError(
            f"target {name} has no precision {precision}",
            expected=f"one of {', '.join(target.precisions)}",
            got=precision,
            fix=f"{precision} is there for {', '.join(others)}" if others else None,
        )
    return target
