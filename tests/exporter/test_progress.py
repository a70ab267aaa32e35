from __future__ import annotations

import pytest

from bert_export.exporter.progress import Listener, Progress, SilentListener
from tests.exporter.conftest import RecordingListener


def test_stages_are_timed_and_told_with_their_facts(listener: RecordingListener) -> None:
    progress = Progress(listener)
    with progress.stage("trace") as facts:
        facts["operators"] = 7
    (stage,) = progress.stages
    assert (stage.name, stage.facts) == ("trace", {"operators": 7})
    assert stage.seconds >= 0
    assert listener.stages == ["trace"]


def test_a_stage_that_fails_does_not_finish(listener: RecordingListener) -> None:
    progress = Progress(listener)
    with pytest.raises(ValueError, match="no"), progress.stage("trace"):
        raise ValueError("no")
    assert progress.stages == []
    assert listener.stages == []


def test_nobody_needs_to_listen() -> None:
    silent: Listener = SilentListener()
    for progress in (Progress(), Progress(silent)):
        with progress.stage("trace"):
            progress.advance(1, 2)
        assert [stage.name for stage in progress.stages] == ["trace"]
