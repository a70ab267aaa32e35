"""Every row of the table, and the file that it names."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import pytest

from bert_export.errors import InputError, MissingExtraError, TargetError
from bert_export.runtime.sessions import SessionOptions
from bert_export.target_table import DEFAULT_TARGET, TARGETS, Target, find_target
from bert_export.targets import load_target
from bert_export.targets.lowering import find_recipe, lower
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, traced


@pytest.fixture(params=TARGETS.values(), ids=list(TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    return request.param


def test_the_recipes_are_those_of_the_rows_precisions(target: Target) -> None:
    assert tuple(load_target(target).RECIPES) == target.precisions


def test_a_row_and_a_file_that_differ_are_refused(target: Target) -> None:
    longer = replace(target, precisions=(*target.precisions, "fp4"))
    with pytest.raises(TargetError, match=rf"expected .*, fp4, got {target.precisions[0]}"):
        load_target(longer)


def test_every_position_has_its_reason(target: Target) -> None:
    for recipe in load_target(target).RECIPES.values():
        for step in recipe:
            assert len(step.why) > 20, step.run.name


def test_int8_has_number_formats(target: Target) -> None:
    module = load_target(target)
    if "int8" in target.precisions:
        assert module.scheme("x86-64-vnni").weight_bits == 8
    else:
        with pytest.raises(Exception, match="has no INT8"):
            module.scheme("x86-64-vnni")


def test_the_session_takes_the_rows_options(target: Target) -> None:
    module, function = target.session.split(":")
    try:
        opener = getattr(import_module(f"bert_export.runtime.sessions.{module}"), function)
    except MissingExtraError:
        pytest.skip(f"extra {target.extra} is not installed")
    signature = inspect.signature(opener).parameters
    options = set(signature) - {"folder", "engine", "make_runner"}
    assert options == set(target.session_options) <= SessionOptions.__annotations__.keys()


def test_a_builder_stands_behind_gpus_only(target: Target) -> None:
    assert target.builder is None or target.gpu


def test_the_first_row_is_the_default() -> None:
    assert DEFAULT_TARGET == next(iter(TARGETS)) == "onnxruntime"


@pytest.mark.parametrize(
    ("target", "precision", "message"),
    [
        ("tpu", "fp32", "target 'tpu' is unknown: expected one of onnxruntime, "),
        ("onnxruntime", "fp4", "target onnxruntime has no precision fp4: expected one of fp32, "),
        ("onnxruntime-cuda", "int8", "no precision int8.* is there for onnxruntime, openvino"),
    ],
)
def test_a_pair_that_does_not_exist_is_refused(target: str, precision: str, message: str) -> None:
    for refused in (find_target, find_recipe):
        with pytest.raises(InputError, match=message):
            refused(target, precision)
    task = TASKS["fill-mask"]
    with pytest.raises(InputError, match=message):
        lower(
            traced("fill-mask"),
            target=target,
            precision=precision,
            task=task,
            config_layers=LAYERS,
        )


def test_the_table_is_light() -> None:
    program = (
        "import sys, bert_export.targets;"
        "print({'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'torch'} & set(sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "set()"
