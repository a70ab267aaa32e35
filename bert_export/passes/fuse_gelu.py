"""Fuse GELU, written out with ``Erf`` or ``Tanh``, into the standard operator."""

from __future__ import annotations

import math
from typing import ClassVar

import onnx_ir as ir

from bert_export.passes.editing import (
    other_input,
    producer,
    scalar,
    sole_reader,
    split_scalar,
    substitute_node,
)
from bert_export.passes.graph_pass import Match, Refusal, Rule, RulePass

__all__ = ["FuseGelu"]

_TOLERANCE = 1e-4
"""Relative, of the constants: exporters round them, and other functions differ by far more."""


class FuseGelu(RulePass):
    """Fuse both forms of GELU.

    Before::

        x -> Div(sqrt 2) -> Erf -> Add(1) -> Mul(x, .) -> Mul(0.5) -> y
        x -> Pow(3) -> Mul(0.044715) -> Add(x, .) -> Mul(sqrt(2 / pi)) -> Tanh -> Add(1)
            -> Mul(x, .) -> Mul(0.5) -> y

    After::

        x -> Gelu(approximate = none | tanh) -> y

    The products may stand in any order. Needs opset 20.

    Source: Hendrycks 2016, "Gaussian Error Linear Units", section 2.
    """

    name = "fuse_gelu"

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (_Erf(), _Tanh())


class _Erf:
    root_op: ClassVar[str] = "Erf"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        inner = producer(node.inputs[0], "Div", "Mul")
        split = split_scalar(inner)
        if inner is None or split is None:
            return Refusal("what goes into Erf is not scaled by a constant", str(node.name), 1)
        x, number = split
        factor = 1 / number if inner.op_type == "Div" else number
        if not math.isclose(factor, math.sqrt(0.5), rel_tol=_TOLERANCE):
            return Refusal(f"x is scaled by {factor:g} and not 1 / sqrt 2", str(inner.name), 2)
        return _finish(node, x)

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _rewrite(graph, match, "none")


class _Tanh:
    root_op: ClassVar[str] = "Tanh"

    def match(self, node: ir.Node) -> Match | Refusal | None:
        outer = split_scalar(producer(node.inputs[0], "Mul"))
        joined = None if outer is None else producer(outer[0], "Add")
        if outer is None or joined is None:
            return None  # the pooler's tanh, for example
        for x, term in (tuple(joined.inputs), tuple(reversed(joined.inputs))):
            cubic = split_scalar(producer(term, "Mul"))
            if x is None or cubic is None or not _is_cube(cubic[0], x):
                continue
            if not math.isclose(cubic[1], 0.044715, rel_tol=_TOLERANCE):
                return Refusal(
                    f"the cubic term is scaled by {cubic[1]:g} and not 0.044715",
                    str(joined.name),
                    3,
                )
            if not math.isclose(outer[1], math.sqrt(2 / math.pi), rel_tol=_TOLERANCE):
                return Refusal(
                    f"the sum is scaled by {outer[1]:g} and not sqrt(2 / pi)", str(node.name), 4
                )
            return _finish(node, x)
        return Refusal("the term beside x is not its cube", str(joined.name), 2)

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        _rewrite(graph, match, "tanh")


def _is_cube(value: ir.Value, x: ir.Value) -> bool:
    power = producer(value, "Pow")
    if power is not None:
        return power.inputs[0] is x and scalar(power.inputs[1]) == 3
    outer = producer(value, "Mul")
    if outer is None or x not in outer.inputs:
        return False
    inner = producer(other_input(outer, x), "Mul")
    return inner is not None and all(operand is x for operand in inner.inputs)


def _finish(node: ir.Node, x: ir.Value) -> Match | Refusal:
    """Follow the products behind ``1 + f(x)`` until x and one half are both in."""
    added = sole_reader(node.outputs[0], "Add")
    split = split_scalar(added)
    if added is None or split is None or split[1] != 1:
        return Refusal("1 is not added to the function", str(node.name), 5)
    value = added.outputs[0]
    has_x, has_half = False, False
    while not (has_x and has_half):
        product = sole_reader(value, "Mul")
        if product is None:
            missing = "x" if not has_x else "one half"
            return Refusal(f"the sum is not multiplied by {missing}", str(node.name), 6)
        factor = other_input(product, value)
        halved = split_scalar(producer(factor, "Mul"))
        if factor is x and not has_x:
            has_x = True
        elif scalar(factor) == 0.5 and not has_half:
            has_half = True
        elif halved == (x, 0.5) and not has_x and not has_half:
            has_x = has_half = True
        else:
            return Refusal("a product has a factor besides x and one half", str(product.name), 7)
        value = product.outputs[0]
    return Match(node, value, values={"x": x})


def _rewrite(graph: ir.Graph, match: Match, approximate: str) -> None:
    substitute_node(
        graph,
        match.output,
        "Gelu",
        [match.values["x"]],
        {"approximate": approximate},
        name=f"{match.root.name}.gelu",
    )
