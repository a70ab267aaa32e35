"""What the manifest says of rows: how long they are, and at which end they are cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bert_export.checkpoints import Checkpoint, SentenceModules, TokenizerFiles, load_checkpoint
from bert_export.errors import CheckpointError, InputError
from bert_export.exporter.manifest_records import longest_row, tokenizer_record
from bert_export.models import BertConfig
from bert_export.tasks import TASKS, find_task
from tests.checkpoints.conftest import rewrite, write_modules
from tests.oracle import save_tiny

CONFIG = BertConfig.from_dict({"max_position_embeddings": 32})
LEAST = {name: task.shortest_row for name, task in TASKS.items()}


def _checkpoint(own: int | None, stated: int | None = None) -> Checkpoint:
    """A checkpoint whose tokenizer and sentence modules name lengths."""
    return Checkpoint(
        source="x",
        config={},
        tensors={},
        tokenizer=TokenizerFiles(
            json="",
            max_length=own,
            do_lower_case=True,
            **{f"{name}_token": name for name in ("cls", "sep", "pad", "mask", "unk")},
        ),
        sentence=SentenceModules(max_seq_length=stated),
    )


def _longest(name: str, checkpoint: Checkpoint, wanted: int | None = None) -> int:
    return longest_row(find_task(name), CONFIG, checkpoint, wanted)


@pytest.mark.parametrize(
    ("own", "stated", "longest"),
    [
        (12, 9, 9),
        (12, 20, 20),
        (12, 64, 32),
        (12, None, 12),
        (64, None, 32),
        (None, 20, 20),
        (None, None, 32),
        (2, 20, 20),
    ],
)
def test_length_of_the_sentence_modules_rules(
    own: int | None, stated: int | None, longest: int
) -> None:
    assert _longest("sentence-embedding", _checkpoint(own, stated)) == longest


def test_length_of_the_sentence_modules_is_for_sentences_alone() -> None:
    assert _longest("feature-extraction", _checkpoint(12, 9)) == 12


@pytest.mark.parametrize(("own", "stated"), [(12, 9), (12, 20), (12, None), (1e30, None)])
def test_longest_sentence_equals_sentence_transformers(
    own: float, stated: int | None, tmp_path: Path
) -> None:
    library = pytest.importorskip("sentence_transformers")
    save_tiny("BertModel", tmp_path)
    write_modules(tmp_path, {"pooling_mode": "mean"})
    rewrite(tmp_path / "tokenizer_config.json", model_max_length=own)
    settings = {} if stated is None else {"max_seq_length": stated}
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(settings))
    original = library.SentenceTransformer(str(tmp_path), device="cpu")
    longest = _longest("sentence-embedding", load_checkpoint(tmp_path))
    assert longest == original.max_seq_length
    assert longest == original.tokenize(["cat " * 60])["input_ids"].shape[1]


@pytest.mark.parametrize("name", TASKS)
def test_wanted_length_holds_a_token_of_each_text(name: str) -> None:
    least = LEAST[name]
    for wanted in (least, 32):
        assert _longest(name, _checkpoint(12), wanted) == wanted
    for wanted in (least - 1, 33, 0, -1):
        with pytest.raises(InputError, match=f"max_length {wanted} .*: expected {least} to 32 "):
            _longest(name, _checkpoint(12), wanted)


@pytest.mark.parametrize("name", TASKS)
def test_own_length_holds_a_token_of_each_text(name: str) -> None:
    least = LEAST[name]
    assert _longest(name, _checkpoint(least)) == least
    short = _checkpoint(least - 1)
    with pytest.raises(CheckpointError, match=f"x takes rows .*: expected at least {least} tokens"):
        _longest(name, short)
    assert _longest(name, short, 8) == 8


def test_length_of_the_sentence_modules_holds_a_token() -> None:
    with pytest.raises(CheckpointError, match=r"at least 3 tokens .*, got 2"):
        _longest("sentence-embedding", _checkpoint(12, 2))


def test_position_table_holds_a_token() -> None:
    config = replace(CONFIG, max_position_embeddings=2)
    with pytest.raises(CheckpointError, match=r"at least 3 tokens .*, got 2"):
        longest_row(find_task("fill-mask"), config, _checkpoint(12))


@pytest.mark.parametrize("settings", [{}, {"truncation_side": "left"}])
def test_truncation_side_reaches_the_record(settings: dict[str, Any], tmp_path: Path) -> None:
    save_tiny("BertModel", tmp_path)
    rewrite(tmp_path / "tokenizer_config.json", **settings)
    record = tokenizer_record(load_checkpoint(tmp_path), 32)
    assert record.truncation_side == settings.get("truncation_side", "right")
