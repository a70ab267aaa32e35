"""The engines that a checkpoint can be exported for: one row each.

The table is light and lies below the runtime, which reads in it how an engine is opened. What makes
a target's graph, its recipes, number formats and checks, is the file that :attr:`Target.module`
names, see :mod:`bert_export.targets`. A target's name stands in its row and in that file, nowhere
else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bert_export.errors import InputError, one_of, shown

__all__ = [
    "DEFAULT_TARGET",
    "PRECISIONS",
    "TARGETS",
    "Builder",
    "Device",
    "Target",
    "check_precision",
    "find_target",
]

Device = Literal["cpu", "gpu"]
"""What an engine runs on: the processor, or an NVIDIA GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """What compiles a target's graph into an engine file before it can run.

    Args:
        module: The Python module, of TensorRT's interface.
        for_named_gpus: Whether it compiles on any machine for the GPUs that are named to it; if
            not, it compiles for the GPU of the machine that it runs on.
    """

    module: str
    for_named_gpus: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One row of :data:`TARGETS`.

    Args:
        name: As typed after ``--target``.
        summary: One line for tables.
        precisions: In the order in which tables show them; the keys of its module's ``RECIPES``.
        int8_modes: How its INT8 may be made, where it has INT8: with static activation scales, or
            with scales that are computed for every call (dynamic).
        device: What its engine runs on. On a processor its graph is verified in the engine itself,
            for a GPU on ONNX Runtime's CPU provider.
        module: With its recipes, number formats and checks, imported when it is first used; see
            :class:`bert_export.targets.target_module.TargetModule`.
        session: ``module:function`` below :mod:`bert_export.runtime.sessions` that opens an engine.
        text_session: The same for its graph that takes texts; ``None`` where it can have none.
        takes_halves: Whether its engine may be two graphs, an encoder's and a decoder's.
        session_options: Options of that function, see
            :class:`bert_export.runtime.sessions.SessionOptions`.
        standing: ``module:function`` likewise, that says how it stands on this machine beside other
            targets, see :data:`bert_export.runtime.engine_choice.Standing`; ``None`` where it can
            run if its package is installed.
        builder: Of its engine file; ``None`` where the engine reads the graph file itself.
        suffix: Of its graph's file: ``.json`` where that is a program
            (:mod:`bert_export.bundle.program`) and no ONNX graph.
        extra: Of this package that it needs; ``None`` where the package itself is enough.
        packages: Distributions whose versions decide how it answers and how fast.
    """

    name: str
    summary: str
    precisions: tuple[str, ...]
    int8_modes: tuple[str, ...] = ("static",)
    device: Device
    module: str
    session: str
    takes_halves: bool = False
    text_session: str | None = None
    session_options: tuple[str, ...] = ()
    standing: str | None = None
    builder: Builder | None = None
    suffix: str = ".onnx"
    extra: str | None = None
    packages: tuple[str, ...]

    @property
    def gpu(self) -> bool:
        """Whether its engine runs on an NVIDIA GPU."""
        return self.device == "gpu"

    @property
    def graph_file(self) -> str:
        """Name of its graph in a bundle."""
        return f"{self.name}{self.suffix}"

    @property
    def text_graph_file(self) -> str:
        """Name in a bundle of its graph that takes texts."""
        return f"{self.name}.text.onnx"

    @property
    def encoder_file(self) -> str:
        """Name in a bundle of the graph that encodes the text which :attr:`graph_file` reads."""
        return f"{self.name}-encoder.onnx"

    @property
    def engine_file(self) -> str:
        """Name in a bundle of the engine that its builder makes of the graph."""
        return f"{self.name}.engine"


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="onnxruntime",
            summary="ONNX Runtime's CPU provider",
            precisions=("fp32", "int8"),
            int8_modes=("static", "dynamic"),
            device="cpu",
            module="bert_export.targets.onnxruntime",
            session="onnxruntime:open_engine",
            takes_halves=True,
            text_session="onnxruntime:open_text_graph",
            session_options=("threads", "providers"),
            packages=("onnxruntime",),
        ),
        Target(
            name="openvino",
            summary="OpenVINO's CPU plugin",
            precisions=("fp32", "bf16", "int8"),
            device="cpu",
            module="bert_export.targets.openvino",
            session="openvino:open_engine",
            takes_halves=True,
            session_options=("threads", "hint", "cache", "shapes"),
            extra="openvino",
            packages=("openvino",),
        ),
        Target(
            name="native",
            summary="this package's own kernels, on rows that are not padded",
            precisions=("fp32", "bf16", "int8"),
            device="cpu",
            module="bert_export.targets.native",
            session="native:open_engine",
            session_options=("threads",),
            standing="native:standing",
            suffix=".json",
            extra="native",
            packages=("bert-export",),
        ),
        Target(
            name="onnxruntime-cuda",
            summary="ONNX Runtime's CUDA provider",
            precisions=("fp32", "fp16"),
            device="gpu",
            module="bert_export.targets.onnxruntime_cuda",
            session="onnxruntime_gpu:open_with_cuda",
            session_options=("threads",),
            packages=("onnxruntime-gpu",),
        ),
        Target(
            name="tensorrt",
            summary="TensorRT, on the machine with the GPU",
            precisions=("fp32", "fp16", "bf16", "int8"),
            device="gpu",
            module="bert_export.targets.tensorrt",
            session="tensorrt:open_engine",
            builder=Builder(module="tensorrt", for_named_gpus=False),
            extra="tensorrt",
            packages=("tensorrt", "polygraphy"),
        ),
        Target(
            name="tensorrt-rtx",
            summary="TensorRT for RTX, built on any machine for the GPUs that are named",
            precisions=("fp32", "fp16", "bf16", "int8"),
            device="gpu",
            module="bert_export.targets.tensorrt_rtx",
            session="tensorrt:open_engine",
            builder=Builder(module="tensorrt_rtx", for_named_gpus=True),
            extra="tensorrt-rtx",
            packages=("tensorrt-rtx", "polygraphy"),
        ),
        Target(
            name="onnxruntime-tensorrt",
            summary="ONNX Runtime's TensorRT provider",
            precisions=("fp32", "fp16", "int8"),
            device="gpu",
            module="bert_export.targets.onnxruntime_tensorrt",
            session="onnxruntime_gpu:open_with_tensorrt",
            session_options=("threads",),
            packages=("onnxruntime-gpu",),
        ),
    )
}

PRECISIONS = tuple(
    dict.fromkeys(
        precision
        for target in sorted(TARGETS.values(), key=lambda target: -len(target.precisions))
        for precision in target.precisions
    )
)
"""Every precision that a target has, in the order of the target that has most."""

DEFAULT_TARGET = next(iter(TARGETS))
"""The target of an export that names none: the first row."""


def check_precision(name: str) -> str:
    """The name of a precision that some target has.

    Raises:
        InputError: None has.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision {shown(name)} is unknown", **one_of(name, PRECISIONS))
    return name


def find_target(name: str, precision: str | None = None) -> Target:
    """The row of that name, checked for a precision.

    Raises:
        InputError: No target is called so, or it does not have the precision.
    """
    if name not in TARGETS:
        raise InputError(f"target {shown(name)} is unknown", **one_of(name, TARGETS))
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
