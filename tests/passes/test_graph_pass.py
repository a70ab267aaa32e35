from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from bert_export.errors import PassError
from bert_export.passes.graph_pass import (
    GraphPass,
    Outcome,
    Refusal,
    check_graph,
    count_operators,
    nearest_miss,
    require_count,
)
from tests.passes.graphs import from_text

RELUS = """<ir_version: 10, opset_import: ["" : 23]>
relus (float[2] x) => (float[2] y) { a = Relu(x)  b = Relu(a)  y = Relu(b) }"""


class Silent(GraphPass):
    """Changes a graph as told, and says that it changed nothing."""

    name = "silent"

    def __init__(self, change: Callable[[ir.Graph], object]) -> None:
        self.change = change

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        self.change(model.graph)
        return 0, ()


def _drop_middle(graph: ir.Graph) -> None:
    middle = graph[1]
    ir.convenience.replace_all_uses_with(middle.outputs[0], middle.inputs[0])
    graph.remove(middle, safe=True)


def _dangle(graph: ir.Graph) -> None:
    graph[1].replace_input_with(0, ir.Value(name="nowhere"))


def _reverse(graph: ir.Graph) -> None:
    last = graph[2]
    graph.remove(last)
    graph.insert_before(graph[0], last)


def _rename(graph: ir.Graph) -> None:
    graph[1].outputs[0].name = "a"


def _lose_output(graph: ir.Graph) -> None:
    graph.outputs[0] = ir.Value(name="nowhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop_middle, "broke its contract"),
        (_dangle, "dangling input"),
        (_reverse, "dangling input"),
        (_rename, "share a name"),
        (_lose_output, "without a producer"),
    ],
)
def test_a_pass_that_breaks_its_contract_is_named(change, message):
    with pytest.raises(PassError, match=f"pass silent .*{message}"):
        Silent(change)(from_text(RELUS))


def test_an_outcome_tells_the_operators_before_and_after():
    outcome = Silent(lambda _: None)(from_text(RELUS))
    assert outcome == Outcome("silent", 0, (), {"Relu": 3}, {"Relu": 3})


def test_branches_are_checked_and_counted():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    choice (bool c, float[2] x) => (float[2] y) {
      y = If (c) <then_branch = one () => (float[2] s) { s = Relu(x) },
                  else_branch = two () => (float[2] t) { t = Tanh(x) }>
    }""")
    check_graph(model, "nobody")
    assert count_operators(model.graph) == {"If": 1, "Relu": 1, "Tanh": 1}
    branch = model.graph[0].attributes["then_branch"].as_graph()
    branch[0].replace_input_with(0, ir.Value(name="nowhere"))
    with pytest.raises(PassError, match=r"pass nobody left node .* dangling input"):
        check_graph(model, "nobody")


def test_the_nearest_miss_got_furthest():
    refusals = (Refusal("early", "a", 1), Refusal("late", "b", 4), Refusal("as late", "c", 4))
    assert nearest_miss(refusals) == refusals[1]
    assert nearest_miss(()) is None


def test_a_missed_count_prints_the_nearest_miss():
    refusals = (Refusal("early", "a", 1), Refusal("the mask is odd", "node_12", 4))
    outcome = Outcome("fuse_attention", 11, refusals, {}, {})
    with pytest.raises(PassError) as caught:
        require_count(outcome, 12, "attention layers")
    assert str(caught.value) == (
        "pass fuse_attention did not rewrite all attention layers: expected 12, got 11 of 12, "
        "the nearest miss at node node_12: the mask is odd."
    )
    require_count(outcome, 11, "attention layers")


def test_a_missed_count_without_a_refusal_is_an_error_too():
    with pytest.raises(PassError, match="expected 2, got 0 of 2"):
        require_count(Outcome("fuse_attention", 0, (), {}, {}), 2, "attention layers")
