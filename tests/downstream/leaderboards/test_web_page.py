"""The page as a file: sound HTML, nothing from outside, nothing of a record carried out, the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element

import html5lib
import pytest
from many_records import board, many, varied

from downstream.leaderboards.csv_table import csv_of
from downstream.leaderboards.markdown import markdown_of
from downstream.leaderboards.web_page import digest, page_of
from downstream.results.record import Result

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>|=1+1`*_"
TEXT = ("title", "licence", "source", "split_rule", "coverage", "label_column")


def parsed(page: str) -> Element:
    """Return the document; raises ParseError for HTML that is not sound."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    document = parser.parse(page)
    assert isinstance(document, Element)
    return document


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(board(*many(60)), "Sixty")


@pytest.fixture(scope="module")
def document(page: str) -> Element:
    return parsed(page)


def hostile() -> Result:
    """A record whose every text is hostile."""
    content = varied(recipe="keyword").model_dump(mode="json", by_alias=True)
    content["upstream"] |= {"name": HOSTILE, "source": HOSTILE, "notes": [HOSTILE], "format": HOSTILE}
    content["corpus"] |= dict.fromkeys(TEXT, HOSTILE) | {"notes": [HOSTILE]}
    content["caveats"], content["command"], content["environment"] = [HOSTILE], HOSTILE, {"python": HOSTILE}
    content["recipe"]["overrides"] = [f"head.kind={HOSTILE}"]
    content["recipe"]["resolved"]["title"] = HOSTILE
    content["metric_types"]["accuracy"]["title"] = HOSTILE
    for score in content["layers"][0]["scores"]:
        score["interval"] = HOSTILE
    return Result.model_validate(content)


def test_nothing_of_a_record_is_carried_out() -> None:
    document = parsed(page_of(board(hostile()), HOSTILE))
    assert len(list(document.iter("script"))) == 1
    assert not list(document.iter("img"))
    attributes = {name for element in document.iter() for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on")]
    names = [th.findtext("span") for th in document.iter("th") if th.get("scope") == "row"]
    assert any(name is not None and "<script>" in name for name in names), "it is shown as it is"


def test_only_its_own_style_and_script_may_act(document: Element) -> None:
    (policy,) = [one.get("content") or "" for one in document.iter("meta") if one.get("http-equiv")]
    (script,), (style,) = document.iter("script"), document.iter("style")
    assert script.text is not None
    assert style.text is not None
    assert policy.startswith("default-src 'none'")
    assert digest(script.text) in policy
    assert digest(style.text) in policy
    assert "unsafe" not in policy
    assert not [element.tag for element in document.iter() if "style" in element.attrib]


def test_nothing_comes_from_outside(page: str, document: Element) -> None:
    for element in document.iter():
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert element.get(name, "#").startswith("#"), (element.tag, element.attrib)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", page)


def test_tables_are_tables(document: Element) -> None:
    tables = [table for section in sections(document) for table in section.iter("table")]
    assert len(tables) == 3
    for table in tables:
        assert table.find("caption") is not None
        heads = next(iter(table.iter("thead"))).findall("./tr/th")
        assert all(head.get("scope") == "col" for head in heads)
        assert [head.get("aria-sort") for head in heads if head.get("aria-sort")] == ["descending"]
        for row in next(iter(table.iter("tbody"))).findall("tr"):
            assert [cell.tag for cell in row] == ["th", *["td"] * (len(heads) - 1)]
            assert row[0].get("scope") == "row"


def sections(document: Element) -> Iterator[Element]:
    return (one for one in document.iter("section") if one.get("class") == "protocol")


def test_every_score_leads_to_its_record(document: Element) -> None:
    ids = [element.get("id") for element in document.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = [link.get("href", "") for cell in document.iter("td") for link in cell.iter("a")]
    assert len(targets) == 60
    assert len(set(targets)) == 60
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_drawings_have_words(document: Element) -> None:
    drawings = list(document.iter("{http://www.w3.org/2000/svg}svg"))
    assert drawings
    for drawing in drawings:
        assert drawing.get("aria-hidden") == "true" or len(drawing.get("aria-label", "")) > 20


def test_controls_synthetic_speech_and_what_was_not_run_are_marked(page: str, document: Element) -> None:
    text = "".join(document.itertext())
    assert "untrained" in text
    assert "synthetic speech" in text
    assert "not run" in text
    assert "published 96.30" in text


@pytest.mark.parametrize("count", [0, 1, 5])
def test_few_records_make_a_page_too(count: int) -> None:
    document = parsed(page_of(board(*many(count)), "Few"))
    assert len([link for cell in document.iter("td") for link in cell.iter("a")]) == count


def test_the_same_records_give_the_same_bytes() -> None:
    boards = (board(*many(12)), board(*many(12)))
    written = [(page_of(one, "x"), markdown_of(one, "x"), csv_of(one)) for one in boards]
    assert written[0] == written[1]


def test_markdown_shows_hostile_text_as_text() -> None:
    text = markdown_of(board(hostile()), HOSTILE)
    assert "<script" not in text
    assert "<img" not in text
    widths = {
        len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if "&lt;script" in line and line[0] == "|"
    }
    assert len(widths) == 1, "a bar in a name begins no cell"


def test_csv_holds_no_formula() -> None:
    content = varied(upstream="=HYPERLINK(1)")
    assert "\n=" not in csv_of(board(content))
    assert ",'=HYPERLINK(1)," in csv_of(board(content))
