"""The third stage: what real text tells of the float graph, once for all engines.

For INT8 these are the ranges of activations and how their channels are equalized; an accuracy
budget then says which layers stay in float. For FP16 these are the nodes whose values it cannot
hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bert_export.bundle import OverflowRecord, QuantizationOptions, SearchRecord
from bert_export.exporter.float_graph import FloatGraph
from bert_export.exporter.fp16_overflow import find_overflow
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.source import check_target
from bert_export.quantization.int8_calibration import Int8Calibration, calibrate_int8
from bert_export.quantization.weights.number_formats import Scheme
from bert_export.runtime.processor import detect_processor
from bert_export.targets import Target, load_target
from bert_export.targets.lowering import fp16_conversion, lower

__all__ = ["Calibrated", "calibrate", "scheme_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What the engines of some targets need to know beside the float graph.

    Args:
        float_graph: That was observed.
        targets: That it is for.
        int8: Ranges, equalization and excluded layers of INT8; of other precisions nothing
            but the options.
        overflow: By target, the nodes of its FP16 graph that must stay FP32.
        search: How the accuracy budget was kept, where there is one.
    """

    float_graph: FloatGraph
    targets: tuple[Target, ...]
    int8: Int8Calibration
    overflow: Mapping[str, tuple[OverflowRecord, ...]]
    search: SearchRecord | None = None

    def with_excluded_layers(self, layers: Mapping[str, str]) -> Calibrated:
        """The same with further layers in float, each with its reason."""
        return replace(self, int8=self.int8.with_excluded_layers(layers))


def calibrate(
    float_graph: FloatGraph,
    targets: Sequence[Target],
    *,
    folder: Path,
    progress: Progress,
    refusals: Refusals,
) -> Calibrated:
    """Run the float graph on real text.

    Args:
        float_graph: See :class:`bert_export.exporter.float_graph.FloatGraph`.
        targets: That engines are made for.
        folder: In which graphs are written for as long as they are open.
        progress: Hears of the stages ``calibrate`` and ``overflow``, where there are such.
        refusals: What becomes of a target whose FP16 graph cannot be made.

    Raises:
        QuantizationError: The graph has nothing to quantize, or an activation is not finite.
        BertExportError: A target is refused.
    """
    int8 = _calibrate_for_int8(float_graph, targets, folder, progress)
    overflow = refusals.each(
        targets, lambda target: _find_target_overflow(float_graph, target, folder, progress)
    )
    return Calibrated(
        float_graph=float_graph,
        targets=tuple(target for target in targets if target.name in overflow),
        int8=int8,
        overflow=overflow,
    )


def scheme_of(float_graph: FloatGraph, target: Target) -> Scheme:
    """Number formats of a target's INT8 on the kind of processor that is asked for."""
    return load_target(target).scheme(float_graph.source.request.cpu or detect_processor())


def _calibrate_for_int8(
    float_graph: FloatGraph, targets: Sequence[Target], folder: Path, progress: Progress
) -> Int8Calibration:
    """Ranges and equalization of static INT8."""
    request = float_graph.source.request
    options = request.quantization or QuantizationOptions()
    if request.precision != "int8" or options.mode != "static":
        return Int8Calibration(options)
    with progress.stage("calibrate") as facts:
        int8 = calibrate_int8(
            float_graph.model,
            float_graph.rows.rows,
            options,
            integer_query_key=any(
                scheme_of(float_graph, target).integer_query_key for target in targets
            ),
            folder=folder,
            feeds=float_graph.pipeline.feeds,
            threads=request.threads,
            advance=progress.advance,
        )
        facts["set"] = float_graph.rows.record.source
        facts["examples"] = float_graph.rows.record.examples
    return int8


def _find_target_overflow(
    float_graph: FloatGraph, target: Target, folder: Path, progress: Progress
) -> tuple[OverflowRecord, ...]:
    """Nodes of a target's FP16 graph that must stay FP32; none where it has no FP16."""
    request = float_graph.source.request
    check_target(float_graph.source.task, target)
    conversion = fp16_conversion(target.name, request.precision)
    if conversion is None:
        return ()
    with progress.stage("overflow") as facts:
        twin = float_graph.model.clone()
        lower(
            twin,
            target=target.name,
            precision="fp32",
            task=float_graph.source.task,
            config_layers=float_graph.source.config.attention_layers,
        )
        stays = {node.name for node in conversion.kept_nodes(twin)}
        beyond = find_overflow(
            twin,
            float_graph.rows.rows,
            folder=folder,
            feeds=float_graph.pipeline.feeds,
            threads=request.threads,
            advance=progress.advance,
        )
        overflow = tuple(record for record in beyond if record.node not in stays)
        facts["target"] = target.name
        facts["nodes kept in fp32"] = len(overflow)
    return overflow
