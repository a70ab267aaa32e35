"""The Open Inference Protocol, KServe's version 2: metadata, and answers to text or ids.

Text comes as one BYTES input per field of the task, such as ``question`` and ``context``; answers
are JSON, one BYTES each, or FP32 vectors of a sentence embedding. The graph's own inputs, such as
``input_ids``, give its own outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import numpy as np

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError
from bert_export.runtime.json_answers import write_json
from bert_export.runtime.pipelines.columns import answer_columns
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.encoder_decoder import joined_interface
from bert_export.serving.models import Model
from bert_export.serving.replies import kserve_error
from bert_export.serving.routes import ApiRoute
from bert_export.tasks import LIST_FIELDS
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["infer_route", "metadata"]

_TYPES = {
    "bool": "BOOL",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "int32": "INT32",
    "int64": "INT64",
}
_DTYPES = {name: dtype for dtype, name in _TYPES.items()}


class Tensor(msgspec.Struct, kw_only=True):
    """An input: numbers or strings, flat or nested."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] | None = None


class Wanted(msgspec.Struct, kw_only=True):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class Infer(msgspec.Struct, kw_only=True):
    """A request; ``parameters`` are options of the task's call."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[Wanted] | None = None


def _count(body: Infer) -> int:
    texts = [tensor.shape[:1] for tensor in body.inputs]
    return max((shape[0] for shape in texts if shape), default=1)


def _infer(pipeline: Pipeline[Any, Any, Any], body: Infer, *, name: str) -> Any:
    if not body.inputs:
        raise InputError("inputs are empty", expected="at least one tensor", got="none")
    arrays: dict[str, Any] = {}
    for tensor in body.inputs:
        if tensor.name in arrays:
            raise InputError(f"input {tensor.name} is given twice", expected="each once")
        arrays[tensor.name] = _array(tensor)
    texts = {tensor.name for tensor in body.inputs if tensor.datatype == "BYTES"}
    if texts and len(texts) < len(arrays):
        raise InputError("inputs are mixed", expected="all BYTES, or the graph's own")
    found = _answers(pipeline, arrays, body.parameters or {}) if texts else pipeline.run(arrays)
    named = None if body.outputs is None else [output.name for output in body.outputs]
    for wanted in named or ():
        if wanted not in found:
            raise InputError(f"output {wanted} is unknown", expected=", ".join(found), got=wanted)
    reply = {
        "model_name": name,
        "outputs": [
            _tensor(output, value)
            for output, value in found.items()
            if named is None or output in named
        ],
    }
    return reply if body.id is None else {"id": body.id, **reply}


def _answers(
    pipeline: Pipeline[Any, Any, Any], arrays: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Answers to records whose fields are the tensors."""
    sizes = {len(values) for values in arrays.values()}
    if len(sizes) != 1:
        raise InputError(
            "inputs differ in their first axis", expected="one record each", got=sorted(sizes)
        )
    answers = answer_columns(pipeline, arrays, options)
    return {"embedding" if isinstance(answers, np.ndarray) else "answer": answers}


def _array(tensor: Tensor) -> Any:
    """A tensor's values: an array of the graph, or strings, nested where the field is a list."""
    place = f"input {tensor.name}"
    if any(size < 0 for size in tensor.shape) or not tensor.shape:
        raise InputError(f"{place} has a wrong shape", expected="sizes", got=tensor.shape)
    flat = _flat(tensor.data)
    size = int(np.prod(tensor.shape, dtype=object))
    if size != len(flat) or not size:
        raise InputError(
            f"{place} has another number of values",
            expected=f"{size} by its shape, and one at least",
            got=len(flat),
        )
    if tensor.datatype == "BYTES":
        return _strings(tensor, flat)
    if tensor.datatype not in _DTYPES:
        raise InputError(
            f"{place} has an unknown datatype",
            expected=f"BYTES or one of {', '.join(_DTYPES)}",
            got=tensor.datatype,
        )
    if not all(isinstance(value, int | float) for value in flat):
        raise InputError(f"{place} is of the wrong type", expected="numbers")
    try:
        return np.array(flat, dtype=_DTYPES[tensor.datatype]).reshape(tensor.shape)
    except (OverflowError, ValueError) as error:
        raise InputError(
            f"{place} does not fit its datatype", expected=tensor.datatype, got=error
        ) from error


def _strings(tensor: Tensor, flat: list[Any]) -> list[Any]:
    """Strings of a field, or lists of them where the field is one."""
    place, (rows, *rest) = f"input {tensor.name}", tensor.shape
    if not all(isinstance(value, str) for value in flat):
        raise InputError(f"{place} is of the wrong type", expected="strings")
    width = len(flat) // rows
    if tensor.name in LIST_FIELDS and len(rest) <= 1:
        return [flat[index * width : (index + 1) * width] for index in range(rows)]
    if any(size != 1 for size in rest):
        raise InputError(f"{place} has a wrong shape", expected=[rows], got=tensor.shape)
    return flat


def _flat(data: list[Any]) -> list[Any]:
    """The values of nested lists, in row-major order."""
    while data and all(isinstance(part, list) for part in data):
        data = [value for part in data for value in part]
    return data


def _tensor(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        shape, kind, data = list(value.shape), _TYPES[str(value.dtype)], value.ravel().tolist()
    else:
        shape, kind = [len(value)], "BYTES"
        data = [write_json(answer).decode() for answer in value]
    return {"name": name, "datatype": kind, "shape": shape, "data": data}


def metadata(model: Model) -> dict[str, Any]:
    """What the protocol says of a model: its text inputs, and the graph's own as parameters."""
    vectors = model.task.name == SENTENCE_EMBEDDING.name
    inputs, outputs = joined_interface(model.engine.graph)
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": "bert-export",
        "inputs": [
            {
                "name": name,
                "datatype": "BYTES",
                "shape": [-1, -1] if name in LIST_FIELDS else [-1],
            }
            for name in model.task.input_fields
        ],
        "outputs": [
            {
                "name": "embedding",
                "datatype": "FP32",
                "shape": [-1, model.manifest.model.hidden_size],
            }
            if vectors
            else {"name": "answer", "datatype": "BYTES", "shape": [-1]}
        ],
        "parameters": {
            "task": model.task.name,
            "graph_inputs": [_spec(spec) for spec in inputs],
            "graph_outputs": [_spec(spec) for spec in outputs],
        },
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": _TYPES.get(spec.dtype, spec.dtype),
        "shape": [size if isinstance(size, int) else -1 for size in spec.shape],
    }


def infer_route(model: Model) -> ApiRoute:
    """The route of one bundle, whose name is in its answers."""
    return ApiRoute(
        path="/infer",
        summary="Answer tensors of text or ids.",
        body=Infer,
        answer=partial(_infer, name=model.name),
        items=_count,
        error=kserve_error,
    )
