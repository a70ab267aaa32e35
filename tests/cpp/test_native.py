"""The compiled module gives what the pure path gives, and is used only where it does."""

from __future__ import annotations

import logging
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import bert_export
from bert_export.bundle import read_manifest
from bert_export.cli import main
from bert_export.errors import InputError
from bert_export.runtime import native
from bert_export.runtime.batching import row_from_encoding
from bert_export.runtime.native import SWITCH, NativeEncoding, native_state
from bert_export.runtime.tokenization import Tokenizer
from tests.cpp.asking import aspects
from tests.cpp.nasty import nasty_texts
from tests.cpp.test_bundles import OLDER, TAMPERED
from tests.runtime import vectors
from tests.runtime.test_vectors import ask, assert_same
from tests.support import ONE_GRAPH

pytestmark = pytest.mark.long

TEXTS = [*nasty_texts(150, seed=9), "the cat sat " * 30, "", "New York [MASK]"]
LONG = ["the cat sat " * 200, "the cat"]


def tokenizers(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tokenizer, Tokenizer]:
    """A bundle's tokenizer with the module, and without it."""
    record = read_manifest(bundle).tokenizer
    compiled = Tokenizer.from_file(bundle / record.file, record)
    monkeypatch.setenv(SWITCH, "0")
    pure = Tokenizer.from_file(bundle / record.file, record)
    monkeypatch.delenv(SWITCH)
    assert compiled._native is not None
    assert pure._native is None
    return compiled, pure


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("special", [True, False])
def test_rows_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch, special: bool) -> None:
    compiled, pure = tokenizers(TAMPERED, monkeypatch)
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    for inputs in (TEXTS, pairs, TEXTS[:1], pairs[-1:], LONG):
        for length in (None, 26):
            options: Any = {"max_length": length, "add_special_tokens": special}
            rows = compiled.encode(inputs, **options)
            wanted = pure.encode(inputs, **options)
            usual = max(map(len, TEXTS)) <= 16 * (length or compiled.max_length)
            assert any(isinstance(row, NativeEncoding) for (row,) in rows) is (
                usual and inputs != LONG
            )
            for text, (row,), (other,) in zip(inputs, rows, wanted, strict=True):
                assert aspects(row, text) == aspects(other, text)
                assert len(row) == len(other)
                own, theirs = row_from_encoding(row), row_from_encoding(other)
                np.testing.assert_array_equal(own.input_ids, theirs.input_ids)
                np.testing.assert_array_equal(own.token_type_ids, theirs.token_type_ids)
                assert own.input_ids.dtype == theirs.input_ids.dtype
                lost = [[part.ids for part in one.overflowing] for one in (row, other)]
                assert lost[0] == lost[1]


@pytest.mark.usefixtures("module")
def test_answers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the bit, but for scores of tags, which the module computes itself."""
    tags, classes = TAMPERED, OLDER / "v1-text-classification-int8"
    strategies = ("none", "simple", "first", "average", "max")
    cases: list[tuple[Path, list[dict[str, Any]]]] = [
        (
            tags,
            [
                {"aggregation_strategy": how, "ignore_labels": ignored}
                for how in strategies
                for ignored in ([], ["O"], None)
            ],
        ),
        (classes, [{}, {"top_k": None}, {"max_length": 26}]),
    ]
    for bundle, calls in cases:
        answers = []
        for switch in ("1", "0"):
            monkeypatch.setenv(SWITCH, switch)
            with bert_export.load(bundle, threads=1) as pipeline:
                assert (pipeline.tokenizer._native is None) is (switch == "0")
                answers.append([pipeline(TEXTS, **options) for options in calls])
                answers[-1] += [pipeline(text) for text in TEXTS]
        if bundle == tags:
            assert_same(*answers)
        else:
            assert answers[0] == answers[1]


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("task", ONE_GRAPH)
def test_vectors(monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """Every recorded call is answered as by the original."""
    compiled = vectors.read_tokenizer.__wrapped__
    monkeypatch.setattr(vectors, "read_tokenizer", cache(compiled))
    for vector in vectors.read_vectors(task):
        if not vector.error:
            assert_same(ask(vector)[0], vector.answer)
    with vectors.open_vector(vector) as pipeline:
        assert pipeline.tokenizer._native is not None


@pytest.mark.usefixtures("module")
def test_only_its_own_rows_and_plain_logits_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, pure = tokenizers(TAMPERED, monkeypatch)
    labels = ["O", "B-PER"]
    tagger = compiled.native_tagger(labels)
    assert tagger is not None
    assert pure.native_tagger(labels) is None
    ((own,),) = compiled.encode(["the cat sat"])
    ((other,),) = pure.encode(["the cat sat"])
    logits = np.zeros((len(own), 2), np.float32)
    assert len(tagger.decode("the cat sat", own, logits, "none", []) or []) == 3
    assert tagger.decode("the cat sat", other, logits, "none", []) is None
    for wrong in (logits[1:], logits[:, :1], logits.astype(float), np.zeros((2, len(own))).T):
        assert tagger.decode("the cat sat", own, wrong, "none", []) is None


@pytest.mark.usefixtures("module")
def test_errors_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, pure = tokenizers(TAMPERED, monkeypatch)
    faults: list[tuple[Any, dict[str, Any]]] = [
        (["a", "\ud800"], {}),
        ([b"bytes"], {}),
        (["a", 5], {}),
        ([("a", "b", "c")], {}),
        (["a"], {"max_length": 1}),
        (["a"], {"max_length": 10**6}),
        ("a text", {}),
    ]
    for texts, options in faults:
        said = []
        for tokenizer in (compiled, pure):
            with pytest.raises(InputError) as refused:
                tokenizer.encode(texts, **options)
            said.append(str(refused.value))
        assert said[0] == said[1]


@pytest.mark.usefixtures("module")
def test_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, pure = tokenizers(TAMPERED, monkeypatch)
    wanted = [row.ids for (row,) in pure.encode(TEXTS)]
    found: list[list[Any]] = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda own=own: own.extend(compiled.encode(TEXTS))) for own in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all([row.ids for (row,) in own] == wanted for own in found)


def test_it_says_whether_it_is_used(
    module: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert native_state() == "compiled module"
    shown = CliRunner().invoke(main, ["inspect", str(TAMPERED)]).stdout
    assert re.search(r"tokenizer here\W+compiled module", shown)
    monkeypatch.setattr(module, "state", "other")
    native._built_module.cache_clear()
    assert native_state().startswith(
        "pure Python: the compiled module was built from other sources. Run: "
    )
    monkeypatch.setenv(SWITCH, "0")
    assert native_state() == f"pure Python: {SWITCH} is 0"
    with caplog.at_level(logging.INFO, logger="bert_export"):
        bert_export.load(TAMPERED).close()
    assert f"pure Python: {SWITCH} is 0" in caplog.messages


@pytest.mark.usefixtures("absent")
def test_without_it_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    line = "pure Python: the compiled module is not built. Run: bert-export cpp --native"
    assert native_state() == line
    with caplog.at_level(logging.INFO, logger="bert_export"):
        for _ in range(2):
            bert_export.load(TAMPERED).close()
    assert caplog.messages.count(line) == 1
    assert "pure Python" in CliRunner().invoke(main, ["inspect", str(TAMPERED)]).stdout


@pytest.mark.usefixtures("module")
def test_what_it_cannot_do_the_library_does(caplog: pytest.LogCaptureFixture) -> None:
    record = read_manifest(TAMPERED).tokenizer
    text = (TAMPERED / record.file).read_text(encoding="utf-8")
    other = text.replace('"BertNormalizer"', '"NFKC"')
    assert other != text
    with caplog.at_level(logging.INFO, logger="bert_export"):
        tokenizer = Tokenizer.from_json(other, record)
    assert tokenizer._native is None
    assert len(tokenizer.encode(["the cat"])[0][0]) > 2
    (line,) = caplog.messages
    assert line.startswith("tokenizer in pure Python: ")
    assert "NFKC" in line
