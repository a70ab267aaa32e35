from __future__ import annotations

import inspect
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from bert_export.bundle import BuildRecord, EngineRecord, GraphRecord, TensorSpec
from bert_export.errors import BundleError, InputError, TargetError
from bert_export.runtime.batching import Row
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions import has_option, open_session
from bert_export.runtime.sessions.tensorrt import Runner, TensorRtSession, open_engine
from bert_export.target_table import Target
from bert_export.tasks import find_task
from tests.support import built_record

IDS = TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence"), below=100)
PLACES = TensorSpec(name="masked_positions", dtype="int64", shape=("masked",))
LOGITS = TensorSpec(name="logits", dtype="float32", shape=("batch", 2))
SCORES = TensorSpec(name="logits", dtype="float32", shape=("masked", 3))
SHORT = {"batch": [1, 2, 4], "sequence": [1, 8, 8], "masked": [1, 4, 32]}
LONG = {"batch": [1, 2, 4], "sequence": [9, 16, 16], "masked": [1, 4, 64]}


class FakeRunner:
    """Honours the protocol of Polygraphy's runner: states are checked, buffers are used again."""

    def __init__(self, *inputs: str) -> None:
        self.inputs = inputs or ("input_ids",)
        self.active = False
        self.profile = 0
        self.profiles_set: list[int] = []
        self.running = 0
        self._buffer = np.zeros((64, 3), np.float32)

    def activate(self) -> None:
        assert not self.active
        self.active = True

    def deactivate(self) -> None:
        assert self.active
        self.active = False

    def set_profile(self, index: int) -> None:
        assert self.active
        self.profile = index
        self.profiles_set.append(index)

    def get_input_metadata(self):
        assert self.active
        return dict.fromkeys(self.inputs, "int64")

    def infer(self, feed_dict, check_inputs=True):
        assert self.active
        ids = feed_dict["input_ids"]
        if ids.flat[0] == 13:
            raise RuntimeError("device-side assert\ntriggered.")
        self.running += 1
        assert self.running == 1, "two runs at a time"
        time.sleep(0.001)
        length = ids.shape[1]
        assert (SHORT, LONG)[self.profile]["sequence"][0] <= length
        assert length <= (SHORT, LONG)[self.profile]["sequence"][-1]
        if "masked_positions" in feed_dict:
            rows = self._buffer[: len(feed_dict["masked_positions"])]
        else:
            rows = self._buffer[: len(ids), :2]
        rows[:] = ids.sum()
        self.running -= 1
        return {"logits": rows}


@pytest.fixture
def runner():
    return FakeRunner()


@pytest.fixture
def session(runner):
    return TensorRtSession(runner, inputs=(IDS,), outputs=(LOGITS,), profiles=(SHORT, LONG))


def _ids(batch: int, length: int, value: int = 1):
    return {"input_ids": np.full((batch, length), value, np.int64)}


def test_answers_and_shapes(session):
    outputs = session.run(_ids(3, 4))
    assert list(outputs) == ["logits"]
    assert outputs["logits"].shape == (3, 2)
    assert (outputs["logits"] == 12).all()


def test_outputs_outlive_the_next_run(session):
    first = session.run(_ids(1, 4))["logits"]
    session.run(_ids(1, 5))
    assert (first == 4).all()


def test_the_profile_follows_the_length_and_is_only_set_when_it_changes(session, runner):
    for length in (3, 8, 9, 16, 12, 2):
        session.run(_ids(2, length))
    assert runner.profiles_set == [1, 0]


def test_sizes_beyond_all_profiles_are_told(session):
    with pytest.raises(
        InputError,
        match=r"fit no optimization profile .*: expected batch 1 to 4, sequence 1 to 8 or "
        r"batch 1 to 4, sequence 9 to 16, got batch 5, sequence 3",
    ):
        session.run(_ids(5, 3))


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "feeds do not name the graph's inputs"),
        ({"input_ids": np.zeros((1, 4), np.int32)}, "wrong dtype: expected .*int64, got int32"),
        ({"input_ids": np.zeros(4, np.int64)}, "wrong shape"),
        ({"input_ids": np.full((1, 4), 100, np.int64)}, "a number that the model has no row for"),
    ],
)
def test_feeds_are_checked_before_the_engine_sees_them(session, feeds, message):
    with pytest.raises(InputError, match=message):
        session.run(feeds)


def test_an_error_of_the_engine_is_one_line(session):
    with pytest.raises(InputError, match=r"make the engine fail: .* got device-side assert trigg"):
        session.run(_ids(1, 1, 13))


def test_no_masked_position_is_no_row():
    session = TensorRtSession(
        FakeRunner("input_ids", "masked_positions"),
        inputs=(IDS, PLACES),
        outputs=(SCORES,),
        profiles=(SHORT, LONG),
    )
    feeds = _ids(2, 4) | {"masked_positions": np.zeros(0, np.int64)}
    assert session.run(feeds)["logits"].shape == (0, 3)
    feeds["masked_positions"] = np.array([1, 5])
    assert session.run(feeds)["logits"].shape == (2, 3)


def test_callers_from_several_threads_take_turns(session):
    found: dict[int, bool] = {}

    def call(number: int) -> None:
        for _ in range(5):
            length = 1 + number % 16
            right = (session.run(_ids(1, length))["logits"] == length).all()
            found[number] = found.get(number, True) and bool(right)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(16), True)


class Numbers(Pipeline):
    """Rows of four tokens, each answered with their sum in its batch."""

    definition = find_task("feature-extraction")

    def item(self, record):
        return record["number"]

    def default_settings(self):
        return None

    def encode_items(self, items, settings):
        return [[Row(np.full(4, item), np.zeros(4, np.int64), None)] for item in items]

    def graph_feeds(self, feeds):
        return {"input_ids": feeds["input_ids"]}

    def reduce(self, row, outputs, settings):
        return outputs["logits"]

    def decode(self, item, rows, reduced, settings):
        return float(reduced[0][0])

    def __call__(self, numbers, **options):
        return list(self.answers(numbers, None, **options))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [8] * 2 + [16] * 8),
        ({"batch_size": 3}, [12] * 9 + [4]),
        ({"batch_size": 50}, [8] * 2 + [16] * 8),
    ],
)
def test_a_pipelines_batches_fit_every_profile(runner, options, wanted):
    wider = SHORT | {"batch": [1, 2, 64]}
    session = TensorRtSession(runner, inputs=(IDS,), outputs=(LOGITS,), profiles=(wider, LONG))
    assert session.max_rows == 4
    manifest = SimpleNamespace(task=Numbers.definition.name, postprocessing={}, labels=())
    pipeline = Numbers(manifest, SimpleNamespace(pad_id=0), session)
    assert sorted(pipeline([1] * 10, **options)) == sorted(wanted)


@pytest.mark.parametrize(
    ("target", "option", "taken"),
    [
        ("tensorrt-rtx", "threads", False),
        ("onnxruntime", "threads", True),
        ("onnxruntime", "cache", False),
        ("abacus", "threads", False),
    ],
)
def test_what_targets_take(target, option, taken):
    assert has_option(target, option) is taken


def test_no_option_is_taken(tmp_path):
    with pytest.raises(InputError, match=r"target tensorrt-rtx: expected no option, got threads=1"):
        open_session(tmp_path, _record(), threads=1)


def test_leaving_the_context_frees_the_gpu_once(session, runner):
    with session:
        assert runner.active
    assert not runner.active
    session.close()
    with pytest.raises(InputError, match="session is closed"):
        session.run(_ids(1, 1))


def test_an_engine_that_cannot_start_is_an_error():
    class Absent(FakeRunner):
        def activate(self) -> None:
            raise RuntimeError("CUDA driver version is insufficient.")

    with pytest.raises(TargetError, match=r"engine cannot start: .* got CUDA driver version is"):
        TensorRtSession(Absent(), inputs=(IDS,), outputs=(LOGITS,), profiles=(SHORT,))


@pytest.mark.parametrize("others", [("ids",), ("input_ids", "masked_positions")])
def test_an_engine_of_another_graph_is_refused(others):
    runner = FakeRunner(*others)
    got = ", ".join(others)
    with pytest.raises(BundleError, match=f"other inputs .*: expected input_ids, got {got}"):
        TensorRtSession(runner, inputs=(IDS,), outputs=(LOGITS,), profiles=(SHORT,))
    assert not runner.active


def test_outputs_of_another_graph_are_refused(runner):
    other = TensorSpec(name="states", dtype="float32", shape=("batch", 2))
    session = TensorRtSession(runner, inputs=(IDS,), outputs=(other,), profiles=(SHORT,))
    with pytest.raises(BundleError, match=r"other outputs .*: expected states, got logits"):
        session.run(_ids(1, 4))


def _record(file: str | None = None, *profiles) -> EngineRecord:
    build = BuildRecord(engine=None if file is None else built_record(file, *profiles))
    graph = GraphRecord(file="tensorrt-rtx.onnx", opset=20, inputs=(IDS,), outputs=(LOGITS,))
    return EngineRecord(target="tensorrt-rtx", precision="fp16", graph=graph, build=build)


def test_an_engine_is_opened_from_the_manifests_word(tmp_path):
    (tmp_path / "tensorrt-rtx.engine").write_bytes(b"plan")
    made = []

    def make(plan: bytes, target: Target) -> FakeRunner:
        made.append((plan, target.name))
        return FakeRunner()

    record = _record("tensorrt-rtx.engine", SHORT, LONG)
    with open_engine(tmp_path, record, make_runner=make) as session:
        assert session.run(_ids(1, 16))["logits"].shape == (1, 2)
    assert made == [(b"plan", "tensorrt-rtx")]


def test_a_bundle_without_an_engine_says_how_to_build_it(tmp_path):
    with pytest.raises(
        TargetError, match=r"no engine: .* bert-export build with --target tensorrt"
    ):
        open_session(tmp_path, _record())
    with pytest.raises(BundleError, match=r"has no file gone\.engine"):
        open_session(tmp_path, _record("gone.engine"))


@pytest.mark.parametrize(
    ("target", "provider"),
    [
        ("onnxruntime-cuda", "CUDAExecutionProvider"),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider"),
    ],
)
def test_a_provider_that_is_absent_is_one_clear_line(target, provider, tmp_path):
    import onnxruntime

    if provider in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the provider")
    graph = GraphRecord(file="graph.onnx", opset=23, inputs=(IDS,), outputs=(LOGITS,))
    record = EngineRecord(target=target, precision="fp16", graph=graph)
    with pytest.raises(TargetError, match=f"{target} cannot run .*{provider}.*onnxruntime-gpu"):
        open_session(tmp_path, record)


def test_the_fake_and_polygraphys_runner_have_one_protocol():
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    config = pytest.importorskip("polygraphy.config", reason="polygraphy is not installed")
    config.USE_TENSORRT_RTX = True
    from polygraphy.backend.trt import TrtRunner

    for name in ("activate", "deactivate", "set_profile", "get_input_metadata", "infer"):
        wanted = list(inspect.signature(getattr(Runner, name)).parameters)
        for real in (TrtRunner, FakeRunner):
            assert list(inspect.signature(getattr(real, name)).parameters)[: len(wanted)] == wanted
