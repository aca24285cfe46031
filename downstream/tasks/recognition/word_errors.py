"""Errors of recognised words and characters: counts that add up, and a readable report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downstream.tasks.evaluation import one_field

if TYPE_CHECKING:
    from jiwer import CharacterOutput, WordOutput

LINE_WIDTH = 100  # characters of a line of an alignment


@dataclass(frozen=True)
class ErrorCounts:
    """Errors of the minimum edit distance to the reference; counts of several utterances add up.

    reference_length: words or characters of the reference.
    """

    substitutions: int
    deletions: int
    insertions: int
    reference_length: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per word (character) of the reference: WER (CER); above 1 with many insertions.

        With an empty reference it is 0 if the hypothesis is empty too, else infinite.
        """
        if self.reference_length == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.reference_length

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_length + other.reference_length,
        )


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Return the sum of counts; its rate is the usual word error rate, also SUPERB's: all errors over all words."""
    return sum(counts, ErrorCounts(0, 0, 0, 0))


def count_words(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Return the word errors of each utterance (Levenshtein); words are separated by whitespace.

    An empty hypothesis deletes every word; with an empty reference every word is an insertion, which counts in the
    total without adding reference words. Case and punctuation count: normalise before.
    """
    return counts_of(aligned_words(references, hypotheses)) if references else []


def count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[ErrorCounts]:
    """Return the character errors of each utterance; a space between words is a character; else as `count_words`."""
    import jiwer

    output = jiwer.process_characters(single_spaced(references), single_spaced(hypotheses))
    return counts_of(output) if references else []


# Counters of errors, by metric.
COUNTERS = {"wer": count_words, "cer": count_characters}


def aligned_words(references: Sequence[str], hypotheses: Sequence[str]) -> WordOutput:
    """Return jiwer's alignment of every utterance."""
    import jiwer

    return jiwer.process_words(single_spaced(references), single_spaced(hypotheses))


def single_spaced(texts: Sequence[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def counts_of(output: WordOutput | CharacterOutput) -> list[ErrorCounts]:
    """Return the errors of each utterance that jiwer found."""
    counts = []
    for reference, chunks in zip(output.references, output.alignments, strict=True):
        sizes: Counter[str] = Counter()
        for chunk in chunks:
            length = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            sizes[chunk.type] += length
        counts.append(ErrorCounts(sizes["substitute"], sizes["delete"], sizes["insert"], len(reference)))
    return counts


def error_report(ids: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], shown: int = 20) -> str:
    """Return a readable report: rates, the most frequent errors, and the utterances with most errors, aligned.

    ids: the name of each utterance; shown: the lines of each list, and the utterances, at most.
    """
    output = aligned_words(references, hypotheses)
    words, characters = count_words(references, hypotheses), count_characters(references, hypotheses)
    right = sum(own.errors == 0 for own in words)
    lines = [
        rate_lines("WER", "words", total(words)),
        rate_lines("CER", "characters", total(characters)),
        f"Utterances {len(ids)}, without a word error {right} ({percent(right, len(ids))}).\n",
        *frequency_lines(output, shown),
    ]
    worst = sorted((index for index, own in enumerate(words) if own.errors), key=lambda index: -words[index].errors)
    if worst:
        lines.append("Utterances with most word errors (S substituted, D deleted, I inserted)\n")
    for index in worst[:shown]:
        own = words[index]
        heading = f"{ids[index]}: word errors {own.errors}, words in the reference {own.reference_length}"
        lines.append(f"{heading}\n{alignment(references[index], hypotheses[index])}")
    return "\n".join(lines)


def rate_lines(name: str, units: str, counts: ErrorCounts) -> str:
    """Return a rate, and of each kind of error the number, its share of all errors, and its rate."""
    rate = percent(counts.errors, counts.reference_length)
    lines = [f"{name} {rate}: {counts.errors} errors, {counts.reference_length} {units} in the references"]
    for kind in ("substitutions", "deletions", "insertions"):
        number: int = getattr(counts, kind)
        share, own_rate = percent(number, counts.errors), percent(number, counts.reference_length)
        lines.append(f"  {kind:<13} {number:>8} {share:>9} of the errors {own_rate:>9} of the {units}")
    return "\n".join(lines) + "\n"


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def frequency_lines(output: WordOutput, shown: int) -> list[str]:
    """Return lists of the most frequent substitutions, deletions and insertions of words."""
    confused: Counter[str] = Counter()
    deleted: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    for reference, hypothesis, chunks in zip(output.references, output.hypotheses, output.alignments, strict=True):
        for chunk in chunks:
            said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            recognised = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type == "substitute":
                confused.update(f"{one} -> {other}" for one, other in zip(said, recognised, strict=True))
            elif chunk.type == "delete":
                deleted.update(said)
            elif chunk.type == "insert":
                inserted.update(recognised)
    lists = {
        "Most confused words (reference -> hypothesis)": confused,
        "Most deleted words": deleted,
        "Most inserted words": inserted,
    }
    return [most_frequent(heading, counts, shown) for heading, counts in lists.items() if counts]


def most_frequent(heading: str, counts: Counter[str], shown: int) -> str:
    """Return a list, the most frequent first, ties in alphabetical order."""
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    lines = [f"{number:>6}  {entry}" for entry, number in ordered[:shown]]
    more = [f"        and {len(ordered) - shown} more"] if len(ordered) > shown else []
    return "\n".join([heading, *lines, *more]) + "\n"


def alignment(reference: str, hypothesis: str) -> str:
    """Return the reference above the hypothesis, aligned by jiwer."""
    import jiwer

    drawn = jiwer.visualize_alignment(
        aligned_words([reference], [hypothesis]), show_measures=False, line_width=LINE_WIDTH
    )
    _, _, lines = drawn.partition("\n\n")  # what comes before is a heading that counts utterances
    return "\n".join(f"  {line}".rstrip() for line in lines.splitlines()) + "\n"


def transcript_lines(ids: Sequence[str], texts: Sequence[str]) -> str:
    """Return a transcript file in Kaldi's format: a line "ID TEXT" per utterance, in the order given.

    Ids are written by `one_field`, because the first space of a line ends its id.
    """
    lines = (one_field(name) + " " + " ".join(text.split()) for name, text in zip(ids, texts, strict=True))
    return "".join(f"{line.rstrip()}\n" for line in lines)
