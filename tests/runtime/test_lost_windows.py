"""A tokenizers library that loses windows is refused before it answers."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tokenizers

from bert_export.errors import TokenizerError
from bert_export.runtime.lost_windows import WINDOWS, count_windows, refuse_lost_windows


def test_the_installed_library_loses_none() -> None:
    assert count_windows() == WINDOWS
    refuse_lost_windows()


def test_a_library_that_does_is_refused_with_a_command() -> None:
    message = (
        f"tokenizers {tokenizers.__version__} loses windows .* expected 4 windows .*, got 2. "
        "Run pip install 'tokenizers!=0.23.1,!=0.23.2'"
    )
    with pytest.raises(TokenizerError, match=message):
        refuse_lost_windows(lambda: 2)


def test_the_project_excludes_what_the_message_names() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "tokenizers>=0.21,!=0.23.1,!=0.23.2" in project["dependencies"]
