"""What may have been meant by a name that there is not: the one rule for every suggestion."""

from __future__ import annotations

from collections.abc import Iterable

LETTERS_A_SLIP = 5  # one slip of the finger is forgiven in this many letters, so none in text for test
SHORTEST_BEGINNING = 3  # letters that may stand for a longer name
LONGEST = 80  # characters of a name that are looked at
MOST = 5  # names of one suggestion; more are no help


def plain(name: str) -> str:
    """Return the letters and digits of a name, in small letters: "WavLM-Base+" and "wavlm_base_plus" are the same."""
    return "".join(filter(str.isalnum, name.casefold().replace("+", "plus")))


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return those of the known names that `name` may stand for, mostly one; none rather than a wrong one.

    It may be another spelling of a name (`plain`); else a slip of the finger, which is a letter that is missing, too
    many, another one or swapped with its neighbour, one in five letters; else the beginning of a name, which comes
    before a slip in the first letter: mhubert begins mhubert_147 and is no slip for hubert. Another number is another
    thing and no slip: wav2vec3 does not stand for wav2vec2.
    """
    typed = plain(name[:LONGEST])
    written = {one: spelling for one in known if (spelling := plain(one))} if typed else {}
    same = [one for one, spelling in written.items() if spelling == typed]
    longer = [one for one, spelling in written.items() if spelling.startswith(typed)]
    longer = longer if len(typed) >= SHORTEST_BEGINNING else []
    slipped = slips(typed, written)
    begun = [one for one in slipped if written[one][0] == typed[0]]
    return (same or begun or longer or slipped)[:MOST]


def slips(typed: str, written: dict[str, str]) -> list[str]:
    """Return the names that differ least from what was typed, and by no more than slips of the finger.

    written: name -> its plain spelling.
    """
    from rapidfuzz.distance import OSA  # counts two swapped neighbours as one slip

    found = {}
    for one, spelling in written.items():
        allowed = max(len(typed), len(spelling)) // LETTERS_A_SLIP
        count = OSA.distance(typed, spelling, score_cutoff=allowed)  # more than allowed where it is not that near
        if count <= allowed and digits(typed) == digits(spelling):
            found[one] = count
    least = min(found.values(), default=0)
    return [one for one, count in found.items() if count == least]


def digits(spelling: str) -> str:
    """Return the digits of a name, in order."""
    return "".join(filter(str.isdigit, spelling))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean x?", or nothing where no known name is near."""
    near = nearest(name, known)
    return f"Did you mean {either(near)}?" if near else ""


def either(names: list[str]) -> str:
    """Return names as a choice: "a", "a or b", "a, b or c"."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
