"""ONNX Runtime behind the session interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from bert_export.bundle import EngineRecord, TensorSpec
from bert_export.errors import BundleError, InputError, TargetError, one_line
from bert_export.runtime.processor import detect_processor, saturates
from bert_export.runtime.sessions.cache import Cache, CachingSession
from bert_export.runtime.sessions.forking import Forkable, survive_fork
from bert_export.runtime.sessions.onnxruntime_cache import BoundCache, graph_errors
from bert_export.runtime.sessions.pieces import can_cut, cut_feeds, join_outputs
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    FeedsCheck,
    Outputs,
    Session,
    check_threads,
)
from bert_export.runtime.sessions.versions import check_version

__all__ = ["OnnxRuntimeSession", "open_engine", "open_text_graph", "start_engine"]

_PROCESSOR = ("CPUExecutionProvider",)
_FUSIONS = (
    "AttentionFusion",
    "BiasGeluFusion",
    "BiasSkipLayerNormFusion",
    "BiasSoftmaxFusion",
    "DynamicQuantizeMatMulFusion",
    "EmbedLayerNormFusion",
    "FastGeluFusion",
    "GatherSliceToSplitFusion",
    "GatherToSliceFusion",
    "GeluFusionL2",
    "GemmActivationFusion",
    "GroupQueryAttentionFusion",
    "LayerNormFusionL2",
    "MatMulActivationFusion",
    "MatMulIntegerToFloatFusion",
    "MatMulScaleFusion",
    "MatmulTransposeFusion",
    "QDQFinalCleanupTransformer",
    "QDQSelectorActionTransformer",
    "QuickGeluFusion",
    "SimplifiedLayerNormFusion",
    "SkipLayerNormFusion",
)  # of ONNX Runtime's extended level
_DTYPES = {
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(string)": "string",
}


class OnnxRuntimeSession(Session, CachingSession, Forkable):
    """A graph file opened with ONNX Runtime; on a processor, large batches run in pieces.

    Args:
        path: The graph file; its weights lie beside it.
        threads: Threads inside an operator; ``None`` leaves ONNX Runtime's default, all cores.
        providers: Execution providers in order of preference, or a single one.
        fuse: Whether ONNX Runtime's own fusions run too: GPUs have kernels for them.
        unsaturated: Whether products of 8-bit weights are computed so that they cannot saturate on
            a processor without VNNI. They are slower there; on other processors nothing changes.

    Raises:
        InputError: A provider is not in this ONNX Runtime, no provider is named, or ``threads`` is
            not from 1 to 1024.
        BundleError: ONNX Runtime cannot read the graph, or it has tensors of an unsupported type.
        TargetError: This ONNX Runtime is too old, or a provider cannot start. ONNX Runtime itself
            would fall back silently.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        providers: str | Sequence[str] = _PROCESSOR,
        fuse: bool = False,
        unsaturated: bool = False,
    ) -> None:
        available = onnxruntime.get_available_providers()
        on_gpu = "CUDAExecutionProvider" in available
        check_version("onnxruntime-gpu" if on_gpu else "onnxruntime", onnxruntime.__version__)
        if isinstance(providers, str):
            providers = (providers,)
        if not providers:
            raise InputError(
                "providers is empty", expected=f"some of {', '.join(available)}", got="none"
            )
        for provider in providers:
            if provider not in available:
                raise InputError(
                    f"provider {provider} is not in this onnxruntime",
                    expected=f"one of {', '.join(available)}",
                    got=provider,
                )
        threads = check_threads(threads)
        try:
            self._session: onnxruntime.InferenceSession | None = start_engine(
                path, threads=threads, providers=providers, fuse=fuse, unsaturated=unsaturated
            )
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise BundleError(
                f"graph {path} cannot be opened by onnxruntime {onnxruntime.__version__}",
                expected="a readable ONNX graph",
                got=one_line(error),
                fix="Export the bundle again",
            ) from error
        _check_started(providers, self._session.get_providers())
        self.inputs = tuple(_spec(path, node) for node in self._session.get_inputs())
        self.outputs = tuple(_spec(path, node) for node in self._session.get_outputs())
        self._check_feeds = FeedsCheck(self.inputs)
        self._output_names = [spec.name for spec in self.outputs]
        survive_fork(self)
        self._cuts = tuple(providers) == _PROCESSOR and can_cut(self.inputs, self.outputs)

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once; see :class:`bert_export.runtime.sessions.session.Session`."""
        session = self.engine
        self._check_feeds(feeds, self.longest)
        pieces = cut_feeds(feeds) if self._cuts else (feeds,)
        names = self._output_names
        with graph_errors():
            parts = [
                dict(zip(names, session.run(names, dict(piece)), strict=True)) for piece in pieces
            ]
        return join_outputs(parts)

    def open_cache(self, most: int, held: Mapping[str, Array]) -> Cache:
        """A cache in buffers that the engine reads and writes where they lie."""
        return BoundCache(self, most, held)

    @property
    def engine(self) -> onnxruntime.InferenceSession:
        """ONNX Runtime's session.

        Raises:
            InputError: It is closed.
        """
        if self._session is None:
            raise InputError("session is closed", fix="Load the bundle again")
        return self._session

    def held(self) -> list[Any]:
        """The engine."""
        return [] if self._session is None else [self._session]

    def close(self) -> None:
        """Free the engine; a run that is under way in another thread finishes first."""
        self._session = None


def start_engine(
    path: Path,
    *,
    threads: int | None = None,
    providers: Sequence[str] = _PROCESSOR,
    fuse: bool = False,
    unsaturated: bool = False,
) -> onnxruntime.InferenceSession:
    """Start ONNX Runtime so that it keeps the form of a graph.

    The recipes chose the form that was measured fastest, so only ONNX Runtime's basic level runs:
    it folds constants and removes redundant nodes, while its extended level would undo the form.
    The one pass that keeps products from saturating belongs to the extended level; for it, that
    level runs with all other passes disabled. The pass breaks a ``DequantizeLinear`` of weights, so
    a graph must not have one.

    Args:
        path: The graph file; its weights lie beside it.
        threads: See :class:`OnnxRuntimeSession`, also for the other options.
        providers: Execution providers in order of preference.
        fuse: Whether ONNX Runtime's own fusions run too.
        unsaturated: Whether products of 8-bit weights cannot saturate.

    Raises:
        Exception: One of onnxruntime's own, where it cannot read the graph.
    """
    options, levels = onnxruntime.SessionOptions(), onnxruntime.GraphOptimizationLevel
    disabled = None
    if fuse:
        options.graph_optimization_level = levels.ORT_ENABLE_ALL
    elif unsaturated:
        options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.x64quantprecision", "1")
        disabled = _FUSIONS
    else:
        options.graph_optimization_level = levels.ORT_ENABLE_BASIC
    options.log_severity_level = 4  # errors are raised, and need no second line on stderr
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(path), options, providers=list(providers), disabled_optimizers=disabled
    )


def open_engine(
    folder: Path,
    engine: EngineRecord,
    *,
    threads: int | None = None,
    providers: str | Sequence[str] = _PROCESSOR,
) -> OnnxRuntimeSession:
    """Open an engine of a bundle; for the options see :class:`OnnxRuntimeSession`."""
    return _open_graph(folder, engine, engine.graph.file, threads=threads, providers=providers)


def open_text_graph(
    folder: Path,
    engine: EngineRecord,
    *,
    threads: int | None = None,
    providers: str | Sequence[str] = _PROCESSOR,
) -> OnnxRuntimeSession:
    """Open an engine's graph that takes texts; for the options see :class:`OnnxRuntimeSession`."""
    assert engine.text is not None, "the caller has looked"
    file = engine.text.graph.file
    return _open_graph(folder, engine, file, threads=threads, providers=providers)


def _open_graph(
    folder: Path,
    engine: EngineRecord,
    file: str,
    *,
    threads: int | None,
    providers: str | Sequence[str],
) -> OnnxRuntimeSession:
    plan = engine.quantization
    return OnnxRuntimeSession(
        folder / file,
        threads=threads,
        providers=providers,
        unsaturated=plan is not None and saturates(plan.processor, detect_processor()),
    )


def _check_started(providers: Sequence[str], started: Sequence[str]) -> None:
    """Refuse a provider that did not start: ONNX Runtime falls back to another one silently."""
    for provider in providers:
        if provider not in started:
            raise TargetError(
                f"provider {provider} cannot start",
                expected="a GPU, its driver and the CUDA libraries that this onnxruntime needs",
                got=f"a session that would run on {', '.join(started)}",
            )


def _spec(path: Path, node: onnxruntime.NodeArg) -> TensorSpec:
    if node.type not in _DTYPES:
        raise BundleError(
            f"graph {path} has a tensor {node.name} of an unsupported type",
            expected=f"one of {', '.join(_DTYPES)}",
            got=node.type,
        )
    # An axis without a name is dynamic and agrees with no other: give it a name of its own.
    shape = tuple(axis or f"{node.name}.{index}" for index, axis in enumerate(node.shape))
    return TensorSpec(name=node.name, dtype=_DTYPES[node.type], shape=shape)
