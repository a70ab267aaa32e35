"""The comparison with peers: which are chosen, what is made of them, who wins."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from bert_export.measuring.timing import Measured
from scripts.benchmarks import peers
from scripts.benchmarks.common.comparison import Comparison
from scripts.benchmarks.common.report import Cell, cell_text
from scripts.benchmarks.making.environments import REQUIREMENTS
from scripts.benchmarks.making.shapes import LABELS
from scripts.benchmarks.peers import PEERS, REFERENCE, Found, Quality
from scripts.benchmarks.workers.contenders import OPENERS
from tests.scripts.benchmarks.support import compared


def test_every_contender_can_be_opened_somewhere() -> None:
    assert {peer.kind for peer in PEERS.values()} <= set(OPENERS)
    environments = {peer.environment for peer in PEERS.values()}
    assert environments == set(REQUIREMENTS) | {None}
    assert REFERENCE in PEERS


def test_the_reference_is_always_measured() -> None:
    assert peers.choose(["ours onnxruntime int8"]) == [REFERENCE, "ours onnxruntime int8"]
    assert peers.choose([]) == list(PEERS)
    assert len(peers.choose(["ours"])) == 5
    with pytest.raises(click.BadParameter, match="must begin one of"):
        peers.choose(["nobody"])


def found_of(comparison: Comparison) -> Found:
    costs: dict[str, dict[str, float]] = {peers.PEAK: {}, peers.MAKING_PEAK: {}}
    costs |= {peers.SIZE: {"ours a": 20.0, "peer": 10.0}, peers.MAKING: {"ours a": 1.0}}
    return Found(comparison, costs, {"peer": Quality(cosine=0.99, spearman=0.8)})


def rows_of(rows: object) -> dict[Cell, list[str]]:
    return {row[0]: [cell_text(cell) for cell in row[1:]] for row in rows}  # type: ignore[attr-defined]


def test_a_row_that_a_peer_wins_says_so() -> None:
    times = {"ours a": 2.0, "ours b": 4.0, "peer": 1.0}
    rates = {"ours a": 100.0, "ours b": 200.0, "peer": 200.0}
    comparison = compared(
        {
            name: dict.fromkeys(LABELS, time) | {peers.ROWS: rates[name]}
            for name, time in times.items()
        }
    )
    comparison.results["broken"] = Measured(failure="gone")
    comparison.results["ours a"].first_answers = [0.2, 0.2]
    comparison.results["peer"].first_answers = [0.2, 0.2]
    (section,) = peers.winner_sections(found_of(comparison))
    rows = rows_of(section.rows)
    assert rows["1x16"] == ["ours a", "peer", "0.50 (0.50 to 0.50)", "the peer"]
    assert rows["rows/s"] == ["ours a", "peer", "2.00 (2.00 to 2.00)", "ours"]
    assert rows[peers.COLD] == ["ours a", "peer", "1.00 (1.00 to 1.00)", "level"]
    assert rows[peers.SIZE] == ["ours a", "peer", "0.5", "the peer"]
    assert peers.MAKING not in rows  # no peer's is known
    alone = compared({"peer": dict.fromkeys(LABELS, 1.0)})
    assert peers.winner_sections(Found(alone, {}, {})) == []


def test_tables_have_a_row_for_what_failed() -> None:
    comparison = compared({"peer": dict.fromkeys(LABELS, 1.0) | {peers.ROWS: 20.0}}, rows=5)
    comparison.results["broken"] = Measured(failure="gone")
    found = found_of(comparison)
    speed, costs = peers.speed_section(found), peers.cost_section(found)
    for section in (speed, costs):
        assert [row[0] for row in section.rows] == ["peer", "broken"]
        assert {len(row) for row in section.rows} == {len(section.header)}
    assert rows_of(speed.rows)["peer"][len(LABELS)] == "250"  # 5 rows in 20 ms
    assert speed.rows[1][-1] == "failed"
    assert "0.99000" in rows_of(costs.rows)["peer"]
    kept = peers._sections(found, whole=True)
    assert {section.part for section in kept} <= {"speed", "costs", "winners"}
    assert {section.part for section in peers._sections(found, whole=False)} == {None}


def test_size_is_what_a_service_carries(tmp_path: Path) -> None:
    (tmp_path / "graph").write_bytes(b"0" * 2_000_000)
    (tmp_path / "rows.npz").write_bytes(b"0" * 1_000)
    assert peers.size_of(tmp_path / "graph") == peers.size_of(tmp_path) == 2_000_000


def test_sentences_come_in_pairs() -> None:
    texts, gold, source = peers.sentences(8)
    assert len(texts) == 16
    assert gold is None or len(gold) == 8
    assert source
