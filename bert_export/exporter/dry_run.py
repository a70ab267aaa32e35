"""What an export would do and how long it may take, without doing it.

How long is not guessed: it is read from the manifest of a bundle that was made alike, which keeps
the seconds of each of its stages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bert_export.bundle import (
    MANIFEST,
    ExportRequest,
    Manifest,
    read_manifest,
)
from bert_export.errors import BertExportError
from bert_export.exporter.request import check_output, check_request

__all__ = ["MadeAlike", "Plan", "plan_export"]

_LOOKED_AT = 50
"""Folders whose manifests are read in search of a bundle that was made alike."""


@dataclass(frozen=True, slots=True)
class MadeAlike:
    """A bundle of the same precision and targets.

    Args:
        bundle: Its folder.
        model: What it was made of.
        parameters: Of that model.
        same_model: Whether it is the model that is asked for.
        stages: Seconds by stage.
    """

    bundle: str
    model: str
    parameters: int
    same_model: bool
    stages: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Of all stages."""
        return sum(self.stages.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """What an export would do.

    Args:
        request: Checked, as it would be exported.
        output: The bundle's folder; ``None`` where the checkpoint has to be read to name the task.
        replaces: Whether a bundle is there that would be replaced.
        alike: The bundle that says how long it takes; ``None`` where none is known.
    """

    request: ExportRequest
    output: str | None
    replaces: bool
    alike: MadeAlike | None


def plan_export(
    request: ExportRequest,
    *,
    output: str | Path | None = None,
    force: bool = False,
    beside: Path = Path(),
) -> Plan:
    """Check a request and say what its export would do; nothing is read of the checkpoint.

    Args:
        request: What would be exported.
        output: As :func:`bert_export.exporter.export_request` takes it, as ``force``.
        force: Whether a bundle that exists may be replaced.
        beside: The folder in whose folders a bundle that was made alike is looked for.

    Raises:
        BertExportError: The export itself would be refused for these options.
    """
    request = check_request(request)
    folder = check_output(request, output, force=force)
    folders = _folders(beside)
    return Plan(
        request=request,
        output=None if folder is None else str(folder),
        replaces=folder is not None and folder.exists(),
        alike=_made_alike(request, folders if folder is None else [folder, *folders]),
    )


def _folders(beside: Path) -> list[Path]:
    """Folders with a manifest, the newest first."""
    with contextlib.suppress(OSError):  # a folder that may not be listed helps nobody
        found = sorted(beside.glob(f"*/{MANIFEST}"), key=_age)[:_LOOKED_AT]
        return [path.parent for path in found]
    return []


def _age(path: Path) -> float:
    with contextlib.suppress(OSError):  # it may be gone by now
        return -path.stat().st_mtime
    return 0.0


def _made_alike(request: ExportRequest, folders: list[Path]) -> MadeAlike | None:
    """The bundle that tells most: of the same model where there is one."""
    found = [alike for folder in folders for alike in _alike(request, folder)]
    return next((alike for alike in found if alike.same_model), found[0] if found else None)


def _alike(request: ExportRequest, folder: Path) -> Iterator[MadeAlike]:
    try:
        manifest = read_manifest(folder)
    except (BertExportError, OSError):  # no bundle, or one that says nothing
        return
    made = manifest.request
    if made is None or not manifest.stages or _kind(made) != _kind(request):
        return
    yield MadeAlike(
        bundle=str(folder),
        model=made.model,
        parameters=manifest.model.parameters,
        same_model=_is_same_model(request, made, manifest),
        stages=manifest.stages,
    )


def _kind(request: ExportRequest) -> tuple[object, ...]:
    """What decides which stages run."""
    engines = None if request.engines is None else (*request.engines.gpus,)
    searched = request.max_drop is not None
    return request.precision, frozenset(request.targets), searched, engines


def _is_same_model(request: ExportRequest, made: ExportRequest, manifest: Manifest) -> bool:
    return made.model == request.model and request.task in {None, manifest.task}
