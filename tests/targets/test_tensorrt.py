from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.errors import InputError, MissingExtraError, TargetError
from bert_export.targets import TARGETS
from bert_export.targets.engine_cache import EngineCache
from bert_export.targets.lowering import lower
from bert_export.targets.profiles import make_profiles
from bert_export.targets.rounded_session import float32_twin, open_rounded
from bert_export.targets.tensorrt import check_graph, scheme
from bert_export.targets.tensorrt_builder import (
    build_engine,
    builder_version,
    nameable_capabilities,
)
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, difference, feeds_for, from_text, run_model
from tests.support import ONE_GRAPH
from tests.targets.emitted import emitted, inputs_of, prepared, written

pytestmark = pytest.mark.long

TARGET = "tensorrt-rtx"
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
WIDE = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
PROFILES = make_profiles(max_length=16, batch_sizes=(1, 4, 8))

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
QUANTIZED = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'


@pytest.fixture(scope="session")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")


needs_builder = pytest.mark.usefixtures("rtx")


def _build(model: ir.Model, folder, *, gpus=("sm86",), profiles=PROFILES, **options):
    path = written(model, folder)
    return build_engine(
        path, inputs_of(model), target=TARGET, profiles=profiles, gpus=gpus, **options
    )


# What is built


@needs_builder
@pytest.mark.parametrize("task", ONE_GRAPH)
def test_every_head_builds_in_fp16(task, tmp_path):
    model = emitted(task, "fp16")
    check_graph(model)
    built = _build(model, tmp_path)
    assert len(built.plan) > 100_000
    assert built.capabilities == ("SM86",)
    assert built.facts.attention_layers == LAYERS
    assert built.facts.warnings == ()


@needs_builder
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("gpu", ["a10", "rtx 4090", "sm_120"])
def test_every_precision_builds_for_every_gpu(precision, gpu, tmp_path):
    model = emitted("text-classification", precision)
    built = _build(model, tmp_path, gpus=(gpu,))
    assert built.capabilities == ({"a10": "SM86", "rtx 4090": "SM89", "sm_120": "SM120"}[gpu],)
    assert built.builder == builder_version(TARGET)


@needs_builder
@pytest.mark.parametrize("fields", [{"hidden_act": "gelu_new"}, {"hidden_act": "relu"}])
def test_other_activations_build(fields, tmp_path):
    assert _build(emitted("token-classification", "fp16", **fields), tmp_path).plan


@needs_builder
def test_every_pooling_builds(tmp_path):
    modes = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
    assert _build(emitted("sentence-embedding", "bf16", pooling=modes), tmp_path).plan


@needs_builder
def test_several_gpus_share_one_engine(tmp_path):
    built = _build(emitted("text-classification", "fp16"), tmp_path, gpus=("89", "8.6", "l4"))
    assert built.capabilities == ("SM86", "SM89")


@needs_builder
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rebuilt_engines_differ_in_the_order_of_names_at_most(precision, tmp_path):
    """The builder keeps names in sets: in either order, and nothing is added or left out."""
    model = emitted("question-answering", precision)
    one, other = (_build(model, tmp_path).plan for _ in range(2))
    assert len(one) == len(other)
    differing = sum(left != right for left, right in zip(one, other, strict=True))
    assert differing < len(one) / 1000


@needs_builder
def test_fp16_attention_is_fused_and_half_as_large(tmp_path):
    """A fused kernel never writes the scores: 8 x 12 x 512 x 512 of them take 50 MB in FP16."""
    profiles = make_profiles(max_length=512, batch_sizes=(1, 8))
    fields = WIDE | {"max_position_embeddings": 512}
    scores = 8 * 12 * 512 * 512
    sizes, needed = {}, {}
    for precision in PRECISIONS:
        (tmp_path / precision).mkdir()
        model = emitted("feature-extraction", precision, **fields)
        built = _build(model, tmp_path / precision, profiles=profiles)
        assert built.facts.attention_layers == LAYERS
        sizes[precision], needed[precision] = len(built.plan), built.facts.device_memory
    assert 0.4 < sizes["fp16"] / sizes["fp32"] < 0.65
    assert 0.4 < sizes["bf16"] / sizes["fp32"] < 0.65
    assert sizes["int8"] < 0.75 * sizes["fp16"]
    assert needed["fp32"] > 4 * scores  # not fused: the scores lie in memory
    for precision in ("fp16", "bf16", "int8"):
        assert needed[precision] < 2 * scores


def test_the_network_has_the_types_of_the_graph(rtx, tmp_path):
    """Read back from the parser, layer by layer: what the builder was given is what was meant."""
    path = written(emitted("text-classification", "int8"), tmp_path)
    logger = rtx.Logger(rtx.Logger.ERROR)
    network = rtx.Builder(logger).create_network(
        1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = rtx.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path))
    inputs = [network.get_input(place) for place in range(network.num_inputs)]
    assert {tensor.dtype for tensor in inputs} == {rtx.int64}
    assert network.get_output(0).dtype == rtx.float32
    kinds: dict[object, set[object]] = {}
    for place in range(network.num_layers):
        layer = network.get_layer(place)
        kinds.setdefault(layer.type, set()).add(layer.get_output(0).dtype)
    assert kinds[rtx.LayerType.QUANTIZE] == {rtx.int8}
    assert kinds[rtx.LayerType.DEQUANTIZE] == {rtx.float16}
    assert kinds[rtx.LayerType.MATRIX_MULTIPLY] == {rtx.float16}
    assert kinds[rtx.LayerType.SOFTMAX] == {rtx.float32}


# The numbers of what is built, in ONNX Runtime


@pytest.mark.parametrize(
    ("precision", "bound"), [("fp32", 1e-5), ("fp16", 0.01), ("bf16", 0.15), ("int8", 0.25)]
)
@pytest.mark.parametrize("task", ["feature-extraction", "fill-mask", "text-generation"])
def test_the_very_graph_answers_as_the_head(task, precision, bound, tmp_path):
    reference = prepared(task)
    model = emitted(task, precision)
    path = written(model, tmp_path)
    for lengths in ((7, 3, 1), (4, 4)):
        feeds = feeds_for(model, lengths)
        before = run_model(reference, feeds, tmp_path)
        with open_rounded(path, threads=1) as session:
            after = session.run(feeds)
        assert {array.dtype for array in after.values()} == {np.dtype(np.float32)}
        assert difference(before, after) < bound
        assert precision == "fp32" or difference(before, after) > 0


def test_the_twin_rounds_every_bf16_value(tmp_path):
    model = from_text(
        f"{HEAD} agraph (float[N] x) => (float[N] y)"
        "{ low = Cast<to = 16>(x) twice = Add(low, low) y = Cast<to = 1>(twice) }"
    )
    path = written(model, tmp_path)
    numbers = np.array([1.0, 1.001, 3.14159, 1e30], np.float32)
    with open_rounded(path) as session:
        found = session.run({"x": numbers})["y"]
    cut = numbers.view(np.uint32) & 0xFFFF0000
    assert (found.view(np.uint32) & 0xFFFF == 0).all()  # nothing that BF16 could not hold
    assert np.allclose(found, 2 * numbers, rtol=2**-8)
    assert not np.array_equal(found, 2 * cut.view(np.float32) + 1)
    assert float32_twin(model) == 2


@pytest.mark.parametrize("target", ["onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx"])
def test_targets_share_one_form(target):
    graphs = {
        name: [node.op_type for node in emitted("text-classification", "int8", name).graph]
        for name in (target, TARGET)
    }
    assert graphs[target] == graphs[TARGET]
    assert TARGETS[target].gpu


def test_int8_is_symmetric():
    chosen = scheme("x86-64-vnni")
    for low, high in ((-1.0, 3.0), (-4.0, 0.1), (0.0, 0.0), (-1e-9, 1e-9), (-0.3, 0.29999)):
        parameters = chosen.parameters(low, high)
        assert parameters.zero_point == 0
        assert parameters.scale > 0
        assert max(-low, high) / parameters.scale <= 127.001 or high == 0


# What the builder refuses, and what is refused before it


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("z = com.microsoft.FastGelu(x) y = Identity(z)", "FastGelu node .* domain com.microsoft"),
        (
            "q = QuantizeLinear(x, s, u0) y = DequantizeLinear(q, s, u0)",
            r"QuantizeLinear node .* has a tensor u0 of type uint8.*got uint8",
        ),
        (
            "q = QuantizeLinear(x, s, one) y = DequantizeLinear(q, s, one)",
            r"has the zero point one, .* got int8 \[1\]",
        ),
        (
            "b = DequantizeLinear(bias, s) y = Add(x, b)",
            "DequantizeLinear node .* reads bias in int32, .* a bias stays float",
        ),
        (
            "w = DequantizeLinear<axis = 0>(weight, scales) y = MatMul(x, w)",
            "has a scale per channel of another axis, .* got axis 0",
        ),
        ("y = MatMul(x, cube)", r"MatMul node .* has the weight cube, .* expected \(K, N\)"),
        ("z = Cast<to = 11>(x) y = Cast<to = 1>(z)", "has a tensor z of type double"),
    ],
)
def test_what_the_builder_would_take_wrongly_is_refused_by_node(body, message):
    opset = QUANTIZED if "Quantize" in body or "microsoft" in body else HEAD
    model = from_text(
        f"{opset} agraph (float[B, 4] x) => (float[B, 4] y)"
        " <float s = {0.5}, uint8 u0 = {0}, int8 one = {1}, int32[4] bias = {1, 2, 3, 4},"
        " int8[4, 4] weight = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4},"
        " float[4] scales = {0.1, 0.1, 0.1, 0.1}, float[1, 4, 4] cube = {1, 2, 3, 4, 1, 2, 3, 4,"
        " 1, 2, 3, 4, 1, 2, 3, 4}> {" + body + " }"
    )
    if not any(node.op_type == "QuantizeLinear" for node in model.graph):
        model.graph.opset_imports[""] = 20
    with pytest.raises(TargetError, match=message):
        check_graph(model)


def test_an_attention_that_was_not_written_out_is_refused():
    model = prepared("text-classification")
    with pytest.raises(TargetError, match="another opset: expected 20, got 23"):
        check_graph(model)
    model.graph.opset_imports[""] = 20
    with pytest.raises(TargetError, match=r"Attention node .* is not written out"):
        check_graph(model)


def test_onnx_runtimes_own_form_is_refused():
    model = prepared("text-classification")
    lower(
        model,
        target="onnxruntime-cuda",
        precision="fp16",
        task=TASKS["text-classification"],
        config_layers=LAYERS,
    )
    model.graph.opset_imports[""] = 20
    with pytest.raises(TargetError, match=r"MultiHeadAttention node .* of domain com.microsoft"):
        check_graph(model)


@needs_builder
def test_a_graph_that_cannot_be_parsed_names_the_node(tmp_path):
    model = from_text(
        f"{QUANTIZED} agraph (float[batch, sequence] x) => (float[batch, sequence] y)"
        "{ y = com.microsoft.FastGelu(x) }"
    )
    path = written(model, tmp_path)
    with pytest.raises(TargetError, match=r"cannot be read at FastGelu node .* by tensorrt_rtx"):
        build_engine(path, inputs_of(model), target=TARGET, profiles=PROFILES, gpus=["sm86"])


@needs_builder
def test_a_gpu_without_bf16_is_an_error_with_the_builders_reason(tmp_path):
    model = emitted("text-classification", "bf16")
    with pytest.raises(TargetError, match=r"cannot be built by tensorrt_rtx .* for SM75: .*b16"):
        _build(model, tmp_path, gpus=("t4",))


@needs_builder
def test_a_file_that_is_no_graph_is_an_error(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(TargetError, match=r"graph broken.onnx cannot be read"):
        build_engine(path, (), target=TARGET, profiles=PROFILES, gpus=["sm86"])


@needs_builder
@pytest.mark.parametrize(
    ("gpus", "message"),
    [
        ((), "is not told for which GPU: expected --sm with one of SM75"),
        (("h100",), "capability SM90 cannot be named .* got h100, which is SM90"),
        (("voodoo2",), "GPU 'voodoo2' is unknown"),
    ],
)
def test_gpus_are_checked_before_anything_is_read(gpus, message, tmp_path):
    with pytest.raises(InputError, match=message):
        build_engine(tmp_path / "absent.onnx", (), target=TARGET, profiles=PROFILES, gpus=gpus)


def test_a_builder_that_is_not_installed_is_named(tmp_path):
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=re.escape("bert-export[tensorrt]")):
            build_engine(tmp_path / "absent.onnx", (), target="tensorrt", profiles=PROFILES)
    else:
        pytest.skip("tensorrt is installed")


@needs_builder
def test_the_builder_names_the_gpus_of_the_table():
    assert {"SM75", "SM86", "SM89", "SM120"} <= set(nameable_capabilities(TARGET))


# The cache


@needs_builder
def test_a_cache_that_the_user_named_is_made_before_the_build(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    cache = EngineCache(tmp_path / "file" / "folder")
    with pytest.raises(InputError, match=r"engine cache .* cannot be made"):
        build_engine(path, (), target=TARGET, profiles=PROFILES, gpus=["l4"], cache=cache)


@needs_builder
def test_an_engine_is_built_once(tmp_path):
    cache = EngineCache(tmp_path / "cache")
    model = emitted("text-classification", "fp16")
    first = _build(model, tmp_path, cache=cache)
    again = _build(model, tmp_path, cache=cache)
    assert (first.cached, again.cached) == (False, True)
    assert again.plan == first.plan
    assert again.facts == first.facts
    others = [
        _build(model, tmp_path, cache=cache, gpus=("sm89",)),
        _build(model, tmp_path, cache=cache, profiles=make_profiles(max_length=12)),
        _build(emitted("text-classification", "bf16"), tmp_path, cache=cache),
    ]
    assert [built.cached for built in others] == [False] * 3
