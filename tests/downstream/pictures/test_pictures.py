"""Pictures are the same bytes whenever and wherever they are drawn, and show letters of any language."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import matplotlib
import pytest
from places import REPOSITORY

from downstream.pictures import Picture, drawable, fonts, legend_below
from downstream.pictures.fonts import families_for


def line(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], label="one")
    legend_below(figure)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_same_picture_has_the_same_bytes_in_another_process(ending: str) -> None:
    own = Picture("line", (2, 2), line).rendered(ending)
    lines = (
        "import sys\nsys.path.insert(0, 'tests/downstream/pictures')\nfrom test_pictures import line\n"
        "from downstream.pictures import Picture\n"
        f"sys.stdout.buffer.write(Picture('x', (2, 2), line).rendered({ending!r}))"
    )
    environment = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests", "PATH": "", "HOME": "/nonexistent"}
    again = subprocess.run(
        [sys.executable, "-c", lines], cwd=REPOSITORY, env=environment, capture_output=True, check=True
    )
    assert again.stdout == own
    assert b"Date" not in own
    assert b"date" not in own


def test_neither_what_the_user_has_set_matters_nor_is_it_changed() -> None:
    plain = Picture("line", (2, 2), line).rendered()
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9}):
        assert Picture("line", (2, 2), line).rendered() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_letters_are_looked_for_in_other_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert families_for("радость, χαρά, naïve") == ["DejaVu Sans"]
    known = {"DejaVu Sans": "abc", "One": "喜", "Two": "喜び"}
    monkeypatch.setattr(fonts, "characters_of", lambda family: frozenset(map(ord, known[family])))
    monkeypatch.setattr(fonts, "other_families", lambda: ("One", "Two"))
    assert families_for("abc") == ["DejaVu Sans"]
    assert families_for("a喜び") == ["DejaVu Sans", "One", "Two"]


def test_labels_without_a_font_are_numbered(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(fonts, "other_families", lambda: ())
    with caplog.at_level(logging.WARNING, "wavprobe"):
        assert drawable(["joy", "喜び"]) == ["joy", "#2"]
    assert "No font here has the letters of '喜び'" in caplog.text


def test_the_font_of_boxes_is_none() -> None:
    assert not [name for name in fonts.other_families() if "Last Resort" in name]
