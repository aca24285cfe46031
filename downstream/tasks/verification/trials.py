"""Verification trials, read from a list or drawn."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from downstream.data import AUDIO_SUFFIXES, read_lines
from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files
from upstream.text import counted

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Trials:
    """N pairs of utterances, each of one speaker (a target) or of two.

    enrolment, test: (N,) int64, utterance indices; target: (N,) bool.
    rule: a sentence on the list that they come from, or on the draw.
    """

    enrolment: Tensor
    test: Tensor
    target: Tensor
    rule: str

    def __len__(self) -> int:
        return len(self.target)

    @property
    def utterances(self) -> Tensor:
        """The distinct utterance indices that occur, sorted."""
        return torch.from_numpy(np.unique(torch.cat([self.enrolment, self.test]).numpy()))


# ------------------------------------------------------------ a published list


@dataclass(frozen=True)
class Spelling:
    """Line format of a trial list: three fields, one of them the label of a target."""

    example: str
    label: int  # the field
    labels: Mapping[str, bool]

    def fits(self, fields: Sequence[str]) -> bool:
        return len(fields) == 3 and fields[self.label] in self.labels


# Kaldi's comes first: its enrolment id may be "1", but no test utterance is called "target".
SPELLINGS = (
    Spelling("ENROLMENT TEST target|nontarget", 2, {"target": True, "nontarget": False}),
    Spelling("1|0 ENROLMENT TEST", 0, {"1": True, "0": False}),
)


def read_trials(path: Path, index: Mapping[str, int]) -> Trials:
    """Return the trials of a list, in its order, in VoxCeleb's format ("1 a b") or Kaldi's ("a b target").

    Fields are separated by single tabs where a line has two, else by any white space; in an id without tabs around it a
    blank is written as %20. index: utterance id -> utterance index. An id of the list is looked up as it stands, then
    without its audio suffix or with another one. Raises UserError where a line is in neither format or not in that of
    the first, where utterances are unknown, and where there are no targets or no non-targets.
    """
    numbers: dict[str, int] = {}  # of the distinct ids, in order of appearance
    enrolment, test, target = array("q"), array("q"), array("b")
    for first, second, is_target in parsed(read_lines(path), path):
        enrolment.append(numbers.setdefault(first, len(numbers)))
        test.append(numbers.setdefault(second, len(numbers)))
        target.append(is_target)
    targets = sum(target)
    if not 0 < targets < len(target):
        raise UserError(
            f"{path} has {counted(len(target), 'trial')}, {targets} of them targets; error rates need targets and "
            "non-targets. Check that it is the whole list."
        )
    utterances = looked_up(list(numbers), index, path)
    return Trials(
        enrolment=utterances[torch.tensor(enrolment)],
        test=utterances[torch.tensor(test)],
        target=torch.tensor(target, dtype=torch.bool),
        rule=f"The list {path.name} as it stands: {len(target)} trials, {targets} of them targets "
        f"(sha256 {fingerprint_files([path])[:16]}).",
    )


def parsed(lines: Sequence[str], path: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield enrolment id, test id and whether it is a target, for each line that is not blank.

    Raises UserError for a line in no known format, or not in that of the lines before.
    """
    spelling = None
    for number, line in enumerate(lines, 1):
        fields = fields_of(line)
        if not fields:
            continue
        if spelling is None:
            spelling = next((known for known in SPELLINGS if known.fits(fields)), None)
        if spelling is None or not spelling.fits(fields):
            raise UserError(misspelt(path, number, line, spelling))
        is_target = spelling.labels[fields.pop(spelling.label)]
        yield fields[0], fields[1], is_target


def fields_of(line: str) -> list[str]:
    """Return the fields of a line, which two tabs or else any white space separate."""
    return [field.strip() for field in line.split("\t")] if line.count("\t") == 2 else line.split()


def misspelt(path: Path, number: int, line: str, spelling: Spelling | None) -> str:
    """Return the message on a line that is not in the format `spelling`, or in no known one (None)."""
    found, fields = f"Line {number} of {path} is {line.strip()[:200]!r}", fields_of(line)
    if any(known.fits([fields[0], "", fields[-1]]) for known in SPELLINGS) and len(fields) > 3:
        return (
            f"{found}, with {len(fields)} fields instead of three: ids with blanks cannot be told apart. Separate the "
            "fields by tabs, or write %20 for a blank in an id."
        )
    if spelling is None:
        wanted = " or ".join(repr(known.example) for known in SPELLINGS)
        return f"{found}; expected {wanted}. Check that it is a trial list."
    if any(known.fits(fields) for known in SPELLINGS):
        return f"{found}, but its first line has the format {spelling.example!r}. Write all lines in one format."
    return f"{found}; expected {spelling.example!r} as in the lines before. Fix or remove the line."


def looked_up(ids: Sequence[str], index: Mapping[str, int], path: Path) -> Tensor:
    """Return the utterance index of each id, (I,).

    Raises UserError for unknown ids.
    """
    found = [next((index[name] for name in spellings_of(id_) if name in index), None) for id_ in ids]
    unknown = [id_ for id_, utterance in zip(ids, found, strict=True) if utterance is None]
    if unknown:
        example = f", where ids are written as {next(iter(index))!r}" if index else ", which is empty"
        raise UserError(
            f"{len(unknown)} of the {len(ids)} utterances in {path} are not in the test part of the corpus"
            f"{example}; the first is {unknown[0]!r}. Check that list and corpus belong together and that all of the "
            "corpus's data are there."
        )
    return torch.tensor([utterance for utterance in found if utterance is not None])


def spellings_of(id_: str) -> Iterator[str]:
    """Yield an id as it is, without its audio suffix, and with each known one; then with its %20 as blanks."""
    for name in dict.fromkeys([id_, unquote(id_)]):
        yield name
        stem = next((name.removesuffix(suffix) for suffix in AUDIO_SUFFIXES if name.endswith(suffix)), name)
        yield stem
        for suffix in AUDIO_SUFFIXES:
            yield stem + suffix


# ------------------------------------------------------------ drawn trials


def draw_trials(
    speakers: Sequence[str], genders: Sequence[str | None], utterances: Sequence[int], most: int, seed: int
) -> Trials:
    """Return trials among `utterances`: same-speaker pairs, and as many different-speaker pairs.

    All pairs of a speaker's utterances are targets; where there are more than most // 2, that many are drawn.
    As many pairs of different speakers are drawn as non-targets (all, where there are fewer): speakers of the same
    gender, who are harder to tell apart, where every speaker has one and such pairs exist. All draws are without
    replacement, no pair occurs twice, and the order of `utterances` does not matter.

    speakers, genders: by utterance index; utterances: the indices that may be used; most: trials in all.
    Raises UserError where `most` is below two, there are fewer than two speakers, or none has two utterances.
    """
    if most < 2:
        raise UserError(f"{most} trials are too few: ask for two or more, a target and a non-target.")
    by_gender = gender_of_speakers(speakers, genders, utterances)
    ordered = sorted(set(utterances), key=lambda which: (by_gender.get(speakers[which], ""), speakers[which], which))
    indices = np.array(ordered, dtype=np.int64)
    speaker_ends = ends_of_runs([speakers[which] for which in ordered])
    same = PairSet(indices, np.arange(len(indices)) + 1, speaker_ends)
    different = PairSet(indices, speaker_ends, ends_of_runs([by_gender.get(speakers[w], "") for w in ordered]))
    kind = "of different speakers of the same gender" if by_gender else "of different speakers"
    if by_gender and not different.total:
        different = PairSet(indices, speaker_ends, np.full_like(speaker_ends, len(indices)))
        kind = "of different speakers, all of different genders"
    check_drawable(ordered, len({speakers[which] for which in ordered}), same.total)

    generator = np.random.default_rng(seed)
    targets = same.drawn(min(most // 2, same.total), generator)
    nontargets = different.drawn(min(len(targets), different.total), generator)
    pairs = np.sort(np.concatenate([targets, nontargets]), axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return Trials(
        enrolment=torch.from_numpy(pairs[order, 0].copy()),
        test=torch.from_numpy(pairs[order, 1].copy()),
        target=torch.from_numpy(order < len(targets)),
        rule=f"{some(len(targets), same.total)} pairs of one speaker's utterances as targets and "
        f"{some(len(nontargets), different.total)} pairs {kind} as non-targets, drawn without replacement "
        f"(seed {seed}).",
    )


def some(number: int, total: int) -> str:
    return f"all {total}" if number == total else f"{number} of the {total}"


def gender_of_speakers(
    speakers: Sequence[str], genders: Sequence[str | None], utterances: Sequence[int]
) -> dict[str, str]:
    """Return the gender of every speaker; empty unless every one of them has exactly one."""
    told = {(speakers[which], genders[which]) for which in utterances}
    known = {speaker: gender for speaker, gender in told if gender is not None}
    return known if len(known) == len(told) else {}


def check_drawable(utterances: Sequence[int], num_speakers: int, num_targets: int) -> None:
    """Raise UserError where there is no target or no non-target to draw."""
    if num_speakers < 2 or num_targets == 0:
        found = "of one speaker" if num_speakers == 1 else f"of {num_speakers} speakers, none of whom has two"
        raise UserError(
            f"Trials need two speakers, and one of them with two utterances; there are {len(utterances)} utterances "
            f"{found}. Put more speakers into it."
        )


def ends_of_runs(values: Sequence[str]) -> IntArray:
    """Return the end (exclusive) of the run at each position; equal values must be adjacent."""
    ends = np.full(len(values), len(values), dtype=np.int64)
    for position in range(len(values) - 2, -1, -1):
        ends[position] = ends[position + 1] if values[position] == values[position + 1] else position + 1
    return ends


class PairSet:
    """Pairs of utterances, numbered without being listed: each utterance with those at first … last - 1.

    utterances: (U,) indices; first, last: (U,) positions among them; first beyond its own position.
    """

    def __init__(self, utterances: IntArray, first: IntArray, last: IntArray) -> None:
        self._utterances, self._first = utterances, first
        self._ends = np.cumsum(last - first)  # of the numbers that belong to each utterance
        self.total = int(self._ends[-1]) if len(utterances) else 0

    def drawn(self, count: int, generator: np.random.Generator) -> IntArray:
        """Return `count` distinct pairs, (count, 2) utterance indices."""
        numbers = np.sort(generator.choice(self.total, count, replace=False))
        one = np.searchsorted(self._ends, numbers, side="right")
        other = self._first[one] + numbers - (self._ends - np.diff(self._ends, prepend=0))[one]
        pairs: IntArray = self._utterances[np.stack([one, other], axis=1)]
        return pairs
