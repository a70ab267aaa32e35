"""A program that is not legal is refused with a line that names what is wrong."""

from __future__ import annotations

import pytest

from bert_export.bundle.program import encode_program, read_program
from bert_export.bundle.program_check import check_program
from bert_export.errors import BundleError
from tests.targets.native.programs import lowered, written_program


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return written_program(lowered("text-classification"), tmp_path_factory.mktemp("program"))


def test_what_is_written_is_legal_and_reads_back(program):
    read = read_program(program)
    check_program(read, program.with_name(read.weights))
    assert encode_program(read) == program.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"heads": 4', '"heads": 3', "has heads"),
        ('"causal": false', '"causal": true', "is causal"),
        ('"zero_point": 1', '"zero_point": 900', "scale above 0 and a zero point"),
        ('"rows": "texts"', '"rows": "masks"', "writes the value"),
        ('"width": 24', '"width": 25', "writes the value"),
        ('"int8"', '"float32"', "tensor"),
        ('"offset": ', '"offset": 9', "outside of"),
        ('"index": "first"', '"index": "masked_positions"', "writes the value"),
        ('"column": null', '"column": 3', "gives a column"),
        ('"epsilon": ', '"epsilon": -', "epsilon"),
        ('"inputs": [\n    "input_ids",', '"inputs": [\n    "ids",', "names the inputs"),
    ],
)
def test_each_rule_refuses_by_name(program, tmp_path, old, new, what):
    text = program.read_text()
    assert old in text
    other = tmp_path / program.name
    other.write_text(text.replace(old, new))
    with pytest.raises(BundleError, match=what):
        check_program(read_program(other), program.with_name("weights.data"))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"schema": 1', '"schema": 2', "another schema"),
        ('"kind": "norm"', '"kind": "nerm"', "cannot be read"),
        ('"kind": "norm"', '"kind": "norm", "more": 1', "cannot be read"),
        ("{", "[", "cannot be read"),
    ],
)
def test_what_is_no_program_is_refused(program, tmp_path, old, new, what):
    other = tmp_path / program.name
    other.write_text(program.read_text().replace(old, new))
    with pytest.raises(BundleError, match=what):
        read_program(other)
