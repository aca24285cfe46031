"""Two records of one run, compared: what went in, and what came out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from downstream.replaying.outcomes import PredictionsCompared, predictions_compared, weights_compared
from downstream.results import Result, Score
from downstream.tasks import Family

SHOWN = 12  # characters of a digest
MACHINE = ("system", "processor", "device", "gpu", "threads")  # keys of `Result.environment`
CODE = ("git", "wavprobe")


@dataclass(frozen=True)
class Line:
    """One thing that was compared. same: None where it is not known of one of the two."""

    what: str
    recorded: str
    again: str
    same: bool | None


@dataclass(frozen=True)
class Comparison:
    """What went into two runs, and what came out of them.

    inputs: data, weights, settings, code, versions and machine. outcomes: heads, predictions and scores.
    is_identical: True where all scores are equal to the last bit, and all predictions that the record has.
    """

    inputs: tuple[Line, ...]
    outcomes: tuple[Line, ...]
    scores_are_identical: bool
    predictions: PredictionsCompared = field(repr=False)

    @property
    def is_identical(self) -> bool:
        return self.scores_are_identical and self.predictions.are_identical is not False

    @property
    def differing_inputs(self) -> list[str]:
        """What is known to differ of what went in."""
        return [line.what for line in self.inputs if line.same is False]

    @property
    def verdict(self) -> str:
        """The outcome in words: what is identical, and else what it may come from."""
        if self.is_identical:
            scores = "Identical: every score"
            if self.predictions.are_identical is None:
                return f"{scores}. The record has no predictions beside it to compare."
            return f"{scores} and every prediction."
        what = "predictions differ, and all scores are identical" if self.scores_are_identical else "scores differ"
        if causes := self.differing_inputs:
            return f"Not identical: {what}. What went in differs in {', '.join(causes)}."
        return (
            f"Not identical: {what}, and nothing that records hold of data, weights, settings, code, versions and "
            "machine does. What they do not hold is left: settings of the processor's libraries, other files of a "
            "family, a record whose numbers were not computed so."
        )


def compared(record: Result, again: Result, family: type[Family]) -> Comparison:
    """Compare a record with that of the same run computed again."""
    predictions = predictions_compared(record, again, family)
    scores, identical = scores_compared(record, again)
    return Comparison(
        inputs=tuple(inputs_compared(record, again)),
        outcomes=(
            choice_compared(record, again),
            weights_line(record, again),
            *predictions_lines(predictions),
            *scores,
        ),
        scores_are_identical=identical,
        predictions=predictions,
    )


# ---------------------------------------------------------------- what went in


def inputs_compared(record: Result, again: Result) -> Iterator[Line]:
    """Yield data, weights, settings, states, code, versions and machine."""
    yield of_values("data", record.corpus.fingerprint[:SHOWN], again.corpus.fingerprint[:SHOWN])
    yield of_values("utterances", record.corpus.used.utterances, again.corpus.used.utterances)
    yield of_values("weights of the upstream", record.upstream.fingerprint[:SHOWN], again.upstream.fingerprint[:SHOWN])
    yield of_values("precision", record.upstream.dtype, again.upstream.dtype)
    yield of_values("settings, with data and weights", *map(settings_digest, (record, again)))
    yield of_values("states", *(f"{one.states.mode}, {one.states.codec}" for one in (record, again)))
    own, other = record.environment, again.environment
    named = [name for name in {**own, **other} if name not in MACHINE]
    for name in (*CODE, *(name for name in named if name not in CODE), *MACHINE):
        if name in own or name in other:
            yield of_values(name, *(short(name, one.get(name)) for one in (own, other)))


def short(name: str, value: str | None) -> str | None:
    """Return a value of the environment; of a commit its first digits, and whether files were changed."""
    if name != "git" or value is None:
        return value
    commit, dash, changed = value.partition("-")
    return f"{commit[:SHOWN]}{dash}{changed}"


def settings_digest(record: Result) -> str:
    """Return the digest of all that heads depend on; data and weights are in it too."""
    return record.learned[:SHOWN]


def of_values(what: str, recorded: object, again: object) -> Line:
    """Return a line for two values, of which None is not known."""
    known = recorded is not None and again is not None
    own, other = ("not known" if one is None else str(one) for one in (recorded, again))
    return Line(what, own, other, recorded == again if known else None)


# ---------------------------------------------------------------- what came out


def choice_compared(record: Result, again: Result) -> Line:
    """Return the line on what development chose: rate, layer and step of every head."""
    own, other = (
        {(head.fold, head.seed, head.setting): (head.lr, head.layer, head.step) for head in one.heads}
        for one in (record, again)
    )
    equal = sum(other.get(key) == value for key, value in own.items())
    same = own == other
    return Line("choices of development", f"{len(own)} heads", f"{equal} the same", same)


def weights_line(record: Result, again: Result) -> Line:
    """Return the line on the weights of heads."""
    found = weights_compared(record, again)
    if found is None:
        return Line("weights of heads", "not beside it", "", None)
    difference = f", largest difference {found.largest:.2g}" if found.largest else ""
    return Line(
        "weights of heads", f"{found.heads} heads", f"{found.equal} the same{difference}", found.equal == found.heads
    )


def predictions_lines(found: PredictionsCompared) -> Iterator[Line]:
    """Yield a line for each kind of file of predictions, and one for the answers in them."""
    for kind in found.files:
        again = f"{kind.lines - kind.differing} the same" + (" (columns of both)" if kind.of_common_columns else "")
        yield Line(kind.name, f"{kind.lines} lines", again, kind.differing == 0)
    if found.answers is not None:
        items, changed = found.answers
        yield Line("answers", f"{items} items", f"{items - changed} the same", changed == 0)
    if not found.files:
        yield Line("predictions", "not beside it", "", None)


def scores_compared(record: Result, again: Result) -> tuple[list[Line], bool]:
    """Return a line for each score and its interval, and whether all scores are identical."""
    found = {(layer.layer, score.part, score.metric): score for layer in again.layers for score in layer.scores}
    lines, identical = [], True
    for layer in record.layers:
        for score in layer.scores:
            other = found.get((layer.layer, score.part, score.metric))
            metric = record.metric_types[score.metric]
            where = "" if layer.layer is None else f", layer {layer.layer}"
            what = f"{metric.heading} on {score.part}{where}"
            if other is None:
                lines.append(Line(what, metric.written(score.value), "none", same=False))
                identical = False
                continue
            same = score.value == other.value and score.by_seed == other.by_seed
            identical &= same
            difference = "" if same else f" ({metric.scale * (other.value - score.value):+.3g})"
            lines.append(Line(what, metric.written(score.value), f"{metric.written(other.value)}{difference}", same))
            if score.interval == other.interval and (score.low, score.high) != (other.low, other.high) and same:
                lines.append(Line(f"interval of {what}", ends(score), ends(other), same=False))
    return lines, identical


def ends(score: Score) -> str:
    """Return the ends of an interval."""
    return f"{score.low} to {score.high}"
