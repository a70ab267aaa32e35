"""Tracing: names, dynamic axes, and what a trace must not hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from bert_export.checkpoints import load_checkpoint
from bert_export.errors import TracingError
from bert_export.models import BertHead, load_head
from bert_export.tasks import TASKS
from bert_export.tracing import CACHE_VARIABLE, linear_layers, trace
from tests.oracle import random_batch

AXES = ("batch", "sequence")


def trace_head(head: BertHead, task: str, *, opset: int = 23, max_length: int = 32) -> ir.Model:
    shapes = {output.name: output.shape for output in TASKS[task].outputs}
    axes = ("batch", "choices", "sequence") if task == "multiple-choice" else AXES
    return trace(
        head,
        inputs=tuple((name, axes) for name in head.inputs),
        outputs=tuple((name, shapes[name]) for name in head.outputs),
        max_length=max_length,
        opset=opset,
    )


@pytest.mark.parametrize("opset", [20, 23])
@pytest.mark.parametrize("positions", ["absolute", "relative_key_query"])
def test_trace_is_valid_for_every_batch_and_sequence(
    tiny: Callable[..., Path], opset: int, positions: str
) -> None:
    folder = tiny("BertModel", position_embedding_type=positions)
    head = load_head("BertModel", load_checkpoint(str(folder)))
    model = trace_head(head, "feature-extraction", opset=opset)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    for lengths in ((1,), (32,), (5, 2, 9), (1,) * 17, (32, 1)):
        inputs = random_batch(40, lengths)
        with torch.inference_mode():
            expected = [part.numpy() for part in head(*inputs)]
        feeds = {name: array.numpy() for name, array in zip(head.inputs, inputs, strict=True)}
        for left, right in zip(session.run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-4)


def test_linear_layers_carry_their_modules_names(tiny: Callable[..., Path]) -> None:
    head = load_head(
        "BertForSequenceClassification",
        load_checkpoint(str(tiny("BertForSequenceClassification"))),
    )
    model = trace_head(head, "text-classification")
    names = [name for name, _ in linear_layers(model.graph)]
    modules = [name for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(names) == sorted(modules)
    for name, node in linear_layers(model.graph):
        weight = head.get_submodule(name).weight
        stored = node.inputs[1].const_value.numpy()
        np.testing.assert_array_equal(stored, weight.detach().numpy().T)


@pytest.mark.parametrize("cls_name", ["BertForPreTraining", "BertForSequenceClassification"])
def test_equal_tensors_and_biases_of_zero_keep_their_layers_apart(
    cls_name: str, tiny: Callable[..., Path]
) -> None:
    """A model fresh from its initialization: the exporter merges equal tensors and drops zeros."""
    head = load_head(cls_name, load_checkpoint(str(tiny(cls_name))))
    for module in head.modules():
        if isinstance(module, nn.Linear):
            module.bias.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.weight.fill_(1.0)
            module.bias.zero_()
    task = "pretraining" if cls_name == "BertForPreTraining" else "text-classification"
    model = trace_head(head, task)
    names = [name for name, _ in linear_layers(model.graph)]
    modules = [name for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(names) == sorted(modules)
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    inputs = random_batch(40, (7, 3))
    feeds = {name: array.numpy() for name, array in zip(head.inputs, inputs, strict=True)}
    with torch.inference_mode():
        answer = head(*inputs)
    expected = answer if isinstance(answer, tuple) else (answer,)
    for left, right in zip(session.run(None, feeds), expected, strict=True):
        np.testing.assert_allclose(left, right.numpy(), atol=1e-4)


def test_layers_of_equal_weights_have_each_its_own(tiny: Callable[..., Path]) -> None:
    """As a model whose layers were copied to make it deeper: plans name layers by their weights."""
    head = load_head("BertModel", load_checkpoint(str(tiny("BertModel"))))
    first, second = (head.bert.encoder.layer[index] for index in (0, 1))
    second.load_state_dict(first.state_dict())
    model = trace_head(head, "feature-extraction")
    layers = list(linear_layers(model.graph))
    modules = [name for name, module in head.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(name for name, _ in layers) == sorted(modules)
    weights = [node.inputs[1] for _, node in layers]
    assert len({id(weight) for weight in weights}) == len(weights)
    for name, node in layers:
        expected = head.get_submodule(name).weight.detach().numpy().T
        np.testing.assert_array_equal(node.inputs[1].const_value.numpy(), expected)


def test_interface_is_named_and_symbolic(tiny: Callable[..., Path]) -> None:
    folder = tiny("BertForMultipleChoice")
    model = trace_head(
        load_head("BertForMultipleChoice", load_checkpoint(str(folder))), "multiple-choice"
    )
    assert [value.name for value in model.graph.inputs] == [
        "input_ids",
        "attention_mask",
        "token_type_ids",
    ]
    assert [str(axis.value) for axis in model.graph.inputs[0].shape] == [
        "batch",
        "choices",
        "sequence",
    ]
    assert [value.name for value in model.graph.outputs] == ["logits"]


def test_no_machine_path_is_left_in_the_graph(tiny: Callable[..., Path]) -> None:
    head = load_head("BertModel", load_checkpoint(str(tiny("BertModel"))))
    text = ir.to_proto(trace_head(head, "feature-extraction")).SerializeToString()
    assert str(Path.cwd()).encode() not in text
    assert b"site-packages" not in text


@pytest.mark.parametrize("opset", [19, 24])
def test_other_opsets_are_refused(tiny: Callable[..., Path], opset: int) -> None:
    head = load_head("BertModel", load_checkpoint(str(tiny("BertModel"))))
    with pytest.raises(TracingError, match=rf"opset {opset} is not supported: expected 20 to 23"):
        trace_head(head, "feature-extraction", opset=opset)


class Branching(BertHead):
    """A head that looks at a value in Python: no graph can hold that."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        if int(input_ids.sum()) > 3:
            return attention_mask.float()
        return token_type_ids.float()


def test_what_the_exporter_says_is_one_plain_line() -> None:
    with pytest.raises(TracingError) as caught:
        trace(
            Branching().eval(),
            inputs=tuple((name, AXES) for name in BertHead.inputs),
            outputs=(("logits", ("batch", "sequence")),),
            max_length=32,
        )
    assert "data-dependent expression" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


class Fixed(BertHead):
    """A head whose answer does not depend on the sequence axis it promises."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return (input_ids + attention_mask + token_type_ids).float()[:, :1].repeat(1, 4)


@pytest.mark.parametrize(
    ("head", "message"),
    [(Branching().eval(), "cannot be traced"), (Fixed().eval(), "lost a dynamic axis")],
)
def test_a_head_that_cannot_be_exported_is_named(head: BertHead, message: str) -> None:
    with pytest.raises(TracingError, match=message):
        trace(
            head,
            inputs=tuple((name, AXES) for name in BertHead.inputs),
            outputs=(("logits", ("batch", "sequence")),),
            max_length=32,
        )


@pytest.mark.parametrize("request_to_end", [KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("follows", [True, False])
def test_a_request_to_end_is_no_fault_of_the_head(
    tiny: Callable[..., Path],
    request_to_end: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    *,
    follows: bool,
) -> None:
    """The exporter, half imported, takes it for a failure of its own."""

    def export(*_: object, **__: object) -> None:
        try:
            end()
        except type(request_to_end) as error:
            raise AttributeError("no attribute 'exc'") from (error if follows else None)

    def end() -> None:
        raise request_to_end

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.delenv(CACHE_VARIABLE)
    head = load_head("BertModel", load_checkpoint(str(tiny("BertModel"))))
    with pytest.raises(type(request_to_end)) as caught:
        trace_head(head, "feature-extraction")
    assert caught.value is request_to_end
