"""An encoder-decoder goes where the bundle itself answers, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bert_export import load
from bert_export.errors import TaskError
from bert_export.exporter import Export
from bert_export.hand_over import CONSUMERS, hand_over

ANSWERED = {"container": "lambda/bundle", "triton": "bert/1/bundle"}
TEXTS = ["the cat sat on the mat", "a dog runs"]


@pytest.mark.parametrize("consumer", ANSWERED)
def test_the_bundle_in_the_folder_answers(
    halves_export: Export, tmp_path: Path, consumer: str
) -> None:
    folder = hand_over(halves_export.path, consumer, tmp_path / "out").folder
    with load(halves_export.path) as own, load(folder / ANSWERED[consumer]) as copied:
        assert copied(TEXTS) == own(TEXTS)
    if consumer == "triton":
        config = (folder / "bert" / "config.pbtxt").read_text(encoding="utf-8")
        assert 'input { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] }' in config


@pytest.mark.parametrize("consumer", sorted(CONSUMERS.keys() - ANSWERED.keys()))
def test_who_reads_one_graph_is_refused_by_name(
    halves_export: Export, tmp_path: Path, consumer: str
) -> None:
    with pytest.raises(TaskError, match=f"summarization cannot be handed over to {consumer}"):
        hand_over(halves_export.path, consumer, tmp_path / "out")
    assert not (tmp_path / "out").exists()
