"""Numbers on the command line: each type names what it expects."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import pytest

from upstream.arguments import count, folder, layer, not_negative, positive, whole_number


@pytest.mark.parametrize("kind", [not_negative, positive, count, whole_number, layer])
@pytest.mark.parametrize(
    "text", ["", "x", "\udce9", "9" * 5_000, "1e400", "nan", "inf", "1e300", "99999999999999999999"]
)
def test_no_type_takes_what_is_no_number_or_has_no_use(kind: Callable[[str], float], text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not (a|the) "):
        kind(text)


def test_a_folder_without_a_name_is_refused() -> None:
    """As of --results "$RESULTS" where the variable is not set: it would be the working directory."""
    assert folder("a b") == Path("a b")
    with pytest.raises(ArgumentTypeError, match="type . for the current one"):
        folder("")


def test_their_ends() -> None:
    assert (not_negative("0"), positive("1e-3"), count("1"), whole_number("0"), layer("-1")) == (0, 0.001, 1, 0, -1)
    assert (count("1000000000000"), whole_number(str(2**63 - 1))) == (10**12, 2**63 - 1)
    for kind, text in ((not_negative, "-1"), (positive, "0"), (count, "0"), (whole_number, str(2**63)), (layer, "1e1")):
        with pytest.raises(ArgumentTypeError):
            kind(text)


def test_all_layers_are_no_layer() -> None:
    with pytest.raises(ArgumentTypeError, match="sweep.layer=all"):
        layer("all")
