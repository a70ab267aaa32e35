"""From a PyTorch head to an ``onnx_ir.Model`` with the field's names.

A head becomes a graph in two steps:

1. ``torch.export`` traces the head with symbolic batch and sequence axes. The exporter's optimizer
   sees the weights as inputs, so no value of a weight can reach the graph. The result is renamed so
   that every linear layer's tensors carry the checkpoint's module name, and checked for what a
   trace can silently get wrong: a lost axis, an unnamed output. It depends on the head's class and
   configuration alone, and can come from a :class:`~bert_export.tracing.trace_cache.TraceCache`.
2. The head's own weights are put in.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

from bert_export.bundle import DEFAULT_OPSET, OPSETS, check_opset
from bert_export.errors import TracingError, one_line
from bert_export.foreign_errors import interruption_in
from bert_export.tasks.interface import BATCH, CHOICES, PAST, SEQUENCE, SOURCE, TOTAL, Axes
from bert_export.tracing.trace_cache import TraceCache, trace_key

__all__ = [
    "DEFAULT_OPSET",
    "DYNAMIC_AXES",
    "OPSETS",
    "WEIGHT_SUFFIX",
    "check_opset",
    "linear_layers",
    "trace",
]

DYNAMIC_AXES = (BATCH, CHOICES, SEQUENCE, PAST, TOTAL, SOURCE)

WEIGHT_SUFFIX = ".weight"
_SCOPES = "pkg.torch.onnx.name_scopes"
_WORD_EMBEDDINGS, _DECODER = (
    "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.weight",
)

# Sizes that no configuration of BERT shares with another axis, so that a leaked one is seen.
_EXAMPLE_BATCH, _EXAMPLE_CHOICES, _EXAMPLE_SEQUENCE, _EXAMPLE_PAST = 3, 5, 11, 7
_EXAMPLE_SOURCE = 13

# A weight of a graph without weights is external data, whose location says which parameter it is.
_AS_IT_IS, _TRANSPOSED = "parameter", "transposed"

_NamedAxes = tuple[tuple[str, Axes], ...]


def trace(
    head: nn.Module,
    *,
    inputs: _NamedAxes,
    outputs: _NamedAxes,
    max_length: int,
    opset: int = DEFAULT_OPSET,
    cache: TraceCache | None = None,
) -> ir.Model:
    """Trace a head.

    Args:
        head: In evaluation mode; takes tensors in the order of ``inputs``: float32 where an axis is
            ``past``, which is a cache, else int64.
        inputs: Names and axes, dynamic ones by the names of :data:`DYNAMIC_AXES`. A cache has
            ``past`` tokens and the attention mask then ``total``.
        outputs: Names and axes; those of :data:`DYNAMIC_AXES` are dynamic, the checkpoint fixes
            the others.
        max_length: The longest sequence that the position table holds.
        opset: Opset of the default domain.
        cache: Where the graph is looked up and kept. When ``None``, the folder that the
            environment variable :data:`~bert_export.tracing.trace_cache.CACHE_VARIABLE` names;
            without that, nothing is cached. A graph from the cache has the same bytes.

    Returns:
        The graph, valid for every batch and every sequence from 1 to ``max_length``. Weights are
        the head's own memory wherever they are not transposed.

    Raises:
        TracingError: The opset is not supported, the head cannot be traced, or the traced graph
            lost an axis or a name.

    Source: https://onnx.ai/onnx/operators (opset 20 to 23).
    """
    check_opset(opset)
    cache = cache or TraceCache.from_environment()
    key = cache and trace_key(
        head, inputs=inputs, outputs=outputs, max_length=max_length, opset=opset
    )
    graph = cache.read(key) if cache and key else None
    if graph is None:
        model = _trace_without_weights(head, inputs, outputs, max_length=max_length, opset=opset)
        graph = ir.to_proto(model).SerializeToString()
        if cache and key:
            cache.write(key, graph)
    # A fresh graph is read back too, so that it cannot differ from one of the cache.
    model = ir.from_proto(onnx.load_model_from_string(graph))
    _put_weights_in(model.graph, head)
    return model


def _trace_without_weights(
    head: nn.Module, inputs: _NamedAxes, outputs: _NamedAxes, *, max_length: int, opset: int
) -> ir.Model:
    """The graph whose weights are named, not held: see :func:`_symbolic_weight`."""
    sizes: dict[str, int] = {
        BATCH: _EXAMPLE_BATCH,
        CHOICES: _EXAMPLE_CHOICES,
        SEQUENCE: min(_EXAMPLE_SEQUENCE, max_length),
        PAST: _EXAMPLE_PAST,
        SOURCE: min(_EXAMPLE_SOURCE, max_length),
    }
    sizes[TOTAL] = sizes[PAST] + sizes[SEQUENCE]
    dims: dict[str | int, Any] = {
        BATCH: torch.export.Dim(BATCH, min=1),
        CHOICES: torch.export.Dim(CHOICES, min=1),
        SEQUENCE: torch.export.Dim(SEQUENCE, min=1, max=max_length),
        PAST: torch.export.Dim(PAST, min=0, max=max_length),
        SOURCE: torch.export.Dim(SOURCE, min=1, max=max_length),
        TOTAL: torch.export.Dim.AUTO,  # the sum of two: no dimension of torch.export can say so
    }
    example = tuple(
        torch.ones(
            [axis if isinstance(axis, int) else sizes[axis] for axis in axes],
            dtype=torch.float32 if PAST in axes else torch.int64,
        )
        for _, axes in inputs
    )
    shapes = [
        {position: dims[axis] for position, axis in enumerate(axes) if axis in dims}
        for _, axes in inputs
    ]
    try:
        with _quiet_exporter(), torch.no_grad():
            program = torch.onnx.export(
                head,
                example,
                dynamo=True,
                opset_version=opset,
                input_names=[name for name, _ in inputs],
                output_names=[name for name, _ in outputs],
                dynamic_shapes=_by_parameter(head, shapes),
                optimize=False,
                verbose=False,
                external_data=False,
            )
            assert program is not None  # dynamo=True without a file name always returns a program
            weights = _take_weights_out(program.model.graph, head)
            program.optimize()
            model = program.model
            _declare_weights(model.graph, weights)
    except Exception as error:  # the exporter wraps whatever the head or a decomposition raised
        if (interruption := interruption_in(error)) is not None:
            raise interruption from None
        raise TracingError(
            f"head {type(head).__name__} cannot be traced by torch {torch.__version__}",
            expected="a graph with dynamic batch and sequence",
            got=_cause(error),
        ) from error
    _split_gemms(model.graph)
    _fold_transposes(model.graph)
    _separate_weights(model.graph)
    _name_weights(model.graph)
    _declare_shapes(model.graph, inputs, outputs)
    _strip_metadata(model)
    return model


def _by_parameter(head: nn.Module, shapes: list[dict[int, Any]]) -> tuple[Any, ...]:
    """The shapes as ``torch.export`` takes them: those of ``*arguments`` in a tuple."""
    parameters = inspect.signature(head.forward).parameters.values()
    single = sum(parameter.kind is not parameter.VAR_POSITIONAL for parameter in parameters)
    if len(shapes) <= single:
        return tuple(shapes)
    return *shapes[:single], tuple(shapes[single:])


def _tensors(head: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; a tied parameter stands under each of its names."""
    return {
        **dict(head.named_parameters(remove_duplicate=False)),
        **dict(head.named_buffers(remove_duplicate=False)),
    }


def _take_weights_out(graph: ir.Graph, head: nn.Module) -> list[ir.Value]:
    """Turn the head's tensors from initializers into inputs, after those that it has."""
    weights = []
    for name in _tensors(head):
        value = graph.initializers.pop(name, None)
        if value is not None:
            value.const_value = None
            weights.append(value)
    graph.inputs.extend(weights)
    return weights


def _declare_weights(graph: ir.Graph, weights: list[ir.Value]) -> None:
    """Turn the weights that are read from inputs into initializers, ahead of all constants."""
    constants = list(graph.initializers.values())
    graph.initializers.clear()
    for value in weights:
        graph.inputs.remove(value)
        if value.uses():
            value.const_value = _symbolic_weight(value, _AS_IT_IS, str(value.name))
            graph.register_initializer(value)
    for value in constants:
        graph.register_initializer(value)


def _symbolic_weight(value: ir.Value, form: str, parameter: str) -> ir.ExternalTensor:
    """A weight that says which parameter it is, ``parameter/<name>`` or ``transposed/<name>``."""
    return ir.ExternalTensor(
        location=f"{form}/{parameter}",
        offset=None,
        length=None,
        dtype=cast("ir.DataType", value.dtype),
        shape=cast("ir.Shape", value.shape),
        name=str(value.name),
    )


def _source(weight: ir.Value) -> tuple[str, str]:
    """Form and parameter of a symbolic weight."""
    form, parameter = str(cast("ir.ExternalTensor", weight.const_value).location).split("/")
    return form, parameter


def _put_weights_in(graph: ir.Graph, head: nn.Module) -> None:
    """Give every weight of a graph without weights the head's tensor."""
    tensors = _tensors(head)
    for value in graph.initializers.values():
        if not isinstance(value.const_value, ir.ExternalTensor):
            continue  # a constant of the graph's own
        form, parameter = _source(value)
        tensor: ir.TensorProtocol = ir.tensor_adapters.TorchTensor(tensors[parameter].detach())
        if form == _TRANSPOSED:
            tensor = ir.tensor(np.ascontiguousarray(tensor.numpy().T))
        tensor.name = value.name
        value.const_value = tensor


def linear_layers(graph: ir.Graph) -> Iterator[tuple[str, ir.Node]]:
    """Linear layers in order: module name and its ``MatMul`` by a two-dimensional weight."""
    for node in graph:
        if node.op_type != "MatMul" or node.domain:
            continue
        weight = node.inputs[1]
        if (
            weight is not None
            and weight.is_initializer()
            and (weight.name or "").endswith(WEIGHT_SUFFIX)
        ):
            yield cast("str", weight.name).removesuffix(WEIGHT_SUFFIX), node


def _cause(error: BaseException) -> str:
    """The first line of what went wrong at the root, without the exporter's colours and advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return one_line(text.splitlines()[0]) if text else type(error).__name__


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what the exporter says about itself, not about the head."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*axis name.*will not be used.*")
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)


def _split_gemms(graph: ir.Graph) -> None:
    """Write every linear layer as ``MatMul`` and ``Add``; on (B, H) the trace has Gemm."""
    for node in list(graph):
        if node.op_type != "Gemm":
            continue
        x, weight = (cast("ir.Value", value) for value in node.inputs[:2])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if node.attributes.get_int("transB", 0):
            weight = _transposed(graph, weight)
        output = node.outputs[0]
        written = [
            ir.node("MatMul", [x, weight], outputs=[_like(output, f"{output.name}.product")])
        ]
        if bias is not None:
            product = written[0].outputs[0]
            written.append(ir.node("Add", [product, bias], outputs=[_like(output, output.name)]))
        written[0].metadata_props.update(node.metadata_props)
        graph.insert_before(node, written)
        result = written[-1].outputs[0]
        ir.convenience.replace_all_uses_with(output, result, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        result.name = output.name


def _like(value: ir.Value, name: str | None) -> ir.Value:
    return ir.Value(name=name, shape=value.shape, type=value.type)


def _fold_transposes(graph: ir.Graph) -> None:
    """Store the weights of linear layers as ``MatMul`` reads them: the trace transposes them."""
    for node in list(graph):
        if node.op_type != "Transpose":
            continue
        weight = cast("ir.Value", node.inputs[0])
        if isinstance(weight.const_value, ir.ExternalTensor) and len(weight.shape or ()) == 2:
            folded = _transposed(graph, weight)
            ir.convenience.replace_all_uses_with(node.outputs[0], folded)
            graph.remove(node, safe=True)


def _transposed(graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """The initializer (K, N) of a weight (N, K), under its name where nothing else reads it."""
    form, parameter = _source(weight)
    name = str(weight.name)
    if len(weight.uses()) == 1:
        graph.initializers.pop(name)
        weight.name = f"{name}.untransposed"
    else:
        name = f"{name}.transposed"
    rows, columns = cast("ir.Shape", weight.shape)
    value = ir.Value(name=name, shape=ir.Shape((columns, rows)), type=weight.type)
    form = _AS_IT_IS if form == _TRANSPOSED else _TRANSPOSED
    value.const_value = _symbolic_weight(value, form, parameter)
    graph.register_initializer(value)
    return value


def _linear_weight(node: ir.Node) -> ir.Value | None:
    """The stored matrix that a ``MatMul`` multiplies with."""
    weight = node.inputs[1] if node.op_type == "MatMul" else None
    if weight is None or not weight.is_initializer() or len(weight.shape or ()) != 2:
        return None
    return weight


def _separate_weights(graph: ir.Graph) -> None:
    """Give every linear layer a weight of its own, where two layers share one parameter.

    Layers are told apart by their weights' names; the bytes are still written once.
    """
    for node in graph:
        weight = _linear_weight(node)
        if weight is None or sum(use.node.op_type == "MatMul" for use in weight.uses()) < 2:
            continue
        name = f"{node.name}.weight"
        own = ir.Value(name=name, shape=weight.shape, type=weight.type)
        own.const_value = _symbolic_weight(own, *_source(weight))
        graph.register_initializer(own)
        node.replace_input_with(1, own)


def _name_weights(graph: ir.Graph) -> None:
    """Give the transposed weight of every linear layer its module's name.

    The exporter keeps the module in the node's metadata.
    """
    for node in graph:
        weight = _linear_weight(node)
        if weight is None:
            continue
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
        if len(scopes) < 2:
            raise TracingError(
                f"node {node.name} does not say which module it comes from",
                expected=f"{_SCOPES} in its metadata",
                got=f"torch {torch.__version__} that writes none",
            )
        _rename(graph, weight, scopes[-2] + WEIGHT_SUFFIX)


def _rename(graph: ir.Graph, value: ir.Value, name: str) -> None:
    if value.name == name:
        return
    taken = graph.initializers.get(name)
    if taken is not None and all(use.node.op_type == "Gather" for use in taken.uses()):
        # A tied decoder is traced under its own name: the table is the embedding's.
        _rename(graph, taken, name.removesuffix(_DECODER) + _WORD_EMBEDDINGS)
    elif taken is not None:
        raise TracingError(
            f"initializer {name} stands twice in the trace",
            expected="one linear layer of that name",
            got=f"{name} and {value.name}",
        )
    graph.initializers.pop(str(value.name))
    value.name = name
    if value.const_value is not None:
        value.const_value.name = name
    graph.initializers[name] = value


def _declare_shapes(graph: ir.Graph, inputs: _NamedAxes, outputs: _NamedAxes) -> None:
    """Check the graph's interface and name its symbolic axes."""
    known: dict[str, str] = {}
    for kind, values, declared in (
        ("input", graph.inputs, inputs),
        ("output", graph.outputs, outputs),
    ):
        names = [value.name for value in values]
        if names != [name for name, _ in declared]:
            raise TracingError(
                f"traced graph has other {kind}s",
                expected=", ".join(name for name, _ in declared),
                got=", ".join(map(str, names)),
            )
        for value, (name, axes) in zip(values, declared, strict=True):
            found = tuple(value.shape or ())
            if len(found) != len(axes) or any(
                (axis in DYNAMIC_AXES) == isinstance(size, int)
                for axis, size in zip(axes, found, strict=True)
            ):
                raise TracingError(
                    f"{kind} {name} lost a dynamic axis", expected=str(axes), got=str(found)
                )
            for axis, size in zip(axes, found, strict=True):
                if isinstance(axis, str) and axis in DYNAMIC_AXES:
                    known.setdefault(str(size), axis)
            value.shape = ir.Shape(
                axis if axis in DYNAMIC_AXES else size
                for axis, size in zip(axes, found, strict=True)
            )
    if PAST in known:
        _rename_sums(graph, known)


def _rename_sums(graph: ir.Graph, known: dict[str, str]) -> None:
    """Name inner axes as the interface does; the tracer's own sums and numbers are not stable.

    Args:
        graph: The graph.
        known: The interface's names of the tracer's expressions.
    """
    for node in graph:
        for value in node.outputs:
            if value.shape is None or value in graph.outputs:
                continue
            value.shape = ir.Shape(
                size if isinstance(size, int) else known.get(str(size)) for size in value.shape
            )


def _strip_metadata(model: ir.Model) -> None:
    """Drop the exporter's notes: they hold machine paths and double the file's header."""
    model.producer_name, model.producer_version = "bert-export", None
    model.doc_string = None
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        node.metadata_props.clear()
        node.doc_string = None
    values: list[Any] = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph:
        values.extend(node.outputs)
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.name = "bert"
