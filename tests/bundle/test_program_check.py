"""A program that is not legal is refused with a line that names what is wrong."""

from __future__ import annotations

import pytest

from bert_export.bundle.program import encode_program, read_program
from bert_export.bundle.program_check import check_program
from bert_export.errors import BundleError
from bert_export.tasks.text_generation import TASK as GENERATION
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
        ('"zero_point": 1', '"zero_point": 900', "scale from 2\\^-126 to .* and a zero point"),
        ('"rows": "texts"', '"rows": "masks"', "writes the value"),
        ('"width": 24', '"width": 25', "writes the value"),
        ('"int8"', '"float32"', "tensor"),
        ('"offset": ', '"offset": 9', "outside of"),
        ('"index": "first"', '"index": "masked_positions"', "writes the value"),
        ('"column": null', '"column": 3', "gives a column"),
        ('"epsilon": ', '"epsilon": -', "epsilon"),
        ('"schema": 1', '"schema": 2', "is of the schema"),
        ('"causal": false', '"causal": false, "cache": 0', "has the cache"),
        ('"inputs": [\n    "input_ids",', '"inputs": [\n    "ids",', "names the inputs"),
        ('"epsilon": ', f'"epsilon": {10**60}', "epsilon: expected a finite float32"),
        ('"weights": "weights.data"', '"weights": "../letter"', "names the file of weights"),
        ('"name": "attention_mask"', '"name": "mask"', "inputs of padded .* got .*input_ids"),
        ('"batch",\n          "sequence"', '"batch"', "inputs of padded batches: .* got .*batch"),
        ('"dtype": "int64"', '"dtype": "int32"', "inputs of padded batches: .* got .*int32"),
        ('"batch",\n          3', '"batch",\n          4', "outputs of padded batches: .* got .*4"),
        ('"batch",\n          3', '"batch"', "outputs of padded batches"),
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
        ('"schema": 1', '"schema": 3', "another schema"),
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


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    model = lowered(GENERATION.name, "fp32", cached=True)
    return written_program(model, tmp_path_factory.mktemp("cached"))


def test_caches_are_written_and_read_back(cached):
    read = read_program(cached)
    check_program(read, cached.with_name(read.weights))
    assert encode_program(read) == cached.read_bytes()
    assert [cache.past_value for cache in read.caches] == [
        "past_key_values.0.value",
        "past_key_values.1.value",
    ]


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"schema": 2', '"schema": 1', "is of the schema"),
        ('"cache": 1', '"cache": 2', "has the cache"),
        ('"cache": 1', '"cache": 0', "has the cache 0: expected one attention's, got two"),
        ('"cache": 1', '"cache": null', "has the cache 1: expected an attention's, got none's"),
        ('_key": "past_key_values.0.key', '_key": "past', "inputs of padded batches"),
        ('_key": "past_key_values.0.key', '_key": "past_key_values.0.value', "named once"),
        (
            '_key": "past_key_values.0.key',
            '_key": "input_ids',
            "keeps 'input_ids': expected named once",
        ),
        ('_key": "present.0.key', '_key": "present.9.key', "has outputs of padded batches"),
        ('"past",\n          4', '"past",\n          5', "inputs of padded batches"),
    ],
)
def test_each_rule_of_caches_refuses_by_name(cached, tmp_path, old, new, what):
    text = cached.read_text()
    assert old in text
    other = tmp_path / cached.name
    other.write_text(text.replace(old, new))
    with pytest.raises(BundleError, match=what):
        check_program(read_program(other), cached.with_name("weights.data"))
