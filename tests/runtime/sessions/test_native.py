"""The session over a program: ragged rows as they are, padded rows in and out.

A program's interpreter stands for the compiled module, whose protocol it has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bert_export.errors import BundleError, InputError
from bert_export.runtime.sessions.native import NativeSession
from bert_export.runtime.sessions.session import RaggedSession
from tests.passes.graphs import feeds_for, run_model
from tests.targets.native.interpreter import Interpreter
from tests.targets.native.programs import lowered, ragged, written_program


def opened(path: Path) -> NativeSession:
    return NativeSession(path, open_program=lambda program, *_, **__: Interpreter(Path(program)))


@pytest.mark.parametrize(
    "task", ["fill-mask", "multiple-choice", "question-answering", "text-classification"]
)
def test_padded_rows_are_answered_as_the_graph_does(task, tmp_path):
    model = lowered(task, "fp32")
    feeds = feeds_for(model)
    expected = run_model(model, feeds, tmp_path)
    visible = feeds["attention_mask"].astype(bool)
    with opened(written_program(model, tmp_path)) as session:
        found = session.run(feeds)
    assert list(found) == list(expected)
    for name, array in found.items():
        assert array.shape == expected[name].shape
        per_token = name in ("start_logits", "end_logits")
        kept = visible if per_token else np.ones(len(array), bool)
        np.testing.assert_allclose(array[kept], expected[name][kept], rtol=0, atol=3e-6)
        assert not per_token or not array[~visible].any()


def test_ragged_rows_are_the_padded_ones(tmp_path):
    model = lowered("token-classification", "fp32")
    feeds = feeds_for(model)
    mask, (ids, types, lengths, _) = ragged(feeds)
    with opened(written_program(model, tmp_path)) as session:
        assert isinstance(session, RaggedSession)
        rows = {"input_ids": ids, "token_type_ids": types, "lengths": lengths}
        found = session.run_ragged(rows)["logits"]
        np.testing.assert_array_equal(found, session.run(feeds)["logits"][mask])


def test_rows_padded_on_the_left_keep_their_positions(tmp_path):
    model = lowered("token-classification", "fp32")
    feeds = feeds_for(model, left=True)
    expected = run_model(model, feeds, tmp_path)["logits"]
    visible = feeds["attention_mask"].astype(bool)
    with opened(written_program(model, tmp_path)) as session:
        found = session.run(feeds)["logits"]
    np.testing.assert_allclose(found[visible], expected[visible], rtol=0, atol=3e-6)


def test_what_cannot_be_answered_is_refused(tmp_path):
    model = lowered("text-classification", "fp32")
    feeds = feeds_for(model, left=True)
    path = written_program(model, tmp_path)
    with opened(path) as session:
        with pytest.raises(InputError, match="hides the first token"):
            session.run(feeds)
        with pytest.raises(InputError, match="hides a whole row"):
            session.run({**feeds, "attention_mask": np.zeros_like(feeds["attention_mask"])})
        rows = {name: np.ones(3, np.int64) for name in ("input_ids", "token_type_ids")}
        with pytest.raises(InputError, match="do not add up"):
            session.run_ragged({**rows, "lengths": np.array([1, 1])})
    with pytest.raises(InputError, match="closed"):
        session.run(feeds)


def test_a_program_that_is_not_legal_is_refused_at_load(tmp_path):
    path = written_program(lowered("text-classification", "fp32"), tmp_path)
    path.write_text(path.read_text().replace('"heads": 4', '"heads": 5'))
    with pytest.raises(BundleError, match=r"is not legal: operation \d+ \(attention\) has heads"):
        opened(path)
