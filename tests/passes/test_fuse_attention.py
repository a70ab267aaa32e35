from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_export.passes.fuse_attention import FuseAttention, is_relative
from bert_export.tracing import trace
from tests.passes.graphs import (
    LAYERS,
    VOCABULARY,
    copy_model,
    difference,
    feeds_for,
    from_text,
    operators,
    run_model,
    traced,
)

EAGER = """<ir_version: 10, opset_import: ["" : 23]>
eager (float[b, s, 8] q, float[b, s, 8] k, float[b, s, 8] v, int64[b, 1, 1, s] seen,
       float[b, 1, 1, s] any, float[b, s, 2, 4] wide,
       float[s] flat) => (float[b, s, 8] y)
<int64[4] split = {0, 0, 2, 4}, int64[3] join = {0, 0, 8}, int64[4] odd = {0, 0, 4, 2},
 float root = {2}, float one = {1}, float two = {2}, float lowest = {-3.4028234663852886e38},
 float low = {-10000}>
{
  heads = Reshape(q, split)
  query = Transpose<perm = [0, 2, 1, 3]>(heads)
  k_heads = Reshape(k, split)
  key = Transpose<perm = [0, 2, 3, 1]>(k_heads)
  v_heads = Reshape(v, split)
  value = Transpose<perm = [0, 2, 1, 3]>(v_heads)
  hidden = Cast<to = 1>(seen)
  inverted = Sub(one, hidden)
  mask = Mul(inverted, lowest)
  scores = MatMul(query, key)
  scaled = Div(scores, root)
  masked = Add(scaled, mask)
  weights = Softmax<axis = -1>(masked)
  context = MatMul(weights, value)
  joined = Transpose<perm = [0, 2, 1, 3]>(context)
  y = Reshape(joined, join)
}"""


class Sdpa(nn.Module):
    """Attention as ``scaled_dot_product_attention``, which torch exports in other forms."""

    def __init__(self, *, boolean: bool, masked: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY + 1, 8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))
        self.boolean, self.masked = boolean, masked

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.table(input_ids)  # (B, S, H)
        visible = attention_mask[:, None, None, :]  # (B, 1, 1, S)
        mask = visible.bool()
        if not self.boolean:
            mask = (1.0 - visible.float()) * torch.finfo(torch.float32).min
        context = functional.scaled_dot_product_attention(
            *(self._split(layer(states)) for layer in (self.query, self.key, self.value)),
            attn_mask=mask if self.masked else None,
        )
        return context.transpose(1, 2).flatten(2)  # (B, S, H)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (2, 4)).transpose(1, 2)  # (B, N, S, D)


def _eager_feeds() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    feeds = {name: generator.standard_normal((3, 7, 8)).astype(np.float32) for name in "qkv"}
    seen = np.arange(7) < np.array([7, 3, 1])[:, None]
    return feeds | {
        "seen": seen[:, None, None].astype(np.int64),
        "flat": np.zeros(7, np.float32),
        "any": np.zeros((3, 1, 1, 7), np.float32),
        "wide": generator.standard_normal((3, 7, 2, 4)).astype(np.float32),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("Div(scores, root)", "Mul(scores, root)"),
        ("Mul(inverted, lowest)", "Mul(lowest, inverted)"),
        ("Mul(inverted, lowest)", "Mul(inverted, low)"),
        ("Add(scaled, mask)", "Add(scaled, any)"),
        ("Add(scaled, mask)", "Add(mask, scaled)"),
        ("masked = Add(scaled, mask)", "masked = Identity(scaled)"),
        ("scaled = Div(scores, root)", "scaled = Identity(scores)"),
        ("scores = MatMul(query, key)", "small = Mul(query, root) scores = MatMul(small, key)"),
        (
            "key = Transpose<perm = [0, 2, 3, 1]>(k_heads)",
            "t = Transpose<perm=[0, 2, 1, 3]>(k_heads) key = Transpose<perm=[0, 1, 3, 2]>(t)",
        ),
        (
            "mask = Mul(inverted, lowest)",
            "flag = Cast<to = 9>(seen) zero = Sub(one, one) mask = Where(flag, nothing, lowest)",
        ),
    ],
)
def test_the_written_out_form_fuses(old, new, tmp_path):
    text = EAGER.replace(old, new).replace("float two = {2}", "float nothing = {0}")
    model = from_text(text)
    for node in [node for node in model.graph if node.op_type == "Identity"]:
        ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
        model.graph.remove(node, safe=True)
    feeds = _eager_feeds()
    before = run_model(model, feeds, tmp_path)
    outcome = FuseAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    found = operators(model)
    assert found["Attention"] == 1
    assert not found.keys() & {"Softmax", "Transpose", "Reshape", "MatMul"}
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    again = copy_model(model)
    assert FuseAttention()(again).rewritten == 0
    assert operators(again) == found


@pytest.mark.parametrize(
    ("old", "new", "reason", "depth"),
    [
        ("<axis = -1>", "<axis = 2>", "the softmax does not run over the keys", 0),
        ("MatMul(weights, value)", "MatMul(value, weights)", "feed something else", 1),
        ("Add(scaled, mask)", "Add(any, mask)", "the scores are not queries times keys", 2),
        ("Div(scores, root)", "Div(root, scores)", "the scale is not a constant", 3),
        ("Div(scores, root)", "Div(scores, any)", "the scale is not a constant", 3),
        (
            "scaled = Div(scores, root)",
            "more = Add(scores, any) scaled = Div(more, root)",
            "a term besides queries times keys is added before the scale",
            4,
        ),
        ("query = Transpose<perm = [0, 2, 1, 3]>(heads)",
         "query = Transpose<perm = [0, 2, 1, 3]>(wide)",
         "heads are not split by Reshape and Transpose", 5),
        ("key = Transpose<perm = [0, 2, 3, 1]>", "key = Transpose<perm = [2, 0, 3, 1]>",
         "heads are transposed by [2, 0, 3, 1]", 6),
        ("value = Transpose<perm = [0, 2, 1, 3]>(v_heads)",
         "value = Relu(query)", "heads are not split", 7),
        ("joined = Transpose<perm = [0, 2, 1, 3]>(context)", "joined = Relu(context)",
         "heads are not joined by Transpose and Reshape", 8),
        ("Add(scaled, mask)", "Add(scaled, flat)", "the mask is not of shape (B, 1, 1 or S, S)",
         10),
    ],
)  # fmt: skip
def test_a_near_miss_is_refused(old, new, reason, depth):
    assert old in EAGER
    model = from_text(EAGER.replace(old, new))
    before = operators(model)
    outcome = FuseAttention()(model)
    assert outcome.rewritten == 0
    (refusal,) = outcome.refusals
    assert reason in refusal.reason
    assert refusal.depth == depth
    assert operators(model) == before


@pytest.mark.parametrize("lengths", [(7, 3, 1), (5, 5), (1,)])
@pytest.mark.parametrize("task", ["feature-extraction", "text-generation"])
def test_traced_heads_fuse_in_every_layer(task, lengths, tmp_path):
    model = traced(task)
    feeds = feeds_for(model, lengths)
    before = run_model(model, feeds, tmp_path)
    outcome = FuseAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (LAYERS, ())
    assert operators(model)["Expand"] == (task != "text-generation")  # the mask is made once
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


def test_padding_on_the_left(tmp_path):
    model = traced("feature-extraction")
    feeds = feeds_for(model, left=True)
    before = run_model(model, feeds, tmp_path)
    FuseAttention()(model)
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5


def test_a_text_without_tokens_disturbs_no_other(tmp_path):
    model = traced("feature-extraction")
    feeds = feeds_for(model)
    feeds["attention_mask"][2] = 0
    before = run_model(model, feeds, tmp_path)
    FuseAttention()(model)
    after = run_model(model, feeds, tmp_path)
    assert all(np.isfinite(array).all() for array in after.values())
    assert all(np.abs(after[name][:2] - before[name][:2]).max() < 1e-5 for name in before)


def test_shared_values_are_refused():
    text = EAGER.replace("v_heads = Reshape(v, split)", "v_heads = Reshape(v, odd)")
    text = text.replace("odd = {0, 0, 4, 2}", "odd = {0, 0, 1, 8}").replace(
        "{0, 0, 8}", "{0, 0, 16}"
    )
    (refusal,) = FuseAttention()(
        from_text(text.replace("=> (float[b, s, 8] y)", "=> (y)"))
    ).refusals
    assert refusal.reason == "queries, keys and values have other numbers of heads"
    assert refusal.depth == 9


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("boolean", [True, False])
def test_the_fused_trace_of_torch_gets_three_axes(boolean, masked, tmp_path):
    torch.manual_seed(0)
    axes = ("batch", "sequence")
    model = trace(
        Sdpa(boolean=boolean, masked=masked).eval(),
        inputs=(("input_ids", axes), ("attention_mask", axes)),
        outputs=(("y", (*axes, "hidden")),),
        max_length=16,
    )
    feeds = feeds_for(model)
    feeds["input_ids"] += 1
    assert not any("q_num_heads" in node.attributes for node in model.graph)
    outcome = FuseAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    after = run_model(model, feeds, tmp_path)
    head = Sdpa(boolean=boolean, masked=masked)
    torch.manual_seed(0)
    head = Sdpa(boolean=boolean, masked=masked).eval()
    with torch.inference_mode():
        wanted = head(*(torch.from_numpy(feeds[name]) for name in ("input_ids", "attention_mask")))
    assert np.abs(after["y"] - wanted.numpy()).max() < 1e-5
    assert FuseAttention()(model).rewritten == 0


def test_the_unfused_trace_of_torch_fuses_at_a_newer_opset():
    axes = ("batch", "sequence")
    model = trace(
        Sdpa(boolean=False).eval(),
        inputs=(("input_ids", axes), ("attention_mask", axes)),
        outputs=(("y", (*axes, "hidden")),),
        max_length=16,
        opset=20,
    )
    model.graph.opset_imports[""] = 23
    outcome = FuseAttention()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    (node,) = (node for node in model.graph if node.op_type == "Attention")
    assert node.attributes["scale"].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("attributes", "reason"), [("is_causal = 1", "is_causal"), ("softcap = 2.0", "softcap")]
)
def test_an_attention_that_does_more_is_refused(attributes, reason):
    model = from_text(f"""<ir_version: 10, opset_import: ["" : 23]>
    g (float[b, 2, s, 4] q) => (float[b, 2, s, 4] y) {{ y = Attention<{attributes}>(q, q, q) }}""")
    (refusal,) = FuseAttention()(model).refusals
    assert reason in refusal.reason


def test_an_older_opset_is_refused():
    model = traced("text-classification", opset=20)
    outcome = FuseAttention()(model)
    assert outcome.rewritten == 0
    assert [refusal.reason for refusal in outcome.refusals] == [
        "opset 20 has no Attention, which came with opset 23"
    ] * LAYERS


def test_relative_positions_are_refused():
    model = traced("text-classification", position_embedding_type="relative_key")
    assert is_relative(model)
    outcome = FuseAttention()(model)
    assert outcome.rewritten == 0
    assert {refusal.reason for refusal in outcome.refusals} == {
        "a term besides queries times keys is added before the scale"
    }
