"""A table for a paper: upstreams by tasks, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from downstream.report import asked_of, flat, question_of
from downstream.results import Result, short_name
from upstream.errors import UserError

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {letter: f"\\{letter}" for letter in "&%$#_"}

TIE = r"\textsuperscript{=}"
Column = tuple[str, str]

RULE = (
    f"The best score of a task is bold; {TIE} marks scores whose 95\\,\\% interval overlaps its own, and which the "
    "intervals thus do not tell from it."
)


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def latex_table(results: Sequence[Result]) -> str:
    r"""Return a table of primary scores, a row an upstream and a column a recipe; it needs \usepackage{booktabs}.

    Raises UserError where two runs would stand in one cell, and where those of one column were not tested alike.
    """
    refuse_mixed_protocols(results)
    refuse_other_questions(results)
    rows = list(dict.fromkeys(row_of(result) for result in results))
    columns = list(dict.fromkeys(column_of(result) for result in results))
    cells: dict[tuple[str, Column], Result] = {}
    for result in results:
        where = row_of(result), column_of(result)
        if where in cells:
            raise UserError(
                f"{result.folder} and {cells[where].folder} are both runs of {where[0]} on {result.recipe.name}; a "
                "table has one score in each cell, so name one of them."
            )
        cells[where] = result
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption(results)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        *(rf"{first} & {' & '.join(others)} \\" for first, *others in zip(("upstream", ""), *columns, strict=True)),
        r"\midrule",
    ]
    best = {column: best_of([result for (_, other), result in cells.items() if other == column]) for column in columns}
    for row in rows:
        written = (written_cell(cells.get((row, column)), best[column]) for column in columns)
        lines.append(rf"{row} & {' & '.join(written)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def refuse_mixed_protocols(results: Sequence[Result]) -> None:
    """Raise UserError where some encoders were fine-tuned and others are frozen, whose scores no table mixes."""
    tuned = [result for result in results if result.finetuning is not None]
    frozen = [result for result in results if result.finetuning is None]
    if tuned and frozen:
        raise UserError(
            f"The encoder of {tuned[0].folder} was fine-tuned, and that of {frozen[0].folder} is frozen; make a table "
            "of each."
        )


def refuse_other_questions(results: Sequence[Result]) -> None:
    """Raise UserError where runs of one column differ in more than upstream, seeds and learning rates."""
    first: dict[Column, Result] = {}
    for result in results:
        other = first.setdefault(column_of(result), result)
        if question_of(result) != question_of(other):
            raise UserError(
                f"{result.folder} and {other.folder} are both runs of {result.recipe.name}, and differ in "
                f"{', '.join(differing(result, other))}; a column compares what was tested alike, so name runs of one."
            )


def differing(one: Result, other: Result) -> list[str]:
    """Return in what the questions of two runs differ, with the value of each."""
    own, others = ({**vars(question), **flat(question.settings)} for question in map(question_of, (one, other)))
    keys = [key for key in {**own, **others} if key != "settings" and own.get(key) != others.get(key)]
    return [f"{key} ({own.get(key, 'none')!s:.40} and {others.get(key, 'none')!s:.40})" for key in keys]


def row_of(result: Result) -> str:
    """Return the name of an upstream, and how it was read where that is not the recipe's way."""
    return escaped(", ".join((short_name(result.upstream.name), *asked_of(result).marks)))


def column_of(result: Result) -> Column:
    """Return the two lines above a column: the recipe; the corpus, the metric and its direction."""
    arrow = r"$\uparrow$" if result.primary.higher_is_better else r"$\downarrow$"
    title = result.metric_types[result.primary.name].title
    return escaped(result.recipe.name), rf"{{\scriptsize {escaped(f'{result.corpus.name}, {title}')} {arrow}}}"


def caption(results: Sequence[Result]) -> str:
    """Return what the table shows, and how it is to be read."""
    unit = " in percent" if all(result.metric_types[result.primary.name].percent for result in results) else ""
    intervals = "; ".join(sorted({escaped(result.primary.interval) for result in results}))
    learned = "encoders fine-tuned with their heads" if results[0].finetuning else "heads on frozen states"
    return f"Test scores{unit} of {learned}, with 95\\,\\% intervals ({intervals}). {RULE}"


def best_of(results: Sequence[Result]) -> Result:
    """Return the result with the best score of a column."""
    return max(results, key=lambda one: one.primary.value if one.primary.higher_is_better else -one.primary.value)


def written_cell(result: Result | None, best: Result) -> str:
    """Return a score with its interval; -- for what was not run."""
    if result is None:
        return "--"
    score, metric = result.primary, result.metric_types[result.primary.name]
    value = escaped(metric.written(score.value))
    if score.value == best.primary.value:
        value = rf"\textbf{{{value}}}"
    elif overlap(result, best):
        value += TIE
    if score.low is None or score.high is None:
        return value
    return rf"{value} {{\scriptsize [{metric.written(score.low)}, {metric.written(score.high)}]}}"


def overlap(one: Result, other: Result) -> bool:
    """Return True where the intervals of two scores overlap; False where one has none."""
    low, high = one.primary.low, one.primary.high
    other_low, other_high = other.primary.low, other.primary.high
    if low is None or high is None or other_low is None or other_high is None:
        return False
    return low <= other_high and other_low <= high
