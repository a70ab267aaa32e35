"""Drop the input that tells first and second text apart, where there never is a second."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bert_export.passes.editing import constant, new_constant, producer
from bert_export.passes.graph_pass import GraphPass, Refusal, remove_unused

__all__ = ["DropTokenTypes"]

_TYPES, _IDS = "token_type_ids", "input_ids"


class DropTokenTypes(GraphPass):
    """Add the vector of type 0 to the position table, and take the input away.

    Before::

        token_type_ids -> Gather(types) ─┐
        input_ids -> Gather(words) ───┴> Add -> Add(Slice(positions)) -> LayerNormalization

    After::

        input_ids -> Gather(words) -> Add(Slice(positions + types[0])) -> LayerNormalization

    Only for tasks whose texts are never pairs: there every type is 0. Sums are ordered otherwise,
    so answers agree to float32 rounding.

    Args:
        pairs: Whether the task has pairs of texts; the pass then refuses.
    """

    name = "drop_token_types"

    def __init__(self, *, pairs: bool) -> None:
        self.pairs = pairs

    def apply(self, model: ir.Model) -> tuple[int, tuple[Refusal, ...]]:
        """Fold the vector, or refuse."""
        graph = model.graph
        types = next((value for value in graph.inputs if value.name == _TYPES), None)
        ids = next((value for value in graph.inputs if value.name == _IDS), None)
        if types is None or ids is None:
            return 0, ()
        if self.pairs:
            return 0, (Refusal("the task has pairs of texts", _TYPES),)
        lookups = [use.node for use in types.uses() if use.node.op_type == "Gather"]
        others = [use.node for use in types.uses() if use.node.op_type not in ("Gather", "Shape")]
        if len(lookups) != 1 or others:
            return 0, (Refusal("the types are read by more than their table", _TYPES, 1),)
        table = constant(lookups[0].inputs[0])
        uses = tuple(lookups[0].outputs[0].uses())
        add = uses[0].node if len(uses) == 1 else None
        if table is None or add is None or add.op_type != "Add":
            return 0, (Refusal("the types' vectors are not added", str(lookups[0].name), 2),)
        after = tuple(add.outputs[0].uses())
        total = after[0].node if len(after) == 1 and after[0].node.op_type == "Add" else None
        places = None if total is None else total.inputs[1 - after[0].idx]
        piece = producer(places, "Slice")
        positions = None if piece is None else constant(piece.inputs[0])
        if total is None or piece is None or positions is None or piece.inputs[0] is None:
            return 0, (Refusal("no table of positions is added next", str(add.name), 3),)
        if len(tuple(piece.inputs[0].uses())) != 1:
            return 0, (Refusal("the table of positions is read twice", str(piece.name), 4),)
        name = str(piece.inputs[0].name)
        folded = (positions + table[0]).astype(np.float32)
        piece.replace_input_with(0, new_constant(graph, f"{name}.typed", folded))
        words = add.inputs[1 - uses[0].idx]
        total.replace_input_with(after[0].idx, words)
        remove_unused(graph)
        ir.convenience.replace_all_uses_with(types, ids)  # what is left asks for the shape
        graph.inputs.remove(types)
        return 1, ()
