"""The comparison with peers: which are chosen, what is made of them, who wins."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import compare_peers
import numpy as np
import pytest
from compare_peers import CONTENDERS, REFERENCE, SHAPES, Found
from measuring.children import ChildError, Usage
from measuring.environments import REQUIREMENTS, find_environment, parse_pythons
from measuring.worker_peers import OPENERS, median_seconds, pool


def test_every_contender_can_be_opened_somewhere() -> None:
    assert {one.kind for one in CONTENDERS.values()} == set(OPENERS)
    environments = {one.environment for one in CONTENDERS.values()}
    assert environments == set(REQUIREMENTS) | {None}
    assert REFERENCE in CONTENDERS


def test_the_reference_is_always_measured() -> None:
    assert compare_peers._choose(["ours onnxruntime int8"]) == [REFERENCE, "ours onnxruntime int8"]
    assert compare_peers._choose([]) == list(CONTENDERS)
    assert len(compare_peers._choose(["ours"])) == 5
    with pytest.raises(click.BadParameter, match="must begin one of"):
        compare_peers._choose(["nobody"])


def test_interpreters_are_named() -> None:
    assert parse_pythons([f"optimum={sys.executable}"]) == {"optimum": sys.executable}
    given = {"openvino": sys.executable}
    assert find_environment("openvino", Path("nowhere"), given) == sys.executable


@pytest.mark.parametrize("pair", ["", "optimum", "optimum=", "nobody=/bin/sh", "optimum=/no/such"])
def test_a_malformed_interpreter_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match=r"the name must be one of|no interpreter is there"):
        parse_pythons([pair])


def test_what_fails_is_a_reason() -> None:
    def fail() -> None:
        raise ChildError("worker failed: Traceback\n  ...\nValueError: no such operator")

    found = Found()
    compare_peers._guard(found, fail)
    assert found.failure is not None
    assert found.failure.endswith("ValueError: no such operator")
    assert "\n" not in found.failure


def found_of(milliseconds: float, rate: float) -> Found:
    found = Found()
    found.samples.add(dict.fromkeys(SHAPES, milliseconds) | {compare_peers.ROWS: rate})
    return found


def test_a_row_that_a_peer_wins_says_so() -> None:
    found = {"ours a": found_of(2.0, 100.0), "ours b": found_of(4.0, 90.0)}
    found |= {"peer": found_of(1.0, 50.0), "broken": Found(failure="gone")}
    (section,) = compare_peers._winners(found)
    by_figure = {row[0]: row for row in section.rows}
    assert by_figure["1x16"] == ("1x16", "ours a", 2.0, "peer", 1.0, 0.5, "the peer")
    assert by_figure["rows/s"] == ("rows/s", "ours a", 100.0, "peer", 50.0, 2.0, "ours")
    assert compare_peers._winners({"peer": found_of(1.0, 1.0)}) == []


def test_tables_have_a_row_for_what_failed() -> None:
    found = {"peer": found_of(1.0, 50.0), "broken": Found(failure="gone")}
    for section in (compare_peers._speed(found), compare_peers._costs(found)):
        assert [row[0] for row in section.rows] == ["peer", "broken"]
        assert {len(row) for row in section.rows} == {len(section.header)}


def test_facts_are_figures_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "graph").write_bytes(b"0" * 2_000_000)
    prepared = compare_peers.Prepared(tmp_path / "graph", Usage(seconds=3.0, peak_bytes=5_000_000))
    facts = compare_peers._facts(Found(prepared=prepared, cosine=0.99))
    assert facts == {"cosine": 0.99, "size, MB": 2.0, "making, s": 3.0, "making, MB": 5.0}
    assert compare_peers._facts(Found(failure="gone")) == {}


def test_vectors_are_means_over_tokens_of_length_one() -> None:
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])  # (1, 3, 2)
    pooled = pool(states, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(pooled, [[0.6, 0.8]])
    np.testing.assert_allclose(pool(np.array([[6.0, 8.0]]), np.array([[1, 1, 0]])), [[0.6, 0.8]])


def test_runs_are_warmed_up_and_repeated() -> None:
    calls: list[int] = []
    assert median_seconds(lambda: calls.append(1), 0.0) >= 0.0
    assert len(calls) == 5


def test_sentences_come_in_pairs() -> None:
    texts, gold, source = compare_peers._sentences(8)
    assert len(texts) == 16
    assert gold is None or len(gold) == 8
    assert source
