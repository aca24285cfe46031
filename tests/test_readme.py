"""README.md: its numbers are generated, and it stays a front door."""

from __future__ import annotations

import json
from types import ModuleType

import pytest
from places import REPOSITORY, program_of_docs

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def numbers() -> ModuleType:
    return program_of_docs("readme_numbers")


def test_no_number_was_typed(numbers: ModuleType) -> None:
    kept = json.loads((REPOSITORY / "docs" / "numbers.json").read_text(encoding="utf-8"))
    assert numbers.filled(README, kept) == README, "run `python docs/readme_numbers.py`"
    assert all(text in README for text in numbers.blocks(kept).values())


def test_it_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 150
