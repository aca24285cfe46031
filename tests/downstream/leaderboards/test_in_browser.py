"""The page in a real browser: sorting, filters, records by keyboard, light and dark, a phone, paper, accessibility."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from many_records import board, many

from downstream.leaderboards.web_page import page_of

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

COLUMNS = 'section[data-protocol="clean"] thead th'
ROWS = 'section[data-protocol="clean"] tbody tr:visible'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "leaderboard.html"
    path.write_text(page_of(board(*many(60)), "Leaderboard"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with all kinds of cells, and few of them."""
    path = tmp_path_factory.mktemp("few") / "leaderboard.html"
    path.write_text(page_of(board(*many(12)), "Leaderboard"), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, which must raise no error; the parameter: options of its context."""
    context = browser.new_context(**getattr(request, "param", {}))
    page, errors = context.new_page(), []
    page.on("console", lambda message: errors.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert not errors


def texts(page: Any, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_inner_texts()]


def test_every_column_sorts_both_ways(opened: Any) -> None:
    for number in range(opened.locator(COLUMNS).count()):
        head = opened.locator(COLUMNS).nth(number)
        head.get_by_role("button").click()
        first = head.get_attribute("aria-sort")
        column = f"{ROWS} > *:nth-child({number + 1})"
        once = [cell or "" for cell in sort_values(opened, column)]
        head.get_by_role("button").click()
        assert {first, head.get_attribute("aria-sort")} == {"ascending", "descending"}
        twice = sort_values(opened, column)
        assert opened.locator(f"{COLUMNS}[aria-sort]").count() == 1
        if number:
            numbers = [float(value) for value in once if value]
            assert numbers == sorted(numbers, reverse=first == "descending")
            assert [value for value in twice if value] == [str(value) for value in once if value][::-1]


def sort_values(page: Any, selector: str) -> list[str | None]:
    return [cell.get_attribute("data-sort") for cell in page.locator(selector).all()]


def test_filters_narrow_the_tables_down(opened: Any) -> None:
    assert opened.locator("#count").inner_text() == "60 of 60 scores shown"
    opened.select_option("#protocol", "clean")
    assert opened.locator("section.protocol:visible").count() == 1
    assert opened.locator("#count").inner_text() == "20 of 60 scores shown"
    opened.select_option("#task", "emotion")
    assert texts(opened, f"{COLUMNS}:visible button") == ["upstream", "emotion"]
    opened.fill("#search", "HUBERT emo")
    assert texts(opened, f"{ROWS} .name") == ["hubert_base"]
    opened.get_by_role("button", name="Show all").click()
    sync_api.expect(opened.locator("#count")).to_have_text(
        "60 of 60 scores shown"
    )  # evaluating a string is forbidden there
    opened.uncheck("#controls")
    assert "untrained" not in " ".join(texts(opened, f"{ROWS} th"))
    opened.select_option("#corpus", "Corpus of keyword")
    opened.select_option("#upstream", "wavlm_large")
    assert opened.locator("#count").inner_text() == "1 of 60 scores shown"
    opened.fill("#search", "nothing has this name")
    assert opened.locator("section.protocol:visible").count() == 0
    assert opened.locator("#count").inner_text() == "0 of 60 scores shown"


def test_a_record_is_opened_and_closed_by_keyboard(opened: Any) -> None:
    link = opened.locator("td a").first
    link.focus()
    opened.keyboard.press("Enter")
    dialog = opened.locator("dialog[open]")
    assert dialog.count() == 1
    text = dialog.inner_text()
    for part in ("What was run", "fingerprint", "versions", "command", "Grid of learning rates", "All scores", "split"):
        assert part.lower() in text.lower(), part
    assert opened.evaluate("document.activeElement.textContent") == "Close"
    opened.keyboard.press("Escape")
    assert opened.locator("dialog[open]").count() == 0
    assert opened.evaluate("document.activeElement.closest('td') !== null"), "the focus goes back to the score"
    link.click()
    assert opened.locator("dialog[open]").count() == 1, "it can be opened again"


def test_an_address_opens_a_record(opened: Any) -> None:
    anchor = opened.locator("td a").nth(3).get_attribute("href")
    opened.goto(opened.url.partition("#")[0] + anchor)
    opened.reload()
    assert opened.locator("dialog[open]").count() == 1


@pytest.mark.parametrize("opened", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_a_phone_loses_nothing_to_the_side(opened: Any) -> None:
    width = "document.documentElement.scrollWidth"
    assert opened.evaluate(width) == 360
    outside = "[...document.querySelectorAll('main td *')].filter(e => e.getBoundingClientRect().right > 361).length"
    assert opened.evaluate(outside) == 0
    opened.locator('section[data-protocol="clean"] .sorting select').select_option(index=1)
    assert opened.locator(f"{COLUMNS}[aria-sort=descending]").count() == 1
    opened.locator("td a").first.click()
    assert opened.locator("dialog[open]").count() == 1
    assert opened.evaluate(width) == 360


@pytest.mark.parametrize("opened", [{"color_scheme": "dark"}], indirect=True)
def test_dark_as_the_system_is_and_a_switch(opened: Any) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    dark = opened.evaluate(back)
    opened.get_by_role("button", name="Light").click()
    assert opened.evaluate(back) == "rgb(255, 255, 255)" != dark


@pytest.mark.parametrize(
    "opened", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}], indirect=True
)
def test_no_accessibility_rule_is_broken(opened: Any, few: str) -> None:
    opened.goto(few)
    assert_accessible(opened)
    opened.locator("td a").first.click()
    assert_accessible(opened)


def assert_accessible(page: Any) -> None:
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_it_prints(opened: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.pdf"
    opened.pdf(path=path, prefer_css_page_size=True)
    assert path.read_bytes().startswith(b"%PDF")
    opened.emulate_media(media="print")
    assert not opened.locator("#filters").is_visible()
    assert opened.locator("section.protocol table").first.is_visible()


@pytest.mark.parametrize("opened", [{"java_script_enabled": False}], indirect=True)
def test_without_javascript_it_is_a_table_whose_scores_lead_to_records(opened: Any) -> None:
    assert not opened.locator("#filters").is_visible()
    assert opened.locator("section.protocol table").first.is_visible()
    link = opened.locator("td a").first
    link.click()
    assert opened.locator(link.get_attribute("href")).is_visible()
