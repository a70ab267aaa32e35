"""OpenVINO's CPU plugin behind the session interface."""

from __future__ import annotations

import hashlib
import math
import os
import queue
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.bundle import WEIGHTS_FILE, EngineRecord, GraphRecord, TensorSpec, hash_file
from bert_export.errors import BundleError, InputError, MissingExtraError, one_line, one_of, shown
from bert_export.runtime.sessions.cache import Cache, CachingSession, keeps_cache
from bert_export.runtime.sessions.forking import Forkable, refuse_after_fork, survive_fork
from bert_export.runtime.sessions.openvino_state import (
    StateCache,
    StatefulEngine,
    graph_errors,
    make_stateful,
)
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    FeedsCheck,
    Outputs,
    Session,
    check_threads,
)
from bert_export.runtime.sessions.versions import check_version
from bert_export.telemetry import import_openvino

_KERNELS = "256"
"""Of oneDNN, whose cache all of a process's graphs share: some 25 shapes of INT8."""

# oneDNN reads it once, when its first kernel is made; by default it keeps 1024.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)

try:
    openvino = import_openvino()
except ImportError as error:
    raise MissingExtraError("target openvino", extra="openvino") from error

__all__ = ["HINTS", "OpenVinoSession", "execution_type", "open_engine"]

HINTS = ("latency", "throughput")

Shape = tuple[int, ...]

_CACHED_OPERATORS = 256
"""Per kind of operator; each shape of the inputs needs about four of the largest kind, so that some
64 shapes stay. OpenVINO's own 5000 let INT8 grow by 6 MB with every new shape, to gigabytes."""

_INT8_ROW_MULTIPLE = 8
"""Tokens: a new length costs INT8 fifty milliseconds, a few more tokens next to nothing."""

_ANY: Shape = ()
_DEVICE = "CPU"


class OpenVinoSession(Session, CachingSession, Forkable):
    """A graph file opened with OpenVINO.

    OpenVINO makes kernels for every new shape of the inputs, and keeps them. In INT8 that takes
    50 ms and 6 MB for six layers, so pipelines pad rows to multiples of
    :attr:`row_multiple`, and the number of shapes that are kept is bounded.

    Args:
        path: The graph file; its weights lie beside it.
        graph: Its interface: OpenVINO does not keep the names of axes.
        precision: Precision of the bundle's entry; see :func:`execution_type`.
        threads: Threads of the engine; ``None`` leaves OpenVINO's default, all cores.
        hint: ``latency`` gives all threads to one run. ``throughput`` splits them among as many
            runs as OpenVINO finds best, for callers that come from several threads.
        cache: Folder in which OpenVINO keeps the compiled graph, weights included, and one more for
            each of ``shapes``. The same OpenVINO loads them again for the same options. Each graph
            has a subfolder of its own, named by the content of the graph and its weights, because
            OpenVINO itself would tell graphs apart by path, size and time of change.
        shapes: Shapes of the first input, such as (1, 128). The graph is compiled once more for
            each, with weights of its own. A run of exactly that shape then takes less time:
            OpenVINO fuses more operators and need not work out the sizes of their results. INT8
            rounds differently then, no further from FP32. Other shapes run as before.

    Attributes:
        row_multiple: Tokens of which a row's length is best a multiple.

    Raises:
        InputError: ``threads`` is not from 1 to 1024, ``hint`` is unknown, ``cache`` cannot be
            made, or a shape does not fit the first input.
        BundleError: OpenVINO cannot read the graph.
        TargetError: This OpenVINO is too old.
    """

    def __init__(
        self,
        path: Path,
        graph: GraphRecord,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        hint: str = "latency",
        cache: str | Path | None = None,
        shapes: Sequence[Sequence[int]] = (),
    ) -> None:
        threads = check_threads(threads)
        if hint not in HINTS:
            raise InputError(f"hint {shown(hint)} is unknown", **one_of(hint, HINTS))
        check_version("openvino", openvino.__version__)
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._check_feeds = FeedsCheck(self.inputs)
        fixed = _check_shapes(self.inputs[0], shapes)
        self.row_multiple = _INT8_ROW_MULTIPLE if precision == "int8" else 1
        for *_, length in fixed:  # calls of just these lengths are to stay so
            self.row_multiple = math.gcd(self.row_multiple, length)
        core = openvino.Core()
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": hint.upper(),
            "INFERENCE_PRECISION_HINT": execution_type(core, precision),
            "CPU_RUNTIME_CACHE_CAPACITY": _CACHED_OPERATORS,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        kept = None
        try:
            if cache is not None:
                kept = _make_cache(cache, path)
                options["CACHE_DIR"] = str(kept)
            with _beside_its_weights(path, kept) as plain:
                source: Any = str(plain)
                if keeps_cache(self):
                    model = core.read_model(source)
                    source = make_stateful(model, openvino, self.inputs, self.outputs)
                compiled = core.compile_model(source, _DEVICE, options)
        except (OSError, RuntimeError, UnicodeError) as error:  # the last: it quotes names as bytes
            raise BundleError(
                f"graph {path} cannot be opened by openvino {openvino.__version__}",
                expected="a readable ONNX graph",
                got=one_line(error, keep_end=True),  # the beginning names its source files
                fix="Export the bundle again",
            ) from error
        self._stateful = None
        if keeps_cache(self):
            self._stateful = StatefulEngine(compiled, openvino, self.inputs, self.outputs)
        engines: dict[Shape, _Engine | StatefulEngine] = {
            _ANY: self._stateful or _Engine(compiled, self.outputs)
        }
        if fixed:
            with _beside_its_weights(path, kept) as plain:
                model = core.read_model(str(plain))
                for shape in fixed:
                    bound = _bind(model, self.inputs, shape)
                    compiled = core.compile_model(bound, _DEVICE, options)
                    engines[shape] = _Engine(compiled, self.outputs)
        self._engines: Mapping[Shape, _Engine | StatefulEngine] | None = engines
        survive_fork(self)

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once; see :class:`bert_export.runtime.sessions.session.Session`.

        Where more threads call than the hint has runs, the others wait for their turn.
        """
        engines = self.check_open()
        refuse_after_fork(self)
        sizes = self._check_feeds(feeds, self.longest)
        outputs = engines.get(feeds[self.inputs[0].name].shape, engines[_ANY]).run(feeds)
        _check_outputs(self.outputs, outputs, sizes)
        return outputs

    def open_cache(self, most: int, held: Mapping[str, Array]) -> Cache:
        """A cache that the engine keeps as the state of a request."""
        self.check_open()
        assert self._stateful is not None, "open_cache asks for a graph that keeps one"
        return StateCache(self, self._stateful, held)

    def check_open(self) -> Mapping[Shape, _Engine | StatefulEngine]:
        """The engines, by the shape of the first input that they are for.

        Raises:
            InputError: The session is closed.
        """
        if self._engines is None:
            raise InputError("session is closed", fix="Load the bundle again")
        return self._engines

    def held(self) -> list[Any]:
        """The compiled graphs and their requests."""
        return [part for engine in (self._engines or {}).values() for part in engine.parts]

    def close(self) -> None:
        """Free the engine; a run that is under way in another thread finishes first."""
        self._engines = self._stateful = None


class _Engine:
    """A compiled graph and the requests that run it side by side."""

    def __init__(self, compiled: Any, outputs: Sequence[TensorSpec]) -> None:
        self._ports = {spec.name: compiled.output(spec.name) for spec in outputs}
        requests = [
            compiled.create_infer_request()
            for _ in range(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        ]
        self.parts = [compiled, *self._ports.values(), *requests]
        self._requests: queue.LifoQueue[Any] = queue.LifoQueue()
        for request in requests:
            self._requests.put(request)

    def run(self, feeds: Feeds) -> Outputs:
        request = self._requests.get()
        try:
            # Inputs are read where they lie; outputs are copied, for the request is used again.
            with graph_errors():
                arrays = request.infer(dict(feeds), share_inputs=True)
        finally:
            self._requests.put(request)
        return {name: arrays[port] for name, port in self._ports.items()}


def open_engine(
    folder: Path,
    engine: EngineRecord,
    *,
    threads: int | None = None,
    hint: str = "latency",
    cache: str | Path | None = None,
    shapes: Sequence[Sequence[int]] = (),
) -> OpenVinoSession:
    """Open an engine of a bundle; for the options see :class:`OpenVinoSession`."""
    return OpenVinoSession(
        folder / engine.graph.file,
        engine.graph,
        precision=engine.precision,
        threads=threads,
        hint=hint,
        cache=cache,
        shapes=shapes,
    )


def execution_type(core: Any, precision: str) -> str:
    """The type in which OpenVINO computes what is not INT8.

    By default OpenVINO computes FP32 graphs in BF16 wherever the processor has it. Here BF16 is for
    the precision ``bf16`` alone; on a processor without BF16 it is computed in FP32 too. ``int8``
    is not: with AMX, OpenVINO 2026.4 then multiplies INT8 queries and keys wrongly where a row has
    as many tokens as a head has channels, and FP32 is as fast up to a few hundred tokens.

    Args:
        core: OpenVINO's core object.
        precision: Precision of the bundle's entry.

    Returns:
        ``f32`` or ``bf16``.
    """
    capable = "BF16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return "bf16" if precision == "bf16" and capable else "f32"


def _check_outputs(specs: Sequence[TensorSpec], outputs: Outputs, sizes: Mapping[str, int]) -> None:
    """Refuse results of another size: OpenVINO answers no rows where shapes do not fit inside."""
    for spec in specs:
        shape = outputs[spec.name].shape
        wanted = tuple(
            sizes.get(axis, size) if isinstance(axis, str) else axis
            for axis, size in zip(spec.shape, shape, strict=True)
        )
        if shape != wanted:
            raise InputError(
                "feeds make the graph fail",
                expected=f"rows that are no longer than the model's positions, and with them "
                f"{spec.name} of {wanted}",
                got=str(shape),
            )


def _make_cache(cache: object, graph: Path) -> Path:
    """Make this graph's own subfolder of a cache.

    Raises:
        InputError: The folder cannot be made.
        OSError: A file of the graph cannot be read.
    """
    if not isinstance(cache, str | os.PathLike) or not os.fspath(cache):
        raise InputError("cache is wrong", expected="a folder's path", got=shown(cache))
    files = [path for path in (graph, graph.with_name(WEIGHTS_FILE)) if path.is_file()]
    content = " ".join(hash_file(path).sha256 for path in files)
    folder = Path(cache) / hashlib.sha256(content.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cache {cache} cannot be made", expected="a folder", got=one_line(error)
        ) from error
    return folder


@contextmanager
def _beside_its_weights(graph: Path, kept: Path | None) -> Iterator[Path]:
    """A path of the graph with its weights in the same folder, as OpenVINO from 2026.3 on wants it.

    Model hubs keep a model's files under other names elsewhere, and links in its folder. Then both
    are linked once more, as files; where the file system cannot, they are copied.

    Args:
        graph: The graph file.
        kept: This graph's folder in a cache, which knows graphs by their paths; ``None`` for a
            folder that is there only as long as the graph is read.

    Raises:
        OSError: A file cannot be read or copied.
    """
    weights = graph.with_name(WEIGHTS_FILE)
    if not weights.is_symlink() or weights.resolve().parent == graph.parent.resolve():
        yield graph
        return
    with tempfile.TemporaryDirectory(prefix="bert-export-") as name:
        place = Path(name) if kept is None else kept / "graph"
        place.mkdir(exist_ok=True)
        for path in (graph, weights):
            target = place / path.name
            if not target.exists():
                _link(path.resolve(), target)
        yield place / graph.name


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy; whole even where another process does the same."""
    whole = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        whole.hardlink_to(source)
    except OSError:
        shutil.copy2(source, whole)
    whole.replace(target)


def _check_shapes(spec: TensorSpec, shapes: object) -> list[Shape]:
    if isinstance(shapes, str) or not isinstance(shapes, Iterable):
        raise InputError(
            "shapes is wrong",
            expected=f"a list of ({', '.join(map(str, spec.shape))})",
            got=shown(shapes),
        )
    return [_check_shape(spec, shape) for shape in shapes]


def _check_shape(spec: TensorSpec, shape: object) -> Shape:
    given = tuple(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else shape
    sizes = given if isinstance(given, tuple) else ()
    if len(sizes) != len(spec.shape) or not all(map(_is_size, sizes)):
        raise InputError(
            f"shape {shown(given)} is none of input {spec.name}'s",
            expected=f"({', '.join(map(str, spec.shape))}), each at least 1",
            got=shown(given),
        )
    return tuple(map(int, sizes))


def _is_size(value: object) -> bool:
    return isinstance(value, int | np.integer) and value is not True and bool(value >= 1)


def _bind(model: Any, inputs: Sequence[TensorSpec], shape: Shape) -> Any:
    """The model for one shape of the first input; the other axes stay dynamic."""
    sizes = dict(zip(inputs[0].shape, shape, strict=True))
    bound = model.clone()
    try:
        bound.reshape({spec.name: [sizes.get(axis, -1) for axis in spec.shape] for spec in inputs})
    except RuntimeError as error:
        raise InputError(
            f"shape {shape} makes the graph fail",
            expected="rows that are no longer than the model's positions",
            got=one_line(error, keep_end=True),  # the beginning names its source files
        ) from error
    return bound
