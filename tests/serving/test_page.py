"""The page at / in a real browser: it draws answers, and asks nobody but its service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bert_export.runtime.pipelines.pipeline import Pipeline

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser is installed: none of {', '.join(_NAMES)} is on the PATH"
)

Pipelines = Mapping[str, Pipeline[Any, Any, Any]]


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        # Continuous integration runs as root, where the sandbox refuses to start.
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#fields textarea")
        yield page
        assert said == []
        assert all(url.startswith((address, "data:")) for url in asked)
        browser.close()


def answer(page: Any, task: str, shown: str, **fields: str) -> Any:
    """Ask on the page, and wait until what it draws is there."""
    page.select_option("#model", label=f"{task} ({task})")
    for name, text in fields.items():
        page.fill(f"textarea[name={name}]", text)
    page.click("button")
    page.wait_for_selector(f"#answer {shown}")
    return page.locator("#answer")


def test_labels_are_bars(page: Any, pipelines: Pipelines) -> None:
    found = answer(page, "text-classification", ".bar", text="a <b>text</b>")
    best = pipelines["text-classification"]("a <b>text</b>")[0]["label"]
    assert found.locator(".row span").first.inner_text() == best
    assert found.locator(".bar").count() == len(pipelines["text-classification"].labels)


def test_entities_are_marked(page: Any, pipelines: Pipelines) -> None:
    text = "\N{GRINNING FACE} Ada met Charles"
    own = pipelines["token-classification"](text, aggregation_strategy="first")
    assert own
    marks = answer(page, "token-classification", "mark", text=text).locator("mark")
    assert [mark.evaluate("mark => mark.firstChild.data") for mark in marks.all()] == [
        text[one["start"] : one["end"]] for one in own
    ]


def test_spans_are_marked(page: Any, pipelines: Pipelines) -> None:
    record = {"question": "Who?", "context": "Ada Lovelace met Charles Babbage in London."}
    found = answer(page, "question-answering", "mark", **record)
    own = pipelines["question-answering"](**record)
    assert found.locator("mark").inner_text() == own["answer"]


def test_vectors_are_lines(page: Any, pipelines: Pipelines) -> None:
    found = answer(page, "sentence-embedding", ".vector", text="Ada")
    assert found.locator(".vector i").count() == len(pipelines["sentence-embedding"]("Ada"))


def test_errors_are_said(page: Any) -> None:
    found = answer(page, "fill-mask", ".error", text="no mask")
    assert "text has no mask" in found.inner_text()
