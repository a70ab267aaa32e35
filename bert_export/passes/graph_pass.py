"""What a pass is, and how its claims are checked.

A pass rewrites *sites*: places in the graph where its pattern stands. It says how many it rewrote,
and why it left places that look alike. A pass made of rules shows every node to its rules once; a
rule answers with one of three values::

    None       the node has nothing to do with this rule
    Refusal    the pattern begins here and does not fit: the reason, the node, how far it fitted
    Match      the pattern fits; the rule then rewrites it

After every pass the graph is checked. Each value has a producer that stands before its readers,
names are unique, nothing dangles, and a pass that says it rewrote nothing changed nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import onnx_ir as ir

from bert_export.errors import PassError

__all__ = [
    "GraphPass",
    "Match",
    "Outcome",
    "Refusal",
    "Rule",
    "RulePass",
    "check_graph",
    "count_operators",
    "nearest_miss",
    "remove_unused",
    "require_count",
]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a site was left as it is.

    Args:
        reason: A clause that completes "not rewritten because ...".
        node: Name of the node that does not fit.
        depth: How many steps of the match fitted before it: the largest is the nearest miss.
    """

    reason: str
    node: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A site, with everything that its rewrite needs.

    Args:
        root: The node that the rule started from.
        output: The value that the rewrite replaces.
        values: What the pattern's variables stand for.
        numbers: What the pattern's constants stand for.
    """

    root: ir.Node
    output: ir.Value
    values: Mapping[str, ir.Value | None] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pass did.

    Args:
        pass_name: Verb and object, as the file is called.
        rewritten: How many sites were rewritten.
        refusals: Why others were left, in graph order.
        operators_before: How often each operator stood in the graph, by name.
        operators_after: The same afterwards.
    """

    pass_name: str
    rewritten: int
    refusals: tuple[Refusal, ...]
    operators_before: Mapping[str, int]
    operators_after: Mapping[str, int]


class Rule(Protocol):
    """One pattern and its replacement, without state between calls."""

    @property
    def root_op(self) -> str:
        """The operator that a match starts from."""
        ...

    def match(self, node: ir.Node) -> Match | Refusal | None:
        """Look at a node; the graph is not changed."""
        ...

    def rewrite(self, graph: ir.Graph, match: Match) -> None:
        """Insert the replacement; the pass removes nodes that nothing reads any more."""
        ...


class GraphPass(ABC):
    """A rewrite of a whole graph, in place."""

    name: ClassVar[str]

    def __call__(self, model: ir.Model) -> Outcome:
        """Rewrite the model and check what was claimed.

        Raises:
            PassError: The graph is not valid afterwards.
        """
        before = count_operators(model.graph)
        rewritten, refusals = self.apply(model)
        after = count_operators(model.graph)
        check_graph(model, self.name)
        if not rewritten and before != after:
            raise PassError(
                f"pass {self.name} broke its contract",
                expected="an unchanged graph, as no site was rewritten",
                got=f"{after - before or before - after} operators that differ",
            )
        return Outcome(self.name, rewritten, refusals, before, after)

    @abstractmethod
    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Rewrite; gives the number of sites and the refusals."""


class RulePass(GraphPass):
    """A pass made of rules; the first that matches a node wins."""

    @property
    @abstractmethod
    def rules(self) -> tuple[Rule, ...]:
        """In the order in which they are tried; a class attribute will do."""

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Try every rule at every node that is still there."""
        graph = model.graph
        rewritten = 0
        refusals: list[Refusal] = []
        for node in list(graph):
            if node.graph is None:  # an earlier rewrite took it out
                continue
            for rule in self.rules:
                if node.op_type != rule.root_op:
                    continue
                answer = rule.match(node)
                if isinstance(answer, Refusal):
                    refusals.append(answer)
                elif answer is not None:
                    rule.rewrite(graph, answer)
                    rewritten += 1
                    break
        if rewritten:
            remove_unused(graph)
        return rewritten, tuple(refusals)


def remove_unused(graph: ir.Graph) -> int:
    """Remove nodes and initializers that nothing reads; gives the number of nodes."""
    removed = 0
    outputs = set(graph.outputs)
    for node in reversed(list(graph)):
        if not any(value.uses() or value in outputs for value in node.outputs):
            _detach_branches(node)
            graph.remove(node, safe=True)
            removed += 1
    unused = [
        name
        for name, value in graph.initializers.items()
        if not value.uses() and value not in outputs
    ]
    for name in unused:
        graph.initializers.pop(name)
    return removed


def _detach_branches(node: ir.Node) -> None:
    """Let the branches of a node that goes no longer read the values around them."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in ir.traversal.RecursiveGraphIterator(attribute.as_graph()):
                for index in range(len(inner.inputs)):
                    inner.replace_input_with(index, None)


def count_operators(graph: ir.Graph) -> Counter[str]:
    """How often each operator stands in the graph."""
    return Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in ir.traversal.RecursiveGraphIterator(graph)
    )


def nearest_miss(refusals: Iterable[Refusal]) -> Refusal | None:
    """The refusal that got furthest; the first of several."""
    return max(refusals, key=lambda refusal: refusal.depth, default=None)


def require_count(outcome: Outcome, expected: int, what: str) -> None:
    """Compare the number of rewritten sites with what the recipe demands.

    Args:
        outcome: Of the pass.
        expected: How many there must be.
        what: The sites, in the plural.

    Raises:
        PassError: There are more or fewer; the message names the nearest miss.
    """
    if outcome.rewritten == expected:
        return
    miss = nearest_miss(outcome.refusals)
    got = f"{outcome.rewritten} of {expected}"
    if miss is not None:
        got = f"{got}, the nearest miss at node {miss.node}: {miss.reason}"
    raise PassError(
        f"pass {outcome.pass_name} did not rewrite all {what}", expected=expected, got=got
    )


def check_graph(model: ir.Model, stage: str) -> None:
    """Check that a graph is valid.

    Args:
        model: The graph.
        stage: The pass that ran last, for the message.

    Raises:
        PassError: A value has no producer, or stands after its reader, or shares its name.
    """
    graph = model.graph
    known: set[ir.Value] = {*graph.inputs, *graph.initializers.values()}
    names = Counter(str(value.name) for value in known)
    _check_nodes(graph, known, names, stage)
    for value in graph.outputs:
        if value not in known:
            raise PassError(
                f"pass {stage} left output {value.name} without a producer",
                expected="a node or an input of the graph",
            )
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise PassError(
            f"pass {stage} left values that share a name",
            expected="unique names",
            got=", ".join(twice),
        )


def _check_nodes(graph: ir.Graph, known: set[ir.Value], names: Counter[str], stage: str) -> None:
    """Check a graph's nodes and those of branches inside them, which may read all values before."""
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in known:
                raise PassError(
                    f"pass {stage} left node {node.name} with a dangling input",
                    expected="an input, an initializer or an earlier node's output",
                    got=value.name,
                )
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _check_nodes(attribute.as_graph(), known, names, stage)
        known.update(node.outputs)
        names.update(str(value.name) for value in node.outputs)
