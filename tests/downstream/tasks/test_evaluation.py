"""Ids of utterances as fields of files."""

from __future__ import annotations

from urllib.parse import unquote

from downstream.tasks.evaluation import one_field


def test_ids_of_one_field_differ_as_ids_do_and_can_be_read_back() -> None:
    names = ["a b", "a_b", "a%20b", "a  b", "a\tb", "a\u00a0b", "100%", "5% off", "%zz", "é/1.wav", "s1/low1.wav"]
    written = [one_field(name) for name in names]
    assert len(set(written)) == len(names)
    assert all(len(one.split()) == 1 for one in written)
    assert [unquote(one) for one in written] == names
    assert (written[0], written[2], written[6], written[-1]) == ("a%20b", "a%2520b", "100%", "s1/low1.wav")
