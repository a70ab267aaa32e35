"""TensorRT and TensorRT for RTX behind the session interface, through Polygraphy's runner.

Never run on a GPU so far. Tested is everything around the runner, with a runner that honours
Polygraphy's protocol.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bert_export.bundle import EngineRecord, TensorSpec
from bert_export.errors import BundleError, InputError, MissingExtraError, TargetError, one_line
from bert_export.runtime.sessions.forking import Forkable, refuse_after_fork, survive_fork
from bert_export.runtime.sessions.session import (
    Array,
    Feeds,
    FeedsCheck,
    Outputs,
    Session,
)
from bert_export.runtime.sessions.versions import check_version
from bert_export.target_table import Target, find_target
from bert_export.tasks.interface import MASKED

__all__ = ["Runner", "TensorRtSession", "open_engine", "open_runner"]

_RTX = "tensorrt_rtx"
"""The one module besides TensorRT's own that Polygraphy knows."""

Ranges = Mapping[str, Sequence[int]]
"""Smallest, usual and largest size of every dynamic axis."""


class Runner(Protocol):
    """The part of ``polygraphy.backend.trt.TrtRunner`` that is used."""

    def activate(self) -> None:
        """Take the GPU."""
        ...

    def deactivate(self) -> None:
        """Free it."""
        ...

    def set_profile(self, index: int) -> None:
        """Choose the kernels of an optimization profile."""
        ...

    def get_input_metadata(self) -> Mapping[str, object]:
        """The engine's inputs by name."""
        ...

    def infer(self, feed_dict: Mapping[str, Array], check_inputs: bool = True) -> Outputs:  # noqa: FBT001, FBT002  # Polygraphy's signature
        """Run once; the arrays belong to the runner, which writes over them the next time."""
        ...


class TensorRtSession(Session, Forkable):
    """A serialized engine that runs on a GPU.

    One context runs one batch at a time: callers from several threads wait for their turn.

    Args:
        runner: A runner of the engine, not yet active.
        inputs: The graph's inputs.
        outputs: The graph's outputs.
        profiles: Sizes that the engine was built for, in the order of its profiles.

    Attributes:
        max_rows: Rows of a batch at most, whatever its length.

    Raises:
        TargetError: The runner cannot start: no GPU, or an engine of another release or GPU.
        BundleError: The engine has other inputs.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        profiles: Sequence[Ranges],
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._check_feeds = FeedsCheck(self.inputs)
        self._profiles = tuple(profiles)
        self.max_rows = min((ranges["batch"][-1] for ranges in self._profiles), default=1)
        self._lock = threading.Lock()
        self._profile = 0
        try:
            runner.activate()
        except Exception as error:  # Polygraphy's own, the driver's, or pybind's
            raise TargetError(
                "engine cannot start",
                expected="an NVIDIA GPU that it was built for, and the release that built it",
                got=one_line(error),
                fix="Build it again on this machine with bert-export build",
            ) from error
        self._runner: Runner | None = runner
        survive_fork(self)
        names = {spec.name for spec in inputs}
        found = set(runner.get_input_metadata())
        if found != names:
            self.close()
            raise BundleError(
                "engine has other inputs than the manifest says",
                expected=", ".join(sorted(names)),
                got=", ".join(sorted(found)) or "none",
                fix="Build it again with bert-export build",
            )

    def run(self, feeds: Feeds) -> Outputs:
        """Run the engine once; see :class:`bert_export.runtime.sessions.session.Session`.

        Raises:
            InputError: Also where a size is beyond all profiles.
        """
        refuse_after_fork(self)
        sizes = self._check_feeds(feeds, self.longest)
        empty = {MASKED} if sizes.get(MASKED) == 0 else set()
        if empty:  # the engine's axis begins at 1: one row is asked for, and taken off again
            feeds = {
                spec.name: np.zeros(1, spec.dtype) if spec.shape[0] in empty else feeds[spec.name]
                for spec in self.inputs
            }
            sizes |= dict.fromkeys(empty, 1)
        profile = self._fitting(sizes)
        with self._lock:
            if self._runner is None:
                raise InputError("session is closed", fix="Load the bundle again")
            if profile != self._profile:
                self._runner.set_profile(profile)
                self._profile = profile
            try:
                arrays = self._runner.infer(dict(feeds), check_inputs=False)
            except Exception as error:  # as above
                raise InputError(
                    "feeds make the engine fail",
                    expected="ids within the vocabulary, types and positions of the model",
                    got=one_line(error),
                ) from error
            for spec in self.outputs:
                if spec.name not in arrays:
                    raise BundleError(
                        "engine has other outputs than the manifest says",
                        expected=spec.name,
                        got=", ".join(sorted(arrays)) or "none",
                        fix="Build it again with bert-export build",
                    )
            outputs = {spec.name: np.array(arrays[spec.name]) for spec in self.outputs}
        return {
            spec.name: outputs[spec.name][:0] if spec.shape[0] in empty else outputs[spec.name]
            for spec in self.outputs
        }

    def held(self) -> list[Any]:
        """The runner."""
        return [] if self._runner is None else [self._runner]

    def close(self) -> None:
        """Free the GPU; a run that is under way in another thread finishes first."""
        with self._lock:
            if self._runner is not None:
                self._runner.deactivate()
            self._runner = None

    def _fitting(self, sizes: Mapping[str, int]) -> int:
        """The first profile whose ranges hold all sizes."""
        for index, ranges in enumerate(self._profiles):
            if all(ranges[axis][0] <= size <= ranges[axis][-1] for axis, size in sizes.items()):
                return index
        ranges_of_profiles = " or ".join(
            ", ".join(f"{axis} {ranges[axis][0]} to {ranges[axis][-1]}" for axis in sizes)
            for ranges in self._profiles
        )
        raise InputError(
            "feeds fit no optimization profile of the engine",
            expected=ranges_of_profiles,
            got=", ".join(f"{axis} {size}" for axis, size in sizes.items()),
            fix="Build the engine with larger --batch-sizes or --lengths",
        )


def open_engine(
    folder: Path,
    engine: EngineRecord,
    *,
    make_runner: Callable[[bytes, Target], Runner] | None = None,
) -> TensorRtSession:
    """Open the engine that was built for a bundle's entry.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry, of a target that has a builder.
        make_runner: Makes a runner of an engine's bytes and its target's row; :func:`open_runner`
            when ``None``.

    Raises:
        TargetError: No engine was built, or it cannot start on this machine.
        MissingExtraError: TensorRT or Polygraphy is not installed.
        BundleError: The engine's file is missing.
    """
    built = engine.build.engine
    if built is None:
        raise TargetError(
            f"bundle holds the graph for {engine.target}, and no engine",
            expected="an engine that was built",
            got="none",
            fix=f"Run bert-export build with --target {engine.target}",
        )
    path = folder / built.file
    if not path.is_file():
        raise BundleError(f"bundle {folder} has no file {path.name}", fix="Build it again")
    runner = (make_runner or open_runner)(path.read_bytes(), find_target(engine.target))
    return TensorRtSession(
        runner,
        inputs=engine.graph.inputs,
        outputs=engine.graph.outputs,
        profiles=built.profiles,
    )


def open_runner(plan: bytes, target: Target) -> Runner:
    """Polygraphy's runner over an engine's bytes.

    Args:
        plan: The engine.
        target: Its row, which names the module of its builder: that module runs it too.

    Raises:
        MissingExtraError: The module or Polygraphy is not installed.
        TargetError: The module is too old, or this process already runs the other of Polygraphy's
            two modules.
    """
    assert target.builder is not None, "a target without a builder has no engine file"
    module = target.builder.module
    try:
        import polygraphy.config
    except ImportError as error:
        raise _not_installed(target, error) from error
    for_rtx = module == _RTX
    if "polygraphy.backend.trt" in sys.modules and for_rtx != polygraphy.config.USE_TENSORRT_RTX:
        raise TargetError(
            f"engine of {target.name} cannot be opened in this process",
            expected=f"one of TensorRT and {_RTX} per process",
            got="the other, which is open already",
        )
    # Polygraphy chooses the module once, when its backend is imported.
    polygraphy.config.USE_TENSORRT_RTX = for_rtx
    try:
        check_version(module.replace("_", "-"), getattr(import_module(module), "__version__", None))
        from polygraphy.backend.trt import EngineFromBytes, TrtRunner
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise _not_installed(target, error) from error
    G_LOGGER.module_severity = {"": G_LOGGER.ERROR}
    runner: Runner = TrtRunner(EngineFromBytes(plan))
    return runner


def _not_installed(target: Target, error: ImportError) -> MissingExtraError:
    return MissingExtraError(
        f"running an engine of {target.name} ({error})", extra=target.extra or target.name
    )
