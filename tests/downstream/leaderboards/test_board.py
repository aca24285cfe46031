"""What stands in one column, one row and one cell; merging of seeds; places with ties; published scores beside."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import pytest
from many_records import board, many, varied

from downstream.leaderboards.board import Board, Cell, Section
from downstream.leaderboards.labels import column_labels, row_labels
from downstream.leaderboards.overall import overall_lines, own_cells
from downstream.leaderboards.ranks import ranks_of
from downstream.report import read_reference_scores
from downstream.results.record import Result


def only(of: Board) -> Section:
    """The only table that has runs."""
    (section,) = [section for section in of.sections if section.was_run]
    return section


def cells_of(*results: Result) -> list[Cell]:
    section = only(board(*results))
    return [cell for column in section.columns for _, cell in section.of_column(column)]


def headings(*results: Result) -> list[str]:
    section = only(board(*results))
    labels = column_labels(section)
    return [labels[column].text for column in section.columns]


def names(*results: Result) -> list[str]:
    section = only(board(*results))
    labels = row_labels(section)
    return [labels[row].text for row in section.rows]


def places(*results: Result) -> dict[str, str]:
    """Place of every upstream in the only column, as it is written."""
    section = only(board(*results))
    (column,) = section.columns
    labels = row_labels(section)
    return {labels[row].text: rank.written for row, rank in ranks_of(section, column).items()}


# ---------------------------------------------------------------- columns and rows


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"overrides": ["training.steps=100"], "settings": {"training": {"steps": 100}}}, "training.steps=100"),
        ({"settings": {"training": {"steps": 100}}}, "training.steps=100"),  # of a file that was edited
        ({"corpus": {"fingerprint": "1234567890abcdef"}}, "corpus 12345678"),
        ({"corpus": {"title": "Other"}}, "Other"),
        ({"recipe": {"version": 9}}, "version 9"),
    ],
)
def test_another_question_is_another_column_and_is_named(changed: dict[str, object], named: str) -> None:
    other = varied(**changed) if "recipe" not in changed else another_version()
    found = headings(varied(), other)
    if named == "Other":  # the title alone is no other corpus
        assert len(found) == 1
        return
    assert len(found) == 2
    assert any(named in heading for heading in found)
    assert len(set(found)) == 2


def another_version() -> Result:
    content = varied().model_dump(mode="json", by_alias=True)
    content["recipe"]["version"] = 9
    return Result.model_validate(content)


def test_another_precision_layer_or_weights_is_another_row_and_is_named() -> None:
    layer = varied(overrides=["sweep.layer=[3]"], settings={"sweep": {"layer": [3]}}).model_dump(
        mode="json", by_alias=True
    )
    layer["layers"][0]["layer"] = 3
    for head in layer["heads"]:
        head["setting"] = 3 if head["setting"] is None else head["setting"]
    found = names(
        varied(),
        varied(upstream="hubert_base"),
        varied(random_init=True),
        Result.model_validate(layer),
        varied(caveats=[]).model_copy(update={"upstream": varied().upstream.model_copy(update={"dtype": "bfloat16"})}),
    )
    assert sorted(found) == [
        "hubert_base", "wavlm_base", "wavlm_base, bfloat16", "wavlm_base, layer 3", "wavlm_base, untrained",
    ]  # fmt: skip


def test_two_models_of_one_name_are_told_apart() -> None:
    one = varied(upstream=".../my_model")
    other = one.model_copy(update={"upstream": one.upstream.model_copy(update={"fingerprint": "fedcba98" * 8})})
    assert "my_model, fedcba98" in names(one, other)
    assert len(set(names(one, other))) == 2


def test_an_upstream_is_one_row_however_it_was_typed() -> None:
    one = varied(upstream="hubert_base")
    typed = one.upstream.model_copy(update={"name": "hf:facebook/hubert-base-ls960"})
    assert names(one, varied(upstream="hubert_base", recipe="emotion").model_copy(update={"upstream": typed})) == [
        "hubert_base"
    ]


def test_protocols_have_tables_of_their_own() -> None:
    sections = [section for section in board(*many(24)).sections if section.was_run]
    assert [section.protocol for section in sections] == ["superb", "clean", "demo"]
    for section in sections:
        protocols = {run.result.recipe.protocol for cell in section.cells.values() for run in cell.runs}
        assert protocols == {section.protocol}


# ---------------------------------------------------------------- merging


def test_seeds_of_one_question_are_merged() -> None:
    (cell,) = cells_of(*(varied(seeds=[seed], value=value, half=0.02) for seed, value in enumerate((0.5, 0.56, 0.53))))
    shown = cell.shown
    assert shown is not None
    assert shown.by_seed == {"0": 0.5, "1": 0.56, "2": 0.53}
    assert shown.value == pytest.approx(0.53)
    of_seeds = 4.302653 * stdev([0.5, 0.56, 0.53]) / math.sqrt(3)  # Student's t with two degrees of freedom
    assert shown.high == pytest.approx(0.53 + math.hypot(0.02, of_seeds), abs=1e-6)
    assert shown.low == pytest.approx(0.53 - math.hypot(0.02, of_seeds), abs=1e-6)
    assert "3 merged runs" in shown.interval
    assert len(cell.runs) == 3


def test_a_seed_that_two_runs_have_counts_once_and_a_difference_is_said() -> None:
    swept = varied(seeds=[0, 1], value=0.5)
    (cell,) = cells_of(varied(seeds=[0], value=0.7), swept)
    assert cell.shown is not None
    assert cell.shown.value == swept.primary.value
    assert (cell.shown.low, cell.shown.high) == (swept.primary.low, swept.primary.high)
    assert cell.shown.notes == ("Seed 0 was run more than once, with 50.00 and 70.00; the first counts.",)


def test_development_and_not_the_test_chooses_among_learning_rates() -> None:
    better_on_test = varied(
        value=0.9, development=0.6, settings={"optimizer": {"lr": 0.1}}, overrides=["optimizer.lr=0.1"]
    )
    (cell,) = cells_of(better_on_test, varied(value=0.4, development=0.8))
    assert cell.shown is not None
    assert cell.shown.value == 0.4
    assert [one.value for one in cell.merged] == [0.4, 0.9]


def test_untrained_weights_of_several_seeds_are_repetitions() -> None:
    one = varied(random_init=True, seeds=[0], value=0.2)
    drawn = varied(random_init=True, seeds=[1], value=0.3)
    other = drawn.model_copy(update={"upstream": drawn.upstream.model_copy(update={"fingerprint": "ab" * 32})})
    (cell,) = cells_of(one, other)
    assert cell.shown is not None
    assert cell.shown.value == pytest.approx(fmean([0.2, 0.3]))


def test_merged_runs_without_an_interval_have_none() -> None:
    (cell,) = cells_of(varied(seeds=[0]), varied(seeds=[1], half=None))
    assert cell.shown is not None
    assert cell.shown.low is None


# ---------------------------------------------------------------- places


def test_overlapping_intervals_are_ties() -> None:
    found = places(
        varied(upstream="a", value=0.80, half=0.02),
        varied(upstream="b", value=0.78, half=0.02),
        varied(upstream="c", value=0.70, half=0.03),
        varied(upstream="d", value=0.50, half=0.01),
        varied(upstream="wide", value=0.6, half=0.3),
    )
    assert found == {"a": "1=", "b": "1=", "c": "3", "d": "4", "wide": "1="}


def test_lower_is_better_where_the_metric_says_so() -> None:
    def of_errors(name: str, value: float) -> Result:
        result = varied(upstream=name, value=value, half=0.01).model_dump(mode="json", by_alias=True)
        result["metric_types"]["accuracy"]["higher_is_better"] = result["primary"]["higher_is_better"] = False
        return Result.model_validate(result)

    assert places(of_errors("worse", 0.3), of_errors("better", 0.1)) == {"better": "1", "worse": "2"}


def test_controls_and_scores_without_an_interval_have_no_place() -> None:
    found = places(
        varied(upstream="a", value=0.3),
        varied(upstream="b", value=0.9, random_init=True),
        varied(upstream="c", value=0.9, half=None),
    )
    assert found == {"a": "1"}


# ---------------------------------------------------------------- published scores


def whole(upstream: str, value: float, half: float | None = 0.01) -> Result:
    """A record of SUPERB's keyword spotting on all of its data."""
    content = varied(upstream=upstream, recipe="superb/ks", value=value, half=half).model_dump(
        mode="json", by_alias=True
    )
    for fold in content["folds"]:
        fold["train"]["utterances"], fold["test"]["utterances"] = 51_088, 3_081
    return Result.model_validate(content)


def test_published_scores_stand_beside_what_was_run() -> None:
    section = next(one for one in board(whole("wavlm_base", 0.9650, 0.005)).sections if one.protocol == "superb")
    (column,) = [column for column in section.columns if (column.task, column.metric) == ("superb/ks", "accuracy")]
    (row,) = [row for row in section.rows if row.name == "wavlm_base"]
    cell = section.cell(row, column)
    assert cell.shown is not None
    assert [score.value for score in cell.published] == [96.79, 96.79]
    others = [section.cell(row, column) for row in section.rows if row.name == "hubert_base"]
    assert [(cell.shown, [score.value for score in cell.published]) for cell in others] == [(None, [96.30])]


def test_every_published_score_is_there_once_and_the_rest_says_that_it_was_not_run() -> None:
    (section,) = board().sections
    assert not section.was_run
    shown = [score for cell in section.cells.values() for score in cell.published]
    assert sorted(map(str, shown)) == sorted(map(str, read_reference_scores()))


def test_the_overall_score_is_said_where_it_is_defined_and_why_it_is_not() -> None:
    section = next(one for one in board(whole("wavlm_base", 0.9650)).sections if one.protocol == "superb")
    of_run, of_published = overall_lines(section)
    assert of_run.startswith("Overall score of wavlm_base: undefined: there is no score of superb/pr,")
    assert "superb/ks" not in of_run
    for words in ("wavlm_large 982.4", "wavlm_base_plus 948.1", "hubert_base 848.6", "wav2vec2_base_960 757.1"):
        assert words in of_published
    own = own_cells(section, next(row for row in section.rows if row.asked))
    assert own["superb/ks", "accuracy"] == pytest.approx(96.5)
    assert overall_lines(only(board(varied()))) == []


def test_a_control_a_changed_recipe_and_a_part_of_the_corpus_have_no_published_score() -> None:
    changed = whole("wavlm_base", 0.9).model_copy(update={"caveats": ["Not SUPERB's recipe: training.steps=5."]})
    control = whole("wavlm_base", 0.9)
    control = control.model_copy(update={"upstream": control.upstream.model_copy(update={"random_init": True})})
    for result in (changed, control, varied(recipe="superb/ks")):
        section = next(one for one in board(result).sections if one.protocol == "superb")
        assert [cell.published for cell in section.cells.values() if cell.merged] == [()]


def test_code_that_a_record_names_is_not_run(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("foreign")
    monkeypatch.chdir(place)
    (place / "evil.py").write_text("raise SystemExit('it was run')\n")
    record = whole("wavlm_base", 0.9).model_copy(update={"task": "evil.py:Family"})
    assert len(board(record).records) == 1
