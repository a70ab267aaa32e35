"""Bundles that earlier versions wrote are read, checked and answer as they did.

``older/`` holds bundles of tiny random weights as the code of their time wrote them, each with the
calls and answers that the code of its time gave.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_export.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Manifest,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.errors import BundleError
from bert_export.runtime.loading import load

OLDER = Path(__file__).parent / "older"
BUNDLES = sorted(path.name for path in OLDER.iterdir() if path.is_dir())


@pytest.fixture(params=BUNDLES)
def bundle(request: pytest.FixtureRequest) -> Path:
    return OLDER / request.param


def assert_close(answer: Any, expected: Any) -> None:
    """Answers are the same but for the rounding of scores."""
    if isinstance(expected, float):
        assert answer == pytest.approx(expected, abs=1e-5)
    elif isinstance(expected, dict):
        assert list(answer) == list(expected)
        for name, value in expected.items():
            assert_close(answer[name], value)
    elif isinstance(expected, list):
        assert len(answer) == len(expected)
        for given_, wanted in zip(answer, expected, strict=True):
            assert_close(given_, wanted)
    else:
        assert answer == expected


def test_both_versions_are_there() -> None:
    versions = {
        json.loads((OLDER / name / MANIFEST).read_bytes())["schema_version"] for name in BUNDLES
    }
    assert versions == set(range(1, SCHEMA_VERSION))


@pytest.mark.filterwarnings("ignore:INT8 bundle was made:RuntimeWarning")
def test_a_bundle_answers_as_the_code_of_its_time_did(bundle: Path) -> None:
    calls = json.loads((OLDER / f"{bundle.name}.answers.json").read_text(encoding="utf-8"))
    for engine in read_manifest(bundle).engines:
        with load(bundle, target=engine.target) as pipeline:
            for arguments, options, expected in calls:
                if engine.precision == "fp32" or engine.target == "onnxruntime":
                    assert_close(pipeline(*arguments, **options), expected)


def test_a_manifest_is_written_in_the_present_form(bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    assert manifest.schema_version == SCHEMA_VERSION
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    write_manifest(copy, manifest)
    assert read_manifest(copy) == manifest


def test_names_of_the_plan_and_of_the_search_are_the_present_ones() -> None:
    plan = read_manifest(OLDER / "v2-text-classification-int8-search").engine().quantization
    assert plan is not None
    assert plan.search is not None
    assert any(layer.channel_shifted for layer in plan.layers)
    assert plan.search.groups[0].sensitivity > 0
    assert plan.search.path[plan.search.chosen].excluded == ()
    assert plan.search.excluded_layers == ()


def test_how_the_default_target_was_found_is_kept() -> None:
    record = read_manifest(OLDER / "v2-token-classification-fp32-auto").auto_target
    assert record is not None
    assert {candidate.target for candidate in record.candidates} == {"onnxruntime", "openvino"}


def test_a_first_version_has_one_engine() -> None:
    manifest = read_manifest(OLDER / "v1-text-classification-int8")
    assert [engine.graph.file for engine in manifest.engines] == ["model.onnx"]
    assert manifest.engine().precision == "int8"
    plan = manifest.engine().quantization
    assert plan is not None
    assert plan.batch_invariant


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(data=st.data())
def test_a_manifest_without_a_field_is_refused_or_still_one_of_the_schema(
    data: st.DataObject, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No damage of an older manifest escapes as another error."""
    manifest: Any = json.loads((bundle / MANIFEST).read_bytes())
    record = manifest
    while True:
        keys = list(record) if isinstance(record, dict) else list(range(len(record)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if isinstance(record[key], dict | list) and data.draw(st.booleans()):
            record = record[key]
            continue
        if data.draw(st.booleans()):
            del record[key]
        else:
            record[key] = data.draw(st.sampled_from([None, 7, "text", [], {}, [1], {"a": 1}]))
        break
    folder = tmp_path_factory.mktemp("damaged")
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    try:
        assert isinstance(read_manifest(folder), Manifest)
    except BundleError:
        return
