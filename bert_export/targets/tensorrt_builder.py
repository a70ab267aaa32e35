"""Build an engine from a graph file, with TensorRT or TensorRT for RTX.

Both modules have the same interface. TensorRT for RTX compiles for named compute capabilities on
any machine; TensorRT times kernels on the GPU of the machine that it runs on. A builder tells only
in its log why it failed, so the log is captured and its errors are raised.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError, MissingExtraError, TargetError, one_line
from bert_export.target_table import TARGETS, Builder, find_target
from bert_export.targets.compute_capabilities import find_capabilities
from bert_export.targets.engine_cache import BuildFacts, EngineCache, engine_key
from bert_export.targets.gpu import find_gpu
from bert_export.targets.profiles import Profile

__all__ = [
    "BuiltEngine",
    "build_engine",
    "builder_version",
    "check_capabilities",
    "nameable_capabilities",
]

_ATTENTION = re.compile(r"Found (\S+)\.attention\.weights to be part of self-attention pattern")
_SCRATCH = re.compile(r"Total Activation Memory: (\d+) bytes")
_EXPECTED = re.compile(r"Make sure input \S+ has Int64 binding")
"""A warning about every int64 input, which ids are."""
_ERRORS = ("ERROR", "INTERNAL_ERROR")
_BUILDING = threading.Lock()
"""The library keeps one logger per process, so one build at a time has it."""


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """A serialized engine and what its builder tells of it.

    Args:
        plan: The engine's bytes.
        builder: Module and version; an engine runs with no other.
        capabilities: Compute capabilities that it was built for; empty for the GPU of this machine.
        profiles: Its optimization profiles, in order.
        facts: What the builder tells of it.
        cached: Whether it came from the cache.
    """

    plan: bytes
    builder: str
    capabilities: tuple[str, ...]
    profiles: tuple[Profile, ...]
    facts: BuildFacts
    cached: bool = False


def build_engine(
    graph: Path,
    inputs: Sequence[TensorSpec],
    *,
    target: str,
    profiles: Sequence[Profile],
    gpus: Sequence[str] = (),
    cache: EngineCache | None = None,
) -> BuiltEngine:
    """Build an engine, or take the same one from the cache.

    Args:
        graph: The graph file; its weights lie beside it.
        inputs: Of the graph, in order.
        target: One whose row has a builder.
        profiles: At least one.
        gpus: Names or compute capabilities of the GPUs that the engine is for: at least one where
            the builder is for named GPUs, none where it is not.
        cache: Where engines are kept.

    Raises:
        MissingExtraError: The builder is not installed.
        InputError: A GPU is unknown or cannot be built for, or the folder of a cache that the user
            named cannot be made.
        TargetError: The builder cannot start, read the graph or build it; the message holds its
            own error.
    """
    capabilities = check_capabilities(target, gpus)
    module = _import_builder(target)
    builder = builder_version(target)
    gpu = None if capabilities else find_gpu()
    built_for = capabilities or (() if gpu is None else (gpu.name, gpu.driver))
    key = engine_key(graph, builder=builder, built_for=built_for, profiles=profiles)
    if not built_for:  # a GPU that nobody can name: its engines are not another's
        cache = None
    engine = partial(
        BuiltEngine, builder=builder, capabilities=capabilities, profiles=tuple(profiles)
    )
    if cache is not None and (entry := cache.read(key)) is not None:
        plan, facts = entry
        return engine(plan=plan, facts=facts, cached=True)
    if cache is not None:
        cache.prepare()
    start = time.perf_counter()
    with _captured(module) as log:
        plan = _build(module, log, graph, inputs, target, profiles, capabilities)
    facts = BuildFacts(
        attention_layers=len(set(log.find(_ATTENTION))),
        device_memory=max(map(int, log.find(_SCRATCH)), default=None),
        warnings=tuple(line for line in log.lines("WARNING") if not _EXPECTED.search(line)),
        seconds=round(time.perf_counter() - start, 3),
    )
    if cache is not None:
        cache.write(key, plan, facts)
    return engine(plan=plan, facts=facts)


def builder_version(target: str) -> str:
    """Module and version of a target's builder, such as ``tensorrt_rtx 1.7.1.116``.

    Raises:
        MissingExtraError: It is not installed.
    """
    return f"{_builder(target).module} {_import_builder(target).__version__}"


def nameable_capabilities(target: str) -> tuple[str, ...]:
    """Compute capabilities that a builder can be told to build for on any machine."""
    names = getattr(_import_builder(target), "ComputeCapability", None)
    members = () if names is None else names.__members__
    return tuple(name for name in members if name.startswith("SM"))


def _builder(target: str) -> Builder:
    """The builder of a target's row.

    Raises:
        InputError: No target is called so, or it has none.
    """
    builder = find_target(target).builder
    if builder is None:
        raise InputError(
            f"target {target} has no engine to build", expected="one that has a builder"
        )
    return builder


def _for_named_gpus() -> list[str]:
    """Targets whose builder compiles for GPUs that are named."""
    builders = {name: target.builder for name, target in TARGETS.items()}
    return [name for name, builder in builders.items() if builder and builder.for_named_gpus]


def _import_builder(target: str) -> Any:
    try:
        return import_module(_builder(target).module)
    except ImportError as error:  # also a library of the GPU's driver that is not there
        raise MissingExtraError(
            f"building an engine for {target} ({error})", extra=find_target(target).extra or target
        ) from error


def check_capabilities(target: str, gpus: Sequence[str]) -> tuple[str, ...]:
    """Compute capabilities that are built for; none for the GPU of this machine.

    Raises:
        MissingExtraError: The builder is not installed.
        InputError: A GPU is unknown, or the builder cannot be told of it.
    """
    _import_builder(target)
    if _builder(target).for_named_gpus:
        if not gpus:
            raise InputError(
                f"target {target} is not told for which GPU",
                expected=f"--sm with one of {', '.join(nameable_capabilities(target))}, or a GPU's "
                "name",
                got="none",
            )
        return find_capabilities(gpus, nameable_capabilities(target))
    if gpus:
        raise InputError(
            f"target {target} builds for the GPU of the machine that it runs on",
            expected="no --sm",
            got=", ".join(gpus),
            fix=f"Drop --sm, or use --target {' or '.join(_for_named_gpus())}",
        )
    return ()


def _build(
    module: Any,
    log: _Log,
    graph: Path,
    inputs: Sequence[TensorSpec],
    target: str,
    profiles: Sequence[Profile],
    capabilities: Sequence[str],
) -> bytes:
    builder = _start(module, log, target)
    flags = 0  # from TensorRT 11 on every network is strongly typed, and the flag may be gone
    typed = getattr(module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if typed is not None:
        flags = 1 << int(typed)
    network = builder.create_network(flags)
    parser = module.OnnxParser(network, _logger(module))
    if not parser.parse_from_file(str(graph)):
        raise _parse_error(parser, log, graph, target)
    config = builder.create_builder_config()
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for place, name in enumerate(capabilities):
            if not config.set_compute_capability(getattr(module.ComputeCapability, name), place):
                raise TargetError(
                    f"compute capability {name} is refused by {builder_version(target)}",
                    expected="a capability that it builds for",
                    got=log.last_error(),
                )
    for profile in profiles:
        shapes = builder.create_optimization_profile()
        for spec in inputs:
            shapes.set_shape(spec.name, *profile.shapes(spec))
        if config.add_optimization_profile(shapes) < 0:
            raise TargetError(
                f"optimization profile {profile.record()} is refused by {builder_version(target)}",
                expected="shapes that fit the graph",
                got=log.last_error(),
            )
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError(
            f"graph {graph.name} cannot be built by {builder_version(target)}"
            + (f" for {', '.join(capabilities)}" if capabilities else ""),
            expected="an engine",
            got=log.last_error(),
        )
    return bytes(plan)


def _start(module: Any, log: _Log, target: str) -> Any:
    """The builder itself, which may need a GPU."""
    try:
        builder = module.Builder(_logger(module))
    except (RuntimeError, TypeError) as error:  # pybind's word for a null pointer
        builder, reason = None, log.last_error(str(error))
    else:
        reason = log.last_error()
    if builder is None:
        raise TargetError(
            f"builder {builder_version(target)} cannot start",
            expected="an NVIDIA GPU with its driver",
            got=reason,
            fix=f"Run bert-export build with --target {target} on the machine with the GPU: the "
            "bundle holds the graph and the options",
        )
    return builder


def _parse_error(parser: Any, log: _Log, graph: Path, target: str) -> TargetError:
    """The parser's first error, by node."""
    errors = [parser.get_error(place) for place in range(parser.num_errors)]
    if not errors:
        where, what = "", log.last_error()
    else:
        first = errors[0]
        name, operator = first.node_name(), first.node_operator()
        where = f" at {operator} node {name}" if operator else ""
        what = one_line(first.desc(), most=None)
    return TargetError(
        f"graph {graph.name} cannot be read{where} by {builder_version(target)}",
        expected="a graph of operators and types that it knows",
        got=what,
    )


class _Log:
    """The log of one build."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def lines(self, severity: str) -> list[str]:
        """Lines of a severity, each once."""
        return list(
            dict.fromkeys(
                one_line(text, most=None) for level, text in self.entries if level == severity
            )
        )

    def find(self, pattern: re.Pattern[str]) -> Iterator[str]:
        """First groups of all matches."""
        for _, text in self.entries:
            yield from (match[1] for match in pattern.finditer(text))

    def last_error(self, otherwise: str = "no reason in its log") -> str:
        """The reason of a failure: the errors, in order."""
        errors = [one_line(text, most=None) for level, text in self.entries if level in _ERRORS]
        return " ".join(dict.fromkeys(errors)) or otherwise


@functools.cache
def _logger(module: Any) -> Any:
    """The one logger that a module has in a process; it writes to the log of the current build."""

    class Logger(module.ILogger):  # type: ignore[misc]  # the module is only known at run time
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.log_of_build: _Log | None = None

        def log(self, severity: Any, text: str) -> None:
            if self.log_of_build is not None:
                self.log_of_build.entries.append((severity.name, text))

    return Logger()


@contextmanager
def _captured(module: Any) -> Iterator[_Log]:
    """Capture the log of one build."""
    with _BUILDING:
        logger = _logger(module)
        logger.log_of_build = log = _Log()
        try:
            yield log
        finally:
            logger.log_of_build = None
