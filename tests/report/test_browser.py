"""The page in a real browser: drawn, touched, sorted, and silent towards the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bert_export.report.page import write_page
from tests.report.sample import sample_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in _NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser is installed: none of {', '.join(_NAMES)} is on the PATH"
)


class Visit:
    """An open page, with everything that it said and asked for."""

    def __init__(self, page: playwright.Page) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        # Continuous integration runs as root, where the sandbox refuses to start.
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(sample_report(), tmp_path_factory.mktemp("report")).as_uri()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def visit(
    request: pytest.FixtureRequest, browser: playwright.Browser, address: str
) -> Iterator[Visit]:
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 850}, color_scheme=scheme, has_touch=width < 500
    )
    visit = Visit(context.new_page())
    visit.page.goto(address)
    visit.page.wait_for_selector("#plot svg")
    yield visit
    assert visit.said == []
    assert visit.asked == [address]
    context.close()


def test_plot_is_drawn(visit: Visit) -> None:
    page = visit.page
    assert page.locator("#plot .point").count() == 5  # the sixth failed
    assert page.locator("#plot .below").get_attribute("data-variant") == "openvino int8"
    frame = page.locator("#plot").bounding_box()
    assert frame is not None
    for index in range(5):
        mark = page.locator("#plot .mark").nth(index).bounding_box()
        assert mark is not None
        assert frame["x"] < mark["x"] < frame["x"] + frame["width"]
        assert frame["y"] < mark["y"] < frame["y"] + frame["height"]
    path = page.locator("#plot .frontier").get_attribute("d")
    assert path is not None
    assert path.count("V") == 3  # one step per variant on it


def test_every_point_has_a_line_to_its_p95(visit: Visit) -> None:
    tails = visit.page.locator("#plot .tail")
    assert tails.count() == 5
    assert all((tails.nth(index).bounding_box() or {})["width"] > 0 for index in range(5))


def test_a_bound_of_the_p95_is_a_line(browser: playwright.Browser, tmp_path: Path) -> None:
    report = sample_report()
    report.p95_below = 0.006
    page = browser.new_page()
    page.goto(write_page(report, tmp_path).as_uri())
    page.wait_for_selector("#plot svg")
    assert page.locator("#plot .floor-text").all_text_contents()[-1] == "p95 below 6 ms"
    page.locator("input[name=shape][value='1x16']").check(force=True)
    assert "p95 below 6 ms" not in page.locator("#plot .floor-text").all_text_contents()
    page.close()


def test_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    widths = "[document.documentElement.scrollWidth, window.innerWidth]"
    needed, there = visit.page.evaluate(widths)
    assert needed <= there


def test_points_left_of_others_are_faster(visit: Visit) -> None:
    def left(name: str) -> float:
        box = visit.page.locator(f'[data-variant="{name}"] .mark').bounding_box()
        assert box is not None
        return box["x"]

    assert left("openvino int8") < left("onnxruntime int8") < left("onnxruntime fp32")


def test_hovering_shows_the_figures(visit: Visit) -> None:
    page, tip = visit.page, visit.page.locator("#tip")
    assert tip.is_hidden()
    page.locator('[data-variant="onnxruntime int8"] .halo').hover()
    text = tip.inner_text()
    for words in ("onnxruntime int8", "p50", "p95", "p99", "3.50 ms", "98.14 %", "59.2 MB"):
        assert words in text
    assert "179.2 MB" in text  # peak memory
    page.mouse.move(0, 0)
    assert tip.is_hidden()


def test_keyboard_reaches_every_point(visit: Visit) -> None:
    page, tip = visit.page, visit.page.locator("#tip")
    page.locator("input[value='1x128']").focus()
    names = []
    for _ in range(5):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        names.append(focused.get_attribute("data-variant"))
        told = focused.get_attribute("aria-label")
        assert told is not None
        assert "p99" in told
        assert tip.is_visible()
    assert len(set(names)) == 5
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_shapes_are_switched(visit: Visit) -> None:
    page = visit.page
    page.locator("input[value='8x128']").check(force=True)
    label = page.locator("#plot svg").get_attribute("aria-label")
    assert label is not None
    assert "at 8x128" in label
    told = page.locator('[data-variant="onnxruntime fp32"]').get_attribute("aria-label")
    assert told is not None
    assert "p50 68.0 ms" in told


def test_sorting_orders_by_number(visit: Visit) -> None:
    page = visit.page
    names = page.locator("table.figures tbody th")
    button = page.locator("table.figures button", has_text="1x128 p50")
    button.click()
    assert names.all_text_contents()[0] == "openvino int8"
    assert names.all_text_contents()[-1] == "onnxruntime fp32"
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    button.press("Enter")
    assert names.all_text_contents()[0] == "onnxruntime fp32"
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert "descending" in page.locator("#sorted").inner_text()
    page.locator("table.figures button", has_text="variant").click()
    assert names.all_text_contents() == sorted(names.all_inner_texts())


def test_a_narrower_window_is_drawn_anew(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 700, "height": 800})
    drawn = (
        "document.querySelector('#plot svg').viewBox.baseVal.width"
        " === document.querySelector('#plot').clientWidth"
    )
    for _ in range(100):  # the page's policy forbids what wait_for_function does
        if page.evaluate(drawn):
            break
        page.wait_for_timeout(50)
    assert page.evaluate(drawn)
    assert page.locator("#plot .point").count() == 5
