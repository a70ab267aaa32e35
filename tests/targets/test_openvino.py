"""OpenVINO: what its session and target do beyond the contract of all sessions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import bert_export
from bert_export.bundle import read_manifest
from bert_export.errors import BundleError, InputError, TargetError
from bert_export.exporter import Export
from bert_export.quantization.quantizer import SCHEMES
from bert_export.runtime.processor import PROCESSORS
from bert_export.targets import openvino as target
from bert_export.targets.weights import WEIGHTS_FILE

openvino = pytest.importorskip("openvino")

from bert_export.runtime.sessions import openvino as session_module  # noqa: E402  needs the extra
from bert_export.runtime.sessions.openvino import OpenVinoSession, execution_type  # noqa: E402

BOTH = ("onnxruntime", "openvino")
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "fill-mask": ("BertForMaskedLM", {}),
    "text-classification": ("BertForSequenceClassification", {"num_labels": 3}),
    "token-classification": ("BertForTokenClassification", {"num_labels": 3}),
    "question-answering": ("BertForQuestionAnswering", {}),
    "multiple-choice": ("BertForMultipleChoice", {}),
    "text-generation": ("BertLMHeadModel", {"is_decoder": True}),
}


class FakeCore:
    """Tells the capabilities of a processor that this machine need not have."""

    def __init__(self, *capabilities: str) -> None:
        self._capabilities = list(capabilities)

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self._capabilities


@pytest.mark.parametrize(
    ("precision", "capabilities", "wanted"),
    [
        ("fp32", ("FP32", "BF16", "INT8"), "f32"),
        ("bf16", ("FP32", "BF16", "INT8"), "bf16"),
        ("int8", ("FP32", "BF16", "INT8"), "f32"),
        ("bf16", ("FP32", "INT8"), "f32"),
        ("int8", ("FP32",), "f32"),
    ],
)
def test_what_it_computes_in(precision: str, capabilities: tuple[str, ...], wanted: str) -> None:
    assert execution_type(FakeCore(*capabilities), precision) == wanted


@pytest.mark.parametrize("processor", PROCESSORS)
def test_weights_and_states_have_the_formats_of_onnxruntime(processor: str) -> None:
    assert replace(target.scheme(processor), integer_query_key=False) == SCHEMES[processor]


def test_contrib_operators_are_refused() -> None:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))
    node = ir.node("Gelu", [value], domain="com.microsoft", name="activation")
    graph = ir.Graph([value], node.outputs, nodes=[node], opset_imports={"": 20})
    with pytest.raises(TargetError, match=r"Gelu node activation is of domain com\.microsoft"):
        target.check_graph(ir.Model(graph, ir_version=10))


def test_without_the_extra_the_message_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['openvino'] = None\n"
        "from bert_export.bundle import EngineRecord, GraphRecord\n"
        "from bert_export.errors import MissingExtraError\n"
        "from bert_export.runtime.sessions import open_session\n"
        "from pathlib import Path\n"
        "graph = GraphRecord(file='g.onnx', opset=20, inputs=(), outputs=())\n"
        "engine = EngineRecord(target='openvino', precision='fp32', graph=graph)\n"
        "try: open_session(Path(), engine)\n"
        "except MissingExtraError as error: print(error)\n"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.stdout == (
        "target openvino needs an optional dependency that is not installed. "
        "Run: pip install 'bert-export[openvino]'.\n"
    ), done.stderr


@pytest.mark.parametrize("task", sorted(HEADS))
def test_both_targets_answer_alike_from_shared_weights(
    task: str, tiny_export: Callable[..., Export]
) -> None:
    cls_name, config = HEADS[task]
    done = tiny_export(task, cls_name, targets=BOTH, **config)
    assert done.manifest.default_target == "onnxruntime"
    assert [engine.target for engine in done.manifest.engines] == list(BOTH)
    for engine in done.manifest.engines:
        assert engine.parity is not None
        assert engine.parity.max_abs_difference <= 1e-4
    record = {"text": "a b c [MASK]"} if task == "fill-mask" else None
    answers = []
    for name in BOTH:
        with bert_export.load(done.path, target=name, threads=1) as pipeline:
            feeds = _feeds(pipeline)
            answers.append(pipeline.run(feeds))
            assert record is None or pipeline.ask(record) is not None
    for name, array in answers[0].items():
        np.testing.assert_allclose(answers[1][name], array, atol=1e-4)


def _feeds(pipeline: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sizes = {"batch": 3, "sequence": 9, "choices": 2, "masked": 2, "past": 4, "total": 13}
    made = {}
    for spec in pipeline.manifest.engine("openvino").graph.inputs:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.shape]
        high = spec.below or (27 if spec.name == "masked_positions" else 2)
        made[spec.name] = rng.integers(0, high, shape).astype(spec.dtype)
    made["attention_mask"][..., 0] = 1
    return made


def test_int8_weights_are_stored_once(tiny_export: Callable[..., Export]) -> None:
    config = {"num_labels": 3}
    alone, both = (
        tiny_export(
            "text-classification",
            "BertForSequenceClassification",
            targets=targets,
            precision="int8",
            **config,
        )
        for targets in (BOTH[:1], BOTH)
    )
    one, two = (done.manifest.files[WEIGHTS_FILE].bytes for done in (alone, both))
    assert two <= one + one // 50
    stored = [
        {
            value.const_value.tobytes()
            for value in ir.load(both.path / f"{name}.onnx").graph.initializers.values()
            if value.const_value is not None
            and value.const_value.dtype == ir.DataType.INT8
            and value.const_value.size > 1
        }
        for name in BOTH
    ]
    assert stored[0] == stored[1]
    assert stored[0]


def test_bf16_is_an_engine_over_fp32_weights(tiny_export: Callable[..., Export]) -> None:
    done = tiny_export("feature-extraction", "BertModel", targets=("openvino",), precision="bf16")
    engine = done.manifest.engine()
    assert (engine.target, engine.precision) == ("openvino", "bf16")
    assert engine.parity is not None
    assert engine.parity.tolerance is None
    graph = ir.load(done.path / engine.graph.file).graph
    assert {value.dtype for value in graph.outputs} == {ir.DataType.FLOAT}


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> Export:
    return tiny_export("feature-extraction", "BertModel", targets=BOTH)


def test_fp32_is_never_rounded(bundle: Export) -> None:
    engine = bundle.manifest.engine("openvino")
    path = bundle.path / engine.graph.file
    with bert_export.load(bundle.path, target="onnxruntime") as pipeline:
        feeds = _feeds(pipeline)
        wanted = pipeline.run(feeds)["last_hidden_state"]
    with OpenVinoSession(path, engine.graph, precision="fp32") as session:
        difference = np.abs(session.run(feeds)["last_hidden_state"] - wanted).max()
    assert difference < 1e-5
    if execution_type(openvino.Core(), "bf16") == "bf16":
        with OpenVinoSession(path, engine.graph, precision="bf16") as session:
            rounded = np.abs(session.run(feeds)["last_hidden_state"] - wanted).max()
        assert rounded > 20 * difference  # so the test above could have failed


def test_a_cache_is_filled_and_read(bundle: Export, tmp_path: Path) -> None:
    with bert_export.load(bundle.path, target="openvino", cache=tmp_path) as pipeline:
        feeds = _feeds(pipeline)
        first = pipeline.run(feeds)
    (blob,) = tmp_path.glob("*/*.blob")
    written = blob.stat().st_mtime_ns
    with bert_export.load(bundle.path, target="openvino", cache=tmp_path) as pipeline:
        again = pipeline.run(feeds)
    assert blob.stat().st_mtime_ns == written
    for name, array in first.items():
        assert np.array_equal(again[name], array)


def test_a_cache_knows_weights_by_their_content(bundle: Export, tmp_path: Path) -> None:
    """Another bundle at the same path, its files of the same size and time, is not the first."""
    served, cache = tmp_path / "served", tmp_path / "cache"
    found = []
    for scale in (1, 3):
        shutil.copytree(bundle.path, served, dirs_exist_ok=True)
        weights = np.fromfile(served / WEIGHTS_FILE, dtype=np.float32)
        (weights * np.float32(scale)).tofile(served / WEIGHTS_FILE)
        for file in served.iterdir():
            os.utime(file, (1, 1))
        options: dict[str, Any] = {"target": "openvino", "verify": False}
        with (
            bert_export.load(served, cache=cache, **options) as cached,
            bert_export.load(served, **options) as plain,
        ):
            feeds = _feeds(plain)
            found.append(cached.run(feeds)["last_hidden_state"])
            assert np.array_equal(found[-1], plain.run(feeds)["last_hidden_state"])
    assert not np.allclose(found[0], found[1])
    assert len(list(cache.iterdir())) == 2


def test_the_weights_are_those_of_the_bundle() -> None:
    assert session_module.WEIGHTS_FILE == WEIGHTS_FILE


def test_a_cache_that_cannot_be_made(bundle: Export, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cache, message in (
        (tmp_path / "file", f"cache {tmp_path / 'file'} cannot be made: expected a folder"),
        (5, "cache is wrong: expected a folder's path, got 5"),
        ("", "cache is wrong: expected a folder's path, got ''"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            bert_export.load(bundle.path, target="openvino", cache=cache)  # type: ignore[arg-type]


def test_a_shape_has_an_engine_of_its_own(
    bundle: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = []
    run = session_module._Engine.run

    def noted(engine: Any, feeds: Any) -> Any:
        engines.append(engine)
        return run(engine, feeds)

    monkeypatch.setattr(session_module._Engine, "run", noted)
    shapes = [(2, 7), [1, 5], (2, 7)]
    with (
        bert_export.load(bundle.path, target="openvino", cache=tmp_path, shapes=shapes) as fixed,
        bert_export.load(bundle.path, target="openvino") as free,
    ):
        for shape in ((2, 7), (1, 5), (1, 6), (2, 5), (2, 7)):
            ids = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) + 5
            feeds = {"input_ids": ids, "attention_mask": ids // ids, "token_type_ids": 0 * ids}
            wanted = free.run(feeds)
            for name, array in fixed.run(feeds).items():
                assert array.shape == wanted[name].shape
                np.testing.assert_allclose(array, wanted[name], atol=1e-5)
    of_two, of_one, any_shape, again_any, again_two = engines[1::2]
    assert again_two is of_two
    assert again_any is any_shape
    assert len({of_two, of_one, any_shape}) == 3
    blobs = {blob: blob.stat().st_mtime_ns for blob in tmp_path.glob("*/*.blob")}
    assert len(blobs) == 3
    bert_export.load(bundle.path, target="openvino", cache=tmp_path, shapes=shapes).close()
    assert {blob: blob.stat().st_mtime_ns for blob in tmp_path.glob("*/*.blob")} == blobs


@pytest.mark.parametrize("name", ["fill-mask", "multiple-choice", "token-classification"])
def test_shapes_of_heads(tiny_export: Callable[..., Export], name: str) -> None:
    """Further axes are bound or stay free: choices, and how many masks there are."""
    head, sizes = HEADS[name]
    done = tiny_export(name, head, targets=("openvino",), **sizes)
    axes = done.manifest.engine("openvino").graph.inputs[0].shape
    shape = tuple({"batch": 2, "choices": 3, "sequence": 6}[str(axis)] for axis in axes)
    ids = np.arange(np.prod(shape), dtype=np.int64).reshape(shape) + 5
    feeds = {"input_ids": ids, "attention_mask": ids // ids, "token_type_ids": 0 * ids}
    with (
        bert_export.load(done.path, shapes=[shape]) as fixed,
        bert_export.load(done.path) as free,
    ):
        for masks in ([1], [0, 4, 9], []):
            if name == "fill-mask":
                feeds["masked_positions"] = np.array(masks, dtype=np.int64)
            wanted = free.run(feeds)["logits"]
            found = fixed.run(feeds)["logits"]
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads is wrong: expected a whole number, at least 1, got 0"),
        ({"hint": "speed"}, "hint 'speed' is unknown: expected one of latency, throughput"),
        ({"providers": ["CPUExecutionProvider"]}, "providers means nothing to target openvino"),
        *(
            (
                {"shapes": [(1, 8), shape]},
                (
                    f"shape {shape} is none of input input_ids's: expected (batch, sequence), "
                    f"each at least 1, got {shape}"
                ),
            )
            for shape in ((), (8,), (1, 8, 1), (0, 8), (1, -1), (1, "8"), (1.5, 8), (True, 8), 8)
        ),
        ({"shapes": 8}, "shapes is wrong: expected a list of (batch, sequence), got 8"),
        ({"shapes": "1x8"}, "shapes is wrong: expected a list of (batch, sequence), got '1x8'"),
        ({"threads": 2**31}, "threads is wrong: expected a whole number from 1 to 1024, got"),
        ({"shapes": [(1, 4096)]}, "shape (1, 4096) makes the graph fail: expected rows that are"),
    ],
)
def test_options(bundle: Export, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        bert_export.load(bundle.path, target="openvino", **options)


@pytest.mark.parametrize("option", [{"hint": "latency"}, {"shapes": [(1, 8)]}])
def test_what_means_nothing_to_onnxruntime(bundle: Export, option: dict[str, Any]) -> None:
    (name,) = option
    with pytest.raises(InputError, match=f"option {name} means nothing to target onnxruntime"):
        bert_export.load(bundle.path, **option)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("hard_links", [True, False])
def test_a_bundle_behind_links(
    bundle: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cached: bool,
    hard_links: bool,
) -> None:
    """As model hubs keep files: under other names, with links in the model's folder."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    for index, path in enumerate(sorted(bundle.path.iterdir())):
        shutil.copy(path, blobs / str(index))
        (folder / path.name).symlink_to(blobs / str(index))
    if not hard_links:

        def refuse(*_: object) -> None:
            raise OSError("another file system")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    options: dict[str, Any] = {"cache": tmp_path / "cache"} if cached else {}
    for _ in range(2):
        with bert_export.load(folder, target="openvino", shapes=[(1, 8)], **options) as pipeline:
            found = pipeline.run(_feeds(pipeline))
    with bert_export.load(bundle.path, target="openvino", shapes=[(1, 8)]) as pipeline:
        wanted = pipeline.run(_feeds(pipeline))
    for name, array in wanted.items():
        assert np.array_equal(found[name], array)


def test_rows_beyond_the_position_table(bundle: Export) -> None:
    with bert_export.load(bundle.path, target="openvino") as pipeline:
        ids = np.ones((1, 4096), dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids}
        with pytest.raises(InputError, match="rows are longer than the model takes"):
            pipeline.run(feeds)
        assert pipeline.run(_feeds(pipeline))


def test_rows_beyond_a_position_table_that_is_not_known(bundle: Export) -> None:
    """OpenVINO answers them with no row: results of another size are refused."""
    engine = bundle.manifest.engine("openvino")
    longest = bundle.manifest.model.max_position_embeddings
    ids = np.ones((2, longest + 1), dtype=np.int64)
    with OpenVinoSession(bundle.path / engine.graph.file, engine.graph) as session:
        assert session.longest is None
        with pytest.raises(InputError, match="feeds make the graph fail"):
            session.run({"input_ids": ids, "attention_mask": ids, "token_type_ids": 0 * ids})


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 40])
def test_corrupt_graphs(bundle: Export, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be opened by openvino"):
        OpenVinoSession(path, bundle.manifest.engine("openvino").graph)


def test_ids_are_bounded_by_their_tables(bundle: Export) -> None:
    below = {spec.name: spec.below for spec in bundle.manifest.engine("openvino").graph.inputs}
    model = read_manifest(bundle.path).model
    assert below == {
        "input_ids": model.vocab_size,
        "token_type_ids": model.type_vocab_size,
        "attention_mask": None,
    }


def test_hints_are_those_of_the_session() -> None:
    assert session_module.HINTS == ("latency", "throughput")
