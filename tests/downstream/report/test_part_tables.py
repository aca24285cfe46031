"""Tables of records with several test parts: each score under its metric and its part."""

from __future__ import annotations

import io

from chosen_heads import classification_run, fit, verification_run
from rich.console import Console
from rich.table import Table

from downstream.data.splits import Fold
from downstream.report.tables import fold_table, heading_of, score_table, tables_of
from downstream.results.build import build_record
from downstream.results.record import Result, Score
from downstream.training.sweep import Chosen

PUBLISHED = Fold("published", (0, 1), (), tuple(range(2, 80)))


def columns_of(table: Table) -> dict[str, list[str]]:
    """The cells of each column, by its heading."""
    return {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}


def shown(result: Result) -> str:
    console = Console(file=io.StringIO(), width=200)
    for table in tables_of(result):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def interval_of(score: Score, factor: float, digits: int) -> str:
    assert score.low is not None
    assert score.high is not None
    return f"{factor * score.low:.{digits}f} to {factor * score.high:.{digits}f}"


def test_a_metric_whose_name_has_underscores_stands_under_its_second_part() -> None:
    result = build_record(verification_run("far", "close"))
    columns = columns_of(fold_table(result))
    assert list(columns)[:7] == [
        "fold", "EER", "minDCF\n0.01", "minDCF\n0.05", "EER\nclose", "minDCF 0.01\nclose", "minDCF 0.05\nclose",
    ]  # fmt: skip
    score = result.layers[0].score("min_dcf_0.01", "close")
    assert columns["minDCF 0.01\nclose"] == [f"{score.value:.4f}"]
    assert columns["EER\nclose"] == [f"{100 * result.layers[0].score('eer', 'close').value:.2f}"]
    assert columns["EER"] == [f"{100 * result.primary.value:.2f}"]
    assert heading_of(result.metric_types["min_dcf_0.01"], "far", result) == "minDCF\n0.01"


def test_every_score_has_a_row_with_its_part_interval_and_chance() -> None:
    result = build_record(verification_run("far", "close"))
    table = score_table(result)
    columns = columns_of(table)
    assert columns["metric"] == ["EER, %", "minDCF 0.01", "minDCF 0.05"] * 2
    assert columns["test part"] == ["far"] * 3 + ["close"] * 3
    for row, score in enumerate(result.layers[0].scores):
        factor, digits = (100, 2) if score.metric == "eer" else (1, 4)
        assert columns["value"][row] == f"{factor * score.value:.{digits}f}"
        assert columns["95 % interval"][row] == interval_of(score, factor, digits)
        assert columns["chance"][row] == ("50.00" if score.metric == "eer" else "1.0000")
    assert [row.style for row in table.rows] == ["bold", *[""] * 5]


def test_a_familys_own_tables_are_of_the_first_part() -> None:
    of_trials = shown(build_record(verification_run("far", "close")))
    assert "trials    all pairs of u6 to u11" in of_trials
    assert "all pairs of u0 to u5" not in of_trials
    run = classification_run([PUBLISHED], [Chosen(None, fit(0, 0, None))], ["split.test=[noisy, clean]"])
    result = build_record(run)
    confusions = next(table for table in tables_of(result) if str(table.title).startswith("true class"))
    assert isinstance(confusions, Table)
    counted = columns_of(confusions)["count"]
    assert sum(map(int, counted)) == result.folds[0].parts["noisy"].utterances
    assert "accuracy\nclean" in columns_of(fold_table(result))


def test_one_part_has_no_name_over_its_columns() -> None:
    result = build_record(verification_run())
    assert list(columns_of(fold_table(result)))[:5] == ["fold", "EER", "minDCF\n0.01", "minDCF\n0.05", "chance"]
    assert columns_of(score_table(result))["test part"] == ["test"] * 3
