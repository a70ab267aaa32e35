"""What an explanation says of a graph, counted by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
import pytest

from bert_export.bundle import Manifest, read_manifest
from bert_export.errors import BundleError, InputError
from bert_export.explanation import Cost, explain
from bert_export.explanation.operators import OPERATORS, Tensor, run_operator
from bert_export.explanation.stages import price_stages
from bert_export.exporter import Export
from bert_export.passes.legality import LEGAL
from tests.passes.graphs import from_text

Exporter = Callable[..., Export]
FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64

# tests.oracle: two layers
H, N, D, F = 16, 4, 4, 24
TABLES, NORM = 4, 4 * 2 * H  # bytes of a float, of a norm's weight and bias


def linear(rows: int, inner: int, outer: int, *, bias: int = 1) -> int:
    """A product and its bias, where it has one."""
    return rows * outer * (2 * inner + bias)


def attend(texts: int, queries: int, keys: int) -> int:
    """Both products; scale, mask and softmax of each score."""
    return texts * N * queries * keys * (2 * D + 2 * D + 1 + 1 + 5)


def layer(texts: int, length: int, rows: int) -> dict[str, int]:
    """One encoder layer of which ``rows`` tokens per text are asked for."""
    every, some = texts * length, texts * rows
    return {
        "attention": 2 * linear(every, H, H, bias=0)  # keys and values
        + 2 * linear(some, H, H)
        + attend(texts, rows, length),
        "feed-forward": linear(some, H, F) + 5 * some * F + linear(some, F, H, bias=0),
        "normalization": 2 * (1 + 7) * some * H,
    }


def flops(costs: Any) -> dict[str, int]:
    return {stage: cost.flop for stage, cost in costs.items()}


def test_flops_are_those_counted_by_hand(tiny_export: Exporter) -> None:
    bundle = tiny_export("token-classification", "BertForTokenClassification", num_labels=3)
    found = explain(bundle.path, shape=(3, 7))
    assert found.axes == {"batch": 3, "sequence": 7}
    assert [flops(costs) for costs in found.layers] == [layer(3, 7, 7)] * 2
    assert found.stages["embeddings"].flop == (2 + 7) * 21 * H
    assert found.stages["head"].flop == linear(21, H, 3)
    assert found.total.flop == sum(flops(found.stages).values())
    assert found.total.integer_op == 0


def test_bytes_are_those_counted_by_hand(tiny_export: Exporter) -> None:
    bundle = tiny_export("token-classification", "BertForTokenClassification", num_labels=3)
    found = explain(bundle.path, shape=(3, 7))
    ff = found.layers[0]["feed-forward"]
    assert ff.weight_bytes == 4 * (H * F + F + F * H)
    assert ff.activation_bytes == 4 * 21 * (3 * F + H)  # product, bias, gelu; product
    norm = found.layers[0]["normalization"]
    assert (norm.weight_bytes, norm.activation_bytes) == (2 * NORM, 4 * 4 * 21 * H)
    # Rows of three tables (the positions once for all texts), two sums and the norm.
    table = 4 * 21 * H
    assert found.stages["embeddings"].weight_bytes == 2 * table + table // 3 + NORM
    assert found.stages["embeddings"].activation_bytes == 5 * table + table // 3


def test_the_pruned_last_layer_costs_less(tiny_export: Exporter) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3)
    first, last = explain(bundle.path, shape=(2, 20)).layers
    assert flops(first) == layer(2, 20, 20)
    assert flops(last) == layer(2, 20, 1)
    assert sum(flops(last).values()) < 0.5 * sum(flops(first).values())


def test_fill_mask_scores_one_mask_per_text(tiny_export: Exporter) -> None:
    bundle = tiny_export("fill-mask", "BertForMaskedLM")
    found = explain(bundle.path, shape=(4, 9))
    assert found.axes == {"batch": 4, "sequence": 9, "masked": 4}
    vocabulary = bundle.manifest.model.vocab_size
    assert found.stages["head"].flop == (
        linear(4, H, H) + 5 * 4 * H + 7 * 4 * H + linear(4, H, vocabulary)
    )
    assert found.layers[1]["feed-forward"].flop == layer(4, 9, 1)["feed-forward"]


def test_masks_and_heads_are_told_apart(tiny_export: Exporter) -> None:
    pooled = explain(tiny_export("feature-extraction", "BertModel").path, shape=(1, 8))
    assert pooled.stages["head"].flop == linear(1, H, H) + H
    assert pooled.stages["mask"].activation_bytes > 0


def test_passes_say_what_changed(tiny_export: Exporter) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3)
    passes = {changes.name: changes for changes in explain(bundle.path).passes}
    attention = passes["fuse_attention"]
    assert attention.rewritten == 2
    assert attention.operators["Softmax"] == (2, 0)
    assert "LayerNormalization" not in attention.operators
    assert attention.nodes[0] > attention.nodes[1]
    assert passes["prune_first_token"].rewritten == 1


def test_refusals_are_passed_on(tiny: Callable[..., Path], tmp_path: Path) -> None:
    from bert_export.exporter import export

    model = str(tiny("BertModel"))
    done = export(task="feature-extraction", model=model, output=tmp_path / "b", opset=20)
    passes = {changes.name: changes for changes in explain(done.path).passes}
    assert len(passes["fuse_attention"].refusals) == 2
    assert "opset 20 has no Attention" in passes["fuse_attention"].refusals[0].reason
    fused = explain(done.path, shape=(3, 7)).layers[0]
    assert fused["feed-forward"].flop == layer(3, 7, 7)["feed-forward"]
    written_out = fused["attention"].flop  # operators differ, operations do not but for two biases
    assert written_out == layer(3, 7, 7)["attention"] + 2 * 21 * H


def test_integer_products_count_apart(embedding_int8: Export) -> None:
    found = explain(embedding_int8.path, shape=(8, 128))
    hidden, wide, tokens = 384, 1536, 8 * 128
    products = 2 * tokens * (4 * hidden * hidden + 2 * hidden * wide)
    plan = embedding_int8.manifest.engine().quantization
    assert plan is not None
    units = sum(  # hidden units that became several
        layer.split_channels
        for layer in plan.layers
        if layer.layer.endswith("output.dense") and "attention" not in layer.layer
    )
    assert units > 0
    assert found.total.integer_op == 6 * products + 2 * tokens * 2 * hidden * units
    assert found.stages["quantization"].flop == 3 * tokens * (6 * (3 * hidden + wide) + units)
    assert found.stages["feed-forward"].weight_bytes < 6 * 2 * hidden * wide * 1.05
    assert found.axes == {"batch": 8, "sequence": 128}


def test_choices_are_an_axis_of_the_shape(tiny_export: Exporter) -> None:
    bundle = tiny_export("multiple-choice", "BertForMultipleChoice").path
    found = explain(bundle, shape=(2, 3, 5))
    assert found.axes == {"batch": 2, "choices": 3, "sequence": 5}
    assert flops(found.layers[0]) == layer(6, 5, 5)
    with pytest.raises(InputError, match="batch x choices x sequence, got 2 sizes"):
        explain(bundle, shape=(2, 5))


@pytest.mark.parametrize("shape", [(0, 4), (1, 33), (4,)])
def test_a_shape_that_does_not_fit_is_refused(
    shape: tuple[int, ...], tiny_export: Exporter
) -> None:
    with pytest.raises(InputError, match="does not fit"):
        explain(tiny_export("fill-mask", "BertForMaskedLM").path, shape=shape)


def test_weights_are_not_read(tiny_export: Exporter, tmp_path: Path) -> None:
    whole = tiny_export("fill-mask", "BertForMaskedLM").path
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    (copy / "weights.data").unlink()
    assert explain(copy) == explain(whole)


def test_an_unknown_operator_is_named(tiny_export: Exporter, tmp_path: Path) -> None:
    bundle = tmp_path / "copy"
    shutil.copytree(tiny_export("fill-mask", "BertForMaskedLM").path, bundle)
    model = ir.load(bundle / "onnxruntime.onnx")
    node = next(node for node in model.graph if node.op_type == "Gelu")
    node.op_type, node.name = "FancyGelu", "the.culprit"
    ir.save(model, bundle / "onnxruntime.onnx")
    with pytest.raises(BundleError, match=r"node the\.culprit has operator FancyGelu"):
        explain(bundle)


def test_a_damaged_graph_is_one_clear_line(tiny_export: Exporter, tmp_path: Path) -> None:
    bundle = tmp_path / "copy"
    shutil.copytree(tiny_export("fill-mask", "BertForMaskedLM").path, bundle)
    (bundle / "onnxruntime.onnx").write_bytes(b"no graph")
    with pytest.raises(BundleError, match="cannot be read"):
        explain(bundle)


def test_every_legal_operator_has_a_cost() -> None:
    assert set(LEGAL) - set(OPERATORS) == {("", "If")}  # priced by its branches


def test_a_missing_extra_is_named(tiny_export: Exporter) -> None:
    bundle = tiny_export("fill-mask", "BertForMaskedLM").path
    program = (
        "import sys; sys.modules['onnx_ir'] = None\n"
        "from bert_export.explanation import explain\n"
        "from bert_export.errors import MissingExtraError\n"
        f"try: explain({str(bundle)!r})\n"
        "except MissingExtraError as error: print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "explain (onnx_ir) needs" in told
    assert "pip install 'bert-export[export]'" in told


def test_an_explanation_is_plain_json(tiny_export: Exporter) -> None:
    bundle = tiny_export("fill-mask", "BertForMaskedLM").path
    told = json.loads(msgspec.json.encode(explain(bundle)))
    assert told["task"] == read_manifest(bundle).task
    assert set(told["total"]) == {"flop", "integer_op", "weight_bytes", "activation_bytes"}


# Operators alone


def price(op: str, *tensors: Any, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
    """The result of one node over tensors, shapes or known numbers."""
    known = []
    for one in tensors:
        if isinstance(one, list):
            array = np.array(one, np.int64)
            known.append(Tensor(array.shape, INT64, stored=True, numbers=array))
        else:
            known.append(Tensor(one, FLOAT) if isinstance(one, tuple) else one)
    inputs = [None if one is None else ir.Value(name=f"v{i}") for i, one in enumerate(known)]
    node = ir.node(op, inputs, attributes, domain=domain, name="node", num_outputs=outputs)
    return run_operator(node, known)


@pytest.mark.parametrize(
    ("op", "tensors", "attributes", "shape", "flop"),
    [
        ("MatMul", [(5, 2, 3), (3, 4)], {}, (5, 2, 4), 2 * 40 * 3),
        ("Gemm", [(2, 3), (4, 3), (4,)], {"transB": 1}, (2, 4), 8 * 7),
        ("Einsum", [(2, 3, 4, 5), (4, 6, 5)], {"equation": "bnqd,qkd->bnqk"}, (2, 3, 4, 6), 1440),
        ("Attention", [(2, 3, 8), (2, 5, 8), (2, 5, 8)], {"q_num_heads": 2, "kv_num_heads": 2},
         (2, 3, 8), 2 * 2 * 3 * 5 * (16 + 6)),
        ("Attention", [(2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4)], {}, (2, 2, 3, 4),
         2 * 2 * 3 * 5 * (16 + 6)),
        ("Softmax", [(2, 3)], {}, (2, 3), 30),
        ("Gelu", [(2, 3)], {"approximate": "tanh"}, (2, 3), 54),
        ("LayerNormalization", [(2, 8), (8,)], {}, (2, 8), 96),
        ("ReduceSum", [(2, 3, 4), [1]], {"keepdims": 0}, (2, 4), 24),
        ("ReduceL2", [(2, 3), [1]], {}, (2, 1), 12),
        ("ReduceMean", [(2, 3)], {"keepdims": 0}, (), 6),
        ("ArgMax", [(2, 3)], {"axis": 1, "keepdims": 0}, (2,), 6),
        ("Transpose", [(2, 3, 4)], {"perm": [0, 2, 1]}, (2, 4, 3), 0),
        ("Reshape", [(2, 3, 4), [0, -1]], {}, (2, 12), 0),
        ("Squeeze", [(2, 1, 4), [1]], {}, (2, 4), 0),
        ("Unsqueeze", [(2, 4), [0, -1]], {}, (1, 2, 4, 1), 0),
        ("Expand", [(2, 1), [2, 3]], {}, (2, 3), 0),
        ("Slice", [(9, 4), [1], [-2], [0], [2]], {}, (3, 4), 0),
        ("Concat", [(2, 3), (2, 5)], {"axis": -1}, (2, 8), 0),
        ("GatherElements", [(2, 9), (2, 1)], {"axis": 1}, (2, 1), 0),
        ("GatherND", [(2, 9, 4), (2, 1, 1)], {"batch_dims": 1}, (2, 1, 4), 0),
        ("Range", [[0], [7], [2]], {}, (4,), 0),
        ("Where", [(1, 3), (2, 1), (2, 3)], {}, (2, 3), 0),
    ],
)  # fmt: skip
def test_operators(
    op: str, tensors: list[Any], attributes: dict[str, Any], shape: tuple[int, ...], flop: int
) -> None:
    result = price(op, *tensors, **attributes)
    assert (result.outputs[0].shape, result.flop, result.integer_op) == (shape, flop, 0)


def test_integer_matrix_products() -> None:
    levels = Tensor((5, 3), ir.DataType.UINT8)
    weight = Tensor((3, 4), ir.DataType.INT8, stored=True)
    whole = price("MatMulInteger", levels, weight)
    assert (whole.integer_op, whole.flop, whole.read, whole.written) == (120, 0, 12, 80)
    scale, bias = Tensor((), FLOAT, stored=True), Tensor((4,), FLOAT, stored=True)
    fused = price(
        "MatMulIntegerToFloat", levels, weight, scale, bias, None, None, bias,
        domain="com.microsoft",
    )  # fmt: skip
    assert (fused.integer_op, fused.flop, fused.outputs[0].dtype) == (120, 40, FLOAT)
    tied = price("FusedMatMul", (5, 3), (4, 3), domain="com.microsoft", transB=1)
    assert (tied.outputs[0].shape, tied.flop) == ((5, 4), 120)


@pytest.mark.parametrize("dtype", [FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16])
def test_levels_become_numbers_of_any_width(dtype: ir.DataType) -> None:
    levels, scale = Tensor((5, 3), ir.DataType.INT8), Tensor((), dtype, stored=True)
    result = price("DequantizeLinear", levels, scale)
    assert (result.outputs[0].dtype, result.flop, result.integer_op) == (dtype, 2 * 15, 0)
    assert result.written == 15 * dtype.itemsize


def test_what_is_made_of_weights_alone_stands_where_it_is_read(tmp_path: Path) -> None:
    """A decoder that is tied to the embeddings: its table belongs to both, turned over for free."""
    norm = "LayerNormalization<axis=-1>"
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 23]>'
        " agraph (int64[batch, sequence] ids) => (float[batch, sequence, 5] logits)"
        " <float[5, 2] table = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, float[2] weight = {1, 1}>"
        f"{{ e = Gather(table, ids) a = {norm}(e, weight) b = {norm}(a, weight)"
        f" c = {norm}(b, weight) turned = Transpose<perm=[1, 0]>(table)"
        " logits = MatMul(c, turned) }"
    )
    path = tmp_path / "tied.onnx"
    ir.save(model, path)
    costs = price_stages(path, axes={"batch": 2, "sequence": 3}, layers=1)
    table, row = 4 * 5 * 2, 4 * 2
    assert costs[None, "head"] == Cost(6 * 5 * 2 * 2, 0, table, 4 * 6 * 5)
    assert costs[None, "embeddings"].weight_bytes == 6 * row + row


def test_split_gives_every_part() -> None:
    result = price("Split", (2, 9), [2, 7], axis=1, outputs=2)
    assert [output.shape for output in result.outputs] == [(2, 2), (2, 7)]
    assert result.written == 4 * 18


def test_a_table_is_read_where_it_is_taken_from() -> None:
    table = Tensor((1000, 8), FLOAT, stored=True)
    result = price("Gather", table, Tensor((2, 3), INT64))
    assert (result.outputs[0].shape, result.read) == ((2, 3, 8), 4 * 48)


def test_operands_that_do_not_fit_name_the_node() -> None:
    with pytest.raises(BundleError, match=r"graph node node \(MatMul\) cannot be priced"):
        price("MatMul", (2, 3), (4, 5))
    with pytest.raises(BundleError, match="expected a shape that follows"):
        price("Expand", (2, 1), Tensor((2,), INT64))


def test_costs_add_up() -> None:
    assert Cost(1, 2, 3, 4) + Cost(10, 20, 30, 40) == Cost(11, 22, 33, 44)


def test_a_bundle_that_is_replaced_meanwhile_is_explained_anew(
    tiny_export: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
    new = tiny_export("token-classification", "BertForTokenClassification").path
    folder = Path(shutil.copytree(old, tmp_path / "bundle"))

    def read_and_replace(place: Path) -> Manifest:
        manifest = read_manifest(place)
        if manifest.task == "text-classification":
            folder.rename(tmp_path / "gone")
            shutil.copytree(new, folder)
        return manifest

    monkeypatch.setattr("bert_export.explanation.explanation.read_manifest", read_and_replace)
    assert explain(folder) == explain(new)
