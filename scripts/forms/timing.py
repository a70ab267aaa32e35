"""Open forms in ONNX Runtime, check what they compute, and time them in turns."""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
import onnx_ir as ir
import onnxruntime

from bert_export.measuring.schedule import laps
from bert_export.measuring.serving import take_turn
from scripts.forms.form import Array, Block, Drawing, Form, Level, Problem, Size, Workload

__all__ = ["Case", "Pace", "Row", "call_cost", "measure_block", "share_threads"]

_LEVELS: Mapping[Level, str] = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
}
_PLACE = re.compile(r"/\S+:\d+ .*?[)\]] ")
_FATAL = 4
_MICROSECOND = 1e6
_WARM_CALLS = 2
_LEAST_SECONDS = 1e-7
_SLOW_SECONDS = 0.1  # one cold call in a turn tells enough of a form that takes so long


@dataclass(frozen=True, slots=True)
class Case:
    """A column of a table."""

    size: str
    workload: Workload

    def __str__(self) -> str:
        return f"{self.size} {self.workload}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to measure.

    Args:
        rounds: Turns of each form.
        seconds: Of calls in a turn.
        calls: At least so many calls in a turn.
    """

    rounds: int
    seconds: float
    calls: int


@dataclass(slots=True)
class Row:
    """What was found about a form.

    Args:
        form: The form.
        microseconds: By case, the median time of a call in each round.
        error: By case, the root mean square of the difference, relative to the reference's.
        refused: By case, why there is no time.
        operators: What ONNX Runtime runs after its own optimization, with how many of each.
    """

    form: Form
    microseconds: dict[Case, list[float]] = field(default_factory=dict)
    error: dict[Case, float] = field(default_factory=dict)
    refused: dict[Case, str] = field(default_factory=dict)
    operators: str = ""

    def median(self, case: Case) -> float | None:
        """The median over rounds; ``None`` where the form was refused."""
        values = self.microseconds.get(case)
        return median(values) if values else None


def share_threads(threads: int) -> None:
    """Let all sessions of this process share one pool, so that no idle one spins beside another."""
    onnxruntime.set_global_thread_pool_sizes(threads, 1)


class _Session:
    """A form's graph, opened.

    Args:
        form: The form.
        block: The block that it is of.
        size: The model's widths.
    """

    def __init__(self, form: Form, block: Block, size: Size) -> None:
        drawing = Drawing(size, block.inputs)
        model = drawing.model(form.build(drawing), opset=form.opset)
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = _FATAL
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, _LEVELS[form.level]
        )
        with tempfile.TemporaryDirectory() as folder:
            optimized = Path(folder) / "optimized.onnx"
            options.optimized_model_filepath = str(optimized)
            self._session = onnxruntime.InferenceSession(
                ir.to_proto(model).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=list(form.disabled),
            )
            self.operators = _operators(ir.load(optimized))
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def bind(
        self,
        feeds: Mapping[str, onnxruntime.OrtValue],
        outputs: Sequence[onnxruntime.OrtValue],
    ) -> Callable[[], None]:
        """A call on these arrays, which no call copies."""
        binding = self._session.io_binding()
        for name in self._inputs:
            binding.bind_ortvalue_input(name, feeds[name])
        for name, value in zip(self._outputs, outputs, strict=True):
            binding.bind_ortvalue_output(name, value)
        return lambda: self._session.run_with_iobinding(binding)


def measure_block(
    block: Block,
    size: Size,
    workloads: Sequence[Workload],
    rows: Sequence[Row],
    pace: Pace,
    announce: Callable[[str], None],
) -> None:
    """Check and time all forms of a block, in turns.

    Args:
        block: The block.
        size: The model's widths.
        workloads: What each call works on.
        rows: One per form, which is filled.
        pace: How long to measure.
        announce: Called with the case before each workload.
    """
    sessions: dict[int, _Session] = {}
    unopened: dict[int, str] = {}
    for index, row in enumerate(rows):
        try:
            sessions[index] = _Session(row.form, block, size)
            row.operators = sessions[index].operators
        except Exception as error:  # noqa: BLE001 - onnxruntime's share no narrower base
            unopened[index] = _reason(error)
    for workload in workloads:
        case = Case(size.name, workload)
        announce(f"{block.name}, {case}")
        for index, reason in unopened.items():
            rows[index].refused[case] = reason
        calls: dict[int, Callable[[], None]] = {}
        for variant in block.variants:
            problem = block.problem(size, workload, variant)
            feeds = {name: _ortvalue(array) for name, array in problem.feeds.items()}
            outputs = [_ortvalue(np.zeros_like(array)) for array in problem.expected]
            for index, session in sessions.items():
                row = rows[index]
                if row.form.variant != variant:
                    continue
                call = session.bind(feeds, outputs)
                if _accept(row, case, call, problem, outputs):
                    calls[index] = call
        for index, times in _take_turns(calls, pace).items():
            rows[index].microseconds[case] = times


def call_cost(pace: Pace) -> float:
    """Microseconds of a call that has next to nothing to do."""
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    node = ir.node("Neg", [x])
    (y,) = node.outputs
    y.name, y.type = "y", x.type
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 23}, name="nothing")
    model = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", _ortvalue(np.zeros(1, np.float32)))
    binding.bind_ortvalue_output("y", _ortvalue(np.zeros(1, np.float32)))
    return median(_take_turns({0: lambda: session.run_with_iobinding(binding)}, pace)[0])


def _accept(
    row: Row,
    case: Case,
    call: Callable[[], None],
    problem: Problem,
    outputs: Sequence[onnxruntime.OrtValue],
) -> bool:
    """Run once and compare with the reference; notes the error, or why it is refused."""
    for output, expected in zip(outputs, problem.expected, strict=True):
        output.update_inplace(np.zeros_like(expected))
    try:
        call()
    except Exception as error:  # noqa: BLE001 - as above
        row.refused[case] = _reason(error)
        return False
    found = (output.numpy() for output in outputs)
    row.error[case] = max(map(_difference, found, problem.expected))
    if not row.error[case] <= row.form.tolerance:
        row.refused[case] = (
            f"differs from the reference by {row.error[case]:.1e},"
            f" more than {row.form.tolerance:.0e}"
        )
        return False
    return True


def _difference(found: Array, expected: Array) -> float:
    if found.dtype == np.bool_:
        return float(np.mean(found != expected))
    if np.array_equal(found, expected):
        return 0.0
    return _root_mean_square(found - expected) / (_root_mean_square(expected) or 1.0)


def _root_mean_square(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))


def _take_turns(calls: Mapping[int, Callable[[], None]], pace: Pace) -> dict[int, list[float]]:
    """Mirrored rounds; the median microseconds of a call, by round."""
    times: dict[int, list[float]] = {index: [] for index in calls}
    counts: dict[int, tuple[int, int]] = {}
    for index, call in calls.items():
        quickest = min(take_turn([call], start=0, count=_WARM_CALLS, warm_ups=1))
        if quickest > _SLOW_SECONDS:
            counts[index] = (0, 1)
        else:
            enough = int(pace.seconds / max(quickest, _LEAST_SECONDS))
            counts[index] = (_WARM_CALLS, max(pace.calls, enough))
    orders = laps(tuple(calls), random.Random(0))
    for _ in range(pace.rounds):
        for index in next(orders):
            warm, counted = counts[index]
            taken = take_turn([calls[index]], start=0, count=counted, warm_ups=warm)
            times[index].append(median(taken) * _MICROSECOND)
    return times


def _ortvalue(array: Array) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _operators(model: ir.Model) -> str:
    """Such as ``2 Reshape, Gemm``; branches included."""
    counts = Counter(node.op_type for node in model.graph.all_nodes())
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items())


def _reason(error: Exception) -> str:
    """What an error says, without its code and its place in ONNX Runtime's source."""
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return _PLACE.sub("", re.split(r" was false\. | : |Status Message: ", text)[-1]).strip()
