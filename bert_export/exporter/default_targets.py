"""Targets of an export that names none: one for every machine, and what is ahead on this one."""

from __future__ import annotations

from bert_export.bundle import ExportRequest
from bert_export.errors import MissingExtraError
from bert_export.exporter.refusal import Refusal
from bert_export.runtime.engine_choice import Standing, find_standing
from bert_export.runtime.processor import detect_processor
from bert_export.targets import DEFAULT_TARGET, TARGETS, load_target
from bert_export.tasks import find_task

__all__ = ["default_targets", "targets_to_build"]


def default_targets(request: ExportRequest) -> tuple[str, ...]:
    """The targets of a request that names none.

    The first is :data:`bert_export.targets.DEFAULT_TARGET`, which every machine has and which
    answers wherever another cannot. In INT8 those come to it that were measured ahead of it on this
    kind of processor (:data:`bert_export.runtime.engine_choice.Standing`). Static INT8 is meant,
    made for this machine, whose graph takes ids; of all else nothing was measured.
    """
    return (DEFAULT_TARGET, *_standing(request, "ahead"))


def targets_to_build(request: ExportRequest) -> tuple[Refusal, ...]:
    """Targets that :func:`default_targets` would have if they were built, each with what to do."""
    refusals = []
    for name in _standing(request, "unbuilt"):
        try:
            load_target(TARGETS[name]).check_installed()
        except MissingExtraError as error:
            refusals.append(Refusal(name, error))
    return tuple(refusals)


def _standing(request: ExportRequest, standing: Standing) -> tuple[str, ...]:
    """Targets other than the default one that stand so on this machine, for a request."""
    options = request.quantization
    if (
        request.precision != "int8"
        or request.text_input is not False
        or request.engines is not None
        or (options is not None and options.mode != "static")
        or request.cpu not in {None, detect_processor()}
    ):
        return ()
    has_encoder = request.task is not None and find_task(request.task).has_encoder
    return tuple(
        target.name
        for target in TARGETS.values()
        if target.name != DEFAULT_TARGET
        and not target.gpu
        and request.precision in target.precisions
        and (target.takes_halves or not has_encoder)
        and find_standing(target) == standing
    )
