"""A request as TOML: read back it is the same, and what is no recipe is said in one line."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import EngineOptions, ExportRequest, QuantizationOptions
from bert_export.errors import InputError
from bert_export.exporter import read_recipe, recipe_text

# TOML is UTF-8, which has no halves of surrogate pairs.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(1, 2**40)


def some(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | of


REQUESTS = st.builds(
    ExportRequest,
    task=some(TEXT),
    model=TEXT,
    max_length=some(NUMBERS),
    precision=TEXT,
    targets=st.lists(TEXT, max_size=3).map(tuple),
    shapes=some(TEXT),
    opset=NUMBERS,
    calibration=some(TEXT),
    quantization=some(
        st.builds(
            QuantizationOptions,
            observer=TEXT,
            gptq=st.booleans(),
            excluded_layers=st.dictionaries(TEXT, TEXT, max_size=3),
        )
    ),
    cpu=some(TEXT),
    max_drop=some(st.floats(0, 1)),
    keep_best=st.booleans(),
    engines=some(
        st.builds(
            EngineOptions,
            gpus=st.lists(TEXT, max_size=2).map(tuple),
            batch_sizes=st.lists(NUMBERS, max_size=3).map(tuple),
        )
    ),
    threads=some(NUMBERS),
)


@given(REQUESTS)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, asked: ExportRequest
) -> None:
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(recipe_text(asked), encoding="utf-8", newline="")
    assert read_recipe(path) == asked


def test_it_is_short_and_reads_well() -> None:
    request = ExportRequest(
        task="token-classification",
        model="demo:wnut17",
        precision="int8",
        targets=("onnxruntime",),
        max_drop=0.005,
        quantization=QuantizationOptions(
            observer="mse", excluded_layers={"bert.encoder.layer.0": "it is small"}
        ),
    )
    assert recipe_text(request) == (
        'task = "token-classification"\n'
        'model = "demo:wnut17"\n'
        'precision = "int8"\n'
        'targets = ["onnxruntime"]\n'
        "max_drop = 0.005\n"
        "\n"
        "[quantization]\n"
        'observer = "mse"\n'
        "\n"
        "[quantization.excluded_layers]\n"
        '"bert.encoder.layer.0" = "it is small"\n'
    )


def test_options_of_int8_may_all_have_their_defaults() -> None:
    text = recipe_text(ExportRequest(quantization=QuantizationOptions()))
    assert tomllib.loads(text)["quantization"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precison = 'int8'", r"unknown key 'precison': .*Did you mean 'precision'\?"),
        ("[quantization]\nobservr = 'mse'", r"'quantization.observr'.*Did you mean 'observer'\?"),
        ("[engines]\nx = 1", r"unknown key 'engines.x': expected one of gpus"),
        ("max_length = 'long'", r"has a value of the wrong type: .*max_length"),
        ("quantization = 3", r"has a value of the wrong type"),
        ("targets = 'openvino'", r"has a value of the wrong type: .*targets"),
        ("task = ", r"is malformed: expected TOML"),
        ("a = " + "[" * 5_000, r"is malformed: expected TOML"),
        ("task = 'a'\ntask = 'b'", r"is malformed: expected TOML"),
    ],
)
def test_what_is_no_recipe_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: .*No such file"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "fifo")
    (tmp_path / "latin").write_bytes(b"task = 'caf\xe9'")
    with pytest.raises(InputError, match="is malformed"):
        read_recipe(tmp_path / "latin")


@given(st.binary(max_size=60))
def test_no_bytes_are_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.toml"
    path.write_bytes(data)
    said = ""
    try:
        assert isinstance(read_recipe(path), ExportRequest)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
