"""The tables of the C++ tokenizer are those of the installed ``tokenizers``."""

from __future__ import annotations

import pytest

from scripts.write_unicode_tables import PATH, ask, render

pytestmark = pytest.mark.long

_RELEASE = "// Asked of tokenizers "


def test_tables_are_those_of_the_installed_release() -> None:
    """Where this fails a release differs: write them anew, and run all tests of the folder."""
    written, asked = (
        [line for line in text.splitlines() if not line.startswith(_RELEASE)]
        for text in (PATH.read_text(encoding="utf-8"), render(ask()))
    )
    different = [line for line in asked if line not in set(written)]
    assert written == asked, f"{len(different)} lines differ, the first: {different[:1]}"
