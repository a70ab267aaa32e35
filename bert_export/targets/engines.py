"""The options of engines that are built, and building them into a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from bert_export.bundle import BuiltRecord, EngineOptions, EngineRecord
from bert_export.errors import InputError
from bert_export.target_table import TARGETS, find_target
from bert_export.targets.engine_cache import EngineCache, default_cache_folder
from bert_export.targets.gpu import find_gpu
from bert_export.targets.profiles import (
    Profile,
    make_profiles,
    profiles_from_lengths,
    read_lengths,
)
from bert_export.targets.tensorrt_builder import BuiltEngine, build_engine, check_capabilities

__all__ = [
    "EngineBuilder",
    "EngineOptions",
    "build_into",
    "built_targets",
    "check_engines",
    "find_profiles",
]


class EngineBuilder(Protocol):
    """Builds the engine of a bundle's entry; :func:`build_into` is the one that there is."""

    def __call__(
        self,
        folder: Path,
        engine: EngineRecord,
        *,
        options: EngineOptions,
        max_length: int,
        cache: Path | None,
    ) -> EngineRecord:
        """See :func:`build_into`."""
        ...


def built_targets(targets: Iterable[str] = TARGETS) -> tuple[str, ...]:
    """Those of the targets that have a builder of their own."""
    return tuple(name for name in targets if name in TARGETS and TARGETS[name].builder is not None)


def find_profiles(options: EngineOptions, max_length: int) -> tuple[Profile, ...]:
    """Optimization profiles for a bundle whose rows have at most ``max_length`` tokens.

    Raises:
        InputError: A size is not possible, or the file of lengths is malformed.
    """
    if options.profile_from is not None:
        return profiles_from_lengths(
            read_lengths(Path(options.profile_from)),
            max_length=max_length,
            batch_sizes=options.batch_sizes,
        )
    return make_profiles(
        max_length=max_length, batch_sizes=options.batch_sizes, lengths=options.lengths
    )


def check_engines(targets: Sequence[str], options: EngineOptions) -> None:
    """Refuse engines that cannot be built, before work is done for them.

    Raises:
        MissingExtraError: The builder of a target is not installed.
        InputError: Lengths are given twice, a GPU is unknown or cannot be built for, or no target
            has a builder.
    """
    if options.lengths and options.profile_from is not None:
        raise InputError(
            "lengths are given twice",
            expected="--lengths or --profile-from",
            got=f"{', '.join(map(str, options.lengths))} and {options.profile_from}",
        )
    built = built_targets(targets)
    if not built:
        raise InputError(
            "options for engines have no use",
            expected=f"--target {' or '.join(built_targets())}",
            got=", ".join(targets) or "none",
        )
    for name in built:
        check_capabilities(name, _gpus(name, options))


def build_into(
    folder: Path,
    engine: EngineRecord,
    *,
    options: EngineOptions,
    max_length: int,
    cache: Path | None,
) -> EngineRecord:
    """Build the engine of a bundle's entry and write it into the folder.

    Args:
        folder: The bundle that is being written.
        engine: The entry; one whose target has no builder is returned unchanged.
        options: GPUs and shapes that it is built for.
        max_length: Longest row of the bundle, in tokens.
        cache: Folder of engines that were built before;
            :func:`bert_export.targets.engine_cache.default_cache_folder` when ``None``.

    Returns:
        The entry with ``build.engine``: the file, its builder and what it was built for.

    Raises:
        MissingExtraError: The builder is not installed.
        InputError: A GPU or a size is not possible, or the entry has an engine for a GPU that is
            not among those asked for.
        TargetError: The builder refuses the graph.
    """
    if find_target(engine.target).builder is None:
        return engine
    if engine.build.engine is not None:
        _check_gpus_stay(engine.target, engine.build.engine, options)
    built = build_engine(
        folder / engine.graph.file,
        engine.graph.inputs,
        target=engine.target,
        profiles=find_profiles(options, max_length),
        gpus=_gpus(engine.target, options),
        cache=EngineCache(cache or default_cache_folder()),
    )
    name = find_target(engine.target).engine_file
    (folder / name).write_bytes(built.plan)
    return msgspec.structs.replace(
        engine, build=msgspec.structs.replace(engine.build, engine=_record(name, built))
    )


def _check_gpus_stay(target: str, there: BuiltRecord, options: EngineOptions) -> None:
    """Refuse to drop a GPU: a rebuilt engine must cover every GPU of the one it replaces."""
    asked = check_capabilities(target, _gpus(target, options))
    if not set(there.compute_capabilities) <= set(asked):
        had = ", ".join(there.compute_capabilities)
        raise InputError(
            f"target {target} has an engine for {had} already",
            expected=f"{had} among the GPUs",
            got=", ".join(asked) or "the GPU of this machine",
            fix="Name every GPU in one command, or pass --force",
        )


def _gpus(target: str, options: EngineOptions) -> tuple[str, ...]:
    """The GPUs that are named; this machine's where none is and the builder wants a name."""
    builder = find_target(target).builder
    if options.gpus or builder is None or not builder.for_named_gpus:
        return options.gpus
    gpu = find_gpu()
    return () if gpu is None else (gpu.capability,)


def _record(name: str, built: BuiltEngine) -> BuiltRecord:
    """As the manifest holds it."""
    return BuiltRecord(
        file=name,
        builder=built.builder,
        compute_capabilities=built.capabilities,
        profiles=tuple(profile.record() for profile in built.profiles),
        bytes=len(built.plan),
        seconds=built.facts.seconds,
        attention_layers=built.facts.attention_layers,
        device_memory=built.facts.device_memory,
        warnings=built.facts.warnings,
    )
