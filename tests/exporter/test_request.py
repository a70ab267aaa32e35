"""What an export may be asked for: JSON both ways, and every refusal, without an export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bert_export.bundle import (
    AUTO,
    EngineOptions,
    ExportRequest,
    Manifest,
    QuantizationOptions,
)
from bert_export.errors import BertExportError, InputError, TaskError, TracingError
from bert_export.exporter.request import (
    check_request,
    find_targets,
    request_record,
)
from bert_export.target_table import PRECISIONS, TARGETS

FULL = ExportRequest(
    task="text-classification",
    model="somewhere",
    max_length=16,
    precision="int8",
    targets=("openvino", "onnxruntime"),
    opset=21,
    calibration="fill-mask",
    quantization=QuantizationOptions(observer="mse", excluded_layers={"bert.pooler.dense": "why"}),
    cpu="arm64",
    max_drop=0.005,
    eval_data="eval.jsonl",
    keep_best=True,
    engines=EngineOptions(gpus=("l4",), batch_sizes=(1, 2, 4), lengths=(8,)),
    threads=2,
)
BUDGET: dict[str, Any] = {"precision": "int8", "max_drop": 0.1, "eval_data": "a.jsonl"}
DYNAMIC = QuantizationOptions(mode="dynamic")


def asked(**options: Any) -> ExportRequest:
    usual = {"task": "text-classification", "model": "somewhere", "targets": ("onnxruntime",)}
    return ExportRequest(**usual | options)


class TestRequest:
    @pytest.mark.parametrize("request_", [ExportRequest(), FULL])
    def test_json_both_ways(self, request_: ExportRequest) -> None:
        text = msgspec.json.encode(request_)
        assert msgspec.json.decode(text, type=ExportRequest) == request_

    def test_an_option_that_is_unknown_is_refused(self) -> None:
        with pytest.raises(msgspec.ValidationError, match="unknown field `colour`"):
            msgspec.json.decode(b'{"colour": 1}', type=ExportRequest)

    def test_it_is_frozen(self) -> None:
        with pytest.raises(AttributeError):
            FULL.task = "fill-mask"  # type: ignore[misc]

    def test_options_of_int8_stay_with_int8(self) -> None:
        other = FULL.for_targets(["onnxruntime"], "int8")
        assert other == msgspec.structs.replace(FULL, targets=("onnxruntime",))

    def test_in_float_it_has_none_of_them(self) -> None:
        plain = FULL.for_targets(["openvino"], "bf16")
        kept = msgspec.structs.replace(plain, engines=None)
        assert check_request(kept) == kept
        assert (plain.task, plain.opset, plain.max_length) == ("text-classification", 21, 16)

    def test_shapes_of_auto_are_not_for_named_targets(self) -> None:
        auto = asked(targets=(AUTO,), shapes="1x8")
        assert auto.is_auto
        assert check_request(auto.for_targets(["onnxruntime"], "fp32")).shapes is None

    def test_a_manifest_holds_it(self) -> None:
        fields = {field.name: field for field in msgspec.structs.fields(Manifest)}
        assert fields["request"].type == ExportRequest | None

    def test_a_file_of_lengths_is_recorded_by_its_name(self) -> None:
        engines = EngineOptions(profile_from="/home/someone/texts/lengths.txt")
        record = request_record(asked(engines=engines))
        assert record.engines == EngineOptions(profile_from="lengths.txt")
        assert request_record(FULL) == FULL

    def test_it_needs_nothing_heavy(self) -> None:
        script = (
            "import sys, bert_export.bundle.request\n"
            "heavy = {'torch', 'onnx', 'onnx_ir', 'numpy'} & set(sys.modules)\n"
            "assert not heavy, heavy\n"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


class TestCheck:
    def test_numbers_become_plain_and_targets_single(self) -> None:
        given = asked(
            max_length=np.int64(8),
            threads=np.int32(2),
            opset=np.int64(22),
            targets=("onnxruntime", "onnxruntime"),
        )
        checked = check_request(given)
        assert (checked.max_length, checked.threads, checked.opset) == (8, 2, 22)
        assert {type(value) for value in (checked.max_length, checked.threads, checked.opset)} == {
            int
        }
        assert checked.targets == ("onnxruntime",)
        msgspec.json.encode(checked)

    def test_precisions_are_those_of_the_targets(self) -> None:
        of_targets = {name for target in TARGETS.values() for name in target.precisions}
        assert set(PRECISIONS) == of_targets

    def test_targets_are_rows_of_the_table(self) -> None:
        assert find_targets(asked()) == (TARGETS["onnxruntime"],)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            # Task and checkpoint
            ({"task": "translation"}, TaskError, "task 'translation' is unknown"),
            ({"task": None, "model": "demo"}, TaskError, "task is not given: expected --task"),
            # Numbers
            ({"max_length": 8.0}, InputError, "max_length is wrong: expected a whole number"),
            ({"max_length": 0}, InputError, "max_length is wrong: .* at least 1, got 0"),
            ({"threads": 0}, InputError, "threads is wrong: .* at least 1, got 0"),
            ({"threads": True}, InputError, "threads is wrong"),
            ({"opset": "23"}, InputError, "opset is wrong"),
            ({"opset": 12}, TracingError, "opset 12 is not supported: expected 20 to 23, got 12"),
            # Precision and targets
            (
                {"precision": "int4"},
                InputError,
                "precision 'int4' is unknown: expected one",
            ),
            ({"targets": ("abacus",)}, InputError, "target 'abacus' is unknown"),
            (
                {"targets": ("openvino",), "precision": "fp16"},
                InputError,
                "target openvino has no precision fp16: expected one of fp32, bf16, int8",
            ),
            # INT8
            ({"calibration": "fill-mask"}, InputError, "calibration fill-mask has no use in fp32"),
            (
                {"quantization": QuantizationOptions()},
                InputError,
                "options of INT8 have no use in fp32: .* Add --int8 or drop --int8-mode",
            ),
            (
                {"precision": "int8", "quantization": QuantizationOptions(mode="fast")},
                InputError,
                "INT8 mode 'fast' is unknown: expected one of static, dynamic",
            ),
            (
                {"precision": "int8", "quantization": QuantizationOptions(observer="magic")},
                InputError,
                "INT8 observer 'magic' is unknown: expected one of min-max",
            ),
            (
                {
                    "precision": "int8",
                    "quantization": QuantizationOptions(mode="dynamic", observer="entropy"),
                },
                InputError,
                "calibration-method entropy has no use for dynamic INT8: .*--int8-mode static",
            ),
            (
                {"precision": "int8", "quantization": DYNAMIC, "targets": ("openvino",)},
                InputError,
                "target openvino has no use for dynamic INT8",
            ),
            (
                {"precision": "int8", "quantization": DYNAMIC, "targets": (AUTO,)},
                InputError,
                "target auto has no use for dynamic INT8",
            ),
            (
                {"precision": "int8", "quantization": DYNAMIC, "calibration": "fill-mask"},
                InputError,
                "calibration fill-mask has no use for dynamic INT8",
            ),
            (
                BUDGET | {"quantization": DYNAMIC},
                InputError,
                "max_drop has no use for dynamic INT8",
            ),
            (
                {"precision": "int8", "cpu": "z80"},
                InputError,
                "cpu 'z80' is unknown: expected one of x86-64-vnni, x86-64, arm64",
            ),
            # Accuracy budget
            (
                {"precision": "int8", "max_drop": 0.1},
                InputError,
                "accuracy budget is incomplete: .* got no data. Pass --max-drop and --eval",
            ),
            (
                {"precision": "int8", "eval_data": "a.jsonl"},
                InputError,
                "accuracy budget is incomplete: .* got no drop",
            ),
            (
                {"precision": "int8", "keep_best": True},
                InputError,
                "accuracy budget is incomplete: .* got no drop",
            ),
            (
                BUDGET | {"precision": "fp32"},
                InputError,
                "accuracy budget has no use in fp32: .* Add --int8 or drop --max-drop",
            ),
            ({"keep_best": True}, InputError, "accuracy budget has no use in fp32"),
            (BUDGET | {"max_drop": 5}, InputError, "max_drop is out of bounds"),
            (BUDGET | {"max_drop": -0.1}, InputError, "max_drop is out of bounds"),
            (BUDGET | {"max_drop": float("nan")}, InputError, "max_drop is wrong"),
            (BUDGET | {"max_drop": "1%"}, InputError, "max_drop is wrong"),
            # auto
            (
                {"targets": (AUTO, "openvino")},
                InputError,
                "target auto is given beside others: expected auto, got auto, openvino",
            ),
            (
                {"targets": ("openvino",), "shapes": "1x4"},
                InputError,
                "shapes have no use for named targets: expected target auto, got 1x4",
            ),
            ({"targets": (AUTO,), "shapes": "1by4"}, InputError, "shape '1by4' is malformed"),
            (
                {"targets": (AUTO,), "shapes": "1x4,1x999", "max_length": 12},
                InputError,
                "shape 1x999 is longer than a row of the bundle: expected at most 12.*--shapes",
            ),
            ({"targets": (AUTO,), "precision": "int3"}, InputError, "precision 'int3' is unknown"),
            ({"targets": (AUTO,), "threads": 4096}, InputError, "threads do not fit this machine"),
            ({"precision": AUTO, "threads": 4096}, InputError, "threads do not fit this machine"),
            ({"precision": AUTO, "shapes": "1by4"}, InputError, "shape '1by4' is malformed"),
            (
                {"precision": AUTO, "quantization": DYNAMIC},
                InputError,
                "precision auto has no use for dynamic INT8",
            ),
            (
                BUDGET | {"precision": AUTO, "keep_best": True},
                InputError,
                "keep_best has no use for precision auto: .* Leave it out, or name the precision",
            ),
            (
                {"precision": AUTO, "max_drop": 0.1},
                InputError,
                "accuracy budget is incomplete: .* got no data",
            ),
            # Engines for GPUs
            (
                {"engines": EngineOptions(gpus=("l4",))},
                InputError,
                "options for engines have no use: expected --target tensorrt or .* got onnxruntime",
            ),
            (
                {
                    "targets": ("tensorrt-rtx",),
                    "engines": EngineOptions(lengths=(8, 16), profile_from="x"),
                },
                InputError,
                "lengths are given twice: expected --lengths or --profile-from, got 8, 16 and x",
            ),
        ],
    )
    def test_refused(
        self, options: dict[str, Any], error: type[BertExportError], message: str
    ) -> None:
        with pytest.raises(error, match=message) as caught:
            check_request(asked(**options))
        assert "\n" not in str(caught.value)

    def test_a_gpu_that_is_unknown(self) -> None:
        pytest.importorskip("tensorrt_rtx")
        request = asked(targets=("tensorrt-rtx",), engines=EngineOptions(gpus=("voodoo2",)))
        with pytest.raises(InputError, match="voodoo2"):
            check_request(request)

    def test_no_target_of_this_machine_has_the_precision(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")  # no tool of a GPU's driver
        with pytest.raises(InputError, match="no target that runs here has the precision fp16"):
            check_request(asked(targets=(AUTO,), precision="fp16"))

    def test_a_precision_is_not_found_for_a_gpu_that_is_not_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "")
        with pytest.raises(InputError, match=r"target onnxruntime-cuda cannot be timed here"):
            check_request(asked(targets=("onnxruntime-cuda",), precision=AUTO))

    def test_options_of_int8_are_for_a_precision_that_is_found_too(self) -> None:
        given = asked(**BUDGET | {"precision": AUTO, "calibration": "fill-mask", "shapes": "1x4"})
        assert check_request(given) == given
        assert find_targets(given) == (TARGETS["onnxruntime"],)

    def test_nothing_is_read(self, tmp_path: Path) -> None:
        """Neither the checkpoint nor a text needs to be there for its options to be checked."""
        missing = tmp_path / "missing"
        given = asked(model=str(missing), **BUDGET | {"eval_data": str(missing)})
        assert check_request(given) == given
