"""The documentation site is made without a warning and needs nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    # A broken link, an unknown name or a page that no menu shows is a warning, and stops it.
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-c", "scripts/site"]
    done = subprocess.run(
        [*build, ".", str(folder)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_beside_the_code_is_on_the_site(site):
    pages = [CHECKOUT / "README.md", *CHECKOUT.glob("bert_export/**/README.md")]
    assert len(pages) > 4
    for page in pages:
        made = (site / page.relative_to(CHECKOUT)).with_suffix(".html")
        assert made.is_file(), page


def test_the_first_page_is_the_readme(site):
    assert (site / "index.html").read_text() == (site / "README.html").read_text()


def test_public_calls_and_commands_are_documented(site):
    python = (site / "scripts/site/python.html").read_text()
    for name in ("load", "export", "evaluate"):
        assert f'id="bert_export.{name}"' in python
    commands = (site / "scripts/site/command_line.html").read_text()
    for name in ("export", "run", "evaluate", "report"):
        assert f'id="bert-export-{name}"' in commands
    assert "--int8" in commands


def test_nothing_is_fetched_from_elsewhere(site):
    fetched = re.compile(r"""(?:src|href)=["'](https?://[^"']+\.(?:js|css|woff2?|png|svg))["']""")
    pages = list(site.rglob("*.html"))
    assert pages
    assert not [found for page in pages for found in fetched.findall(page.read_text())]
