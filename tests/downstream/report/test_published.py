"""The table of published scores, and what is refused of one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from downstream.report.published import COLUMNS, ReferenceScore, published, read_reference_scores
from downstream.tasks.registry import FAMILIES, find_family
from upstream.catalog import NAMED
from upstream.errors import UserError

PREPRINT, JOURNAL, FIRST_PAPER = "wavlm, preprint", "wavlm, journal", "superb, results"
WAVLM = {"wavlm_base", "wavlm_base_plus", "wavlm_large"}
OTHERS = {"fbank", "wav2vec2_base_960", "wav2vec2_large_ll60k", "hubert_base", "hubert_large_ll60k"}
SCORES = {
    ("superb/pr", "per"),
    ("superb/asr", "wer"),
    ("superb/ks", "accuracy"),
    ("superb/qbe", "mtwv"),
    ("superb/sid", "accuracy"),
    ("superb/asv", "eer"),
    ("superb/sd", "der"),
    ("superb/ic", "accuracy"),
    ("superb/sf", "slot_type_f1"),
    ("superb/sf", "slot_value_cer"),
    ("superb/er", "accuracy"),
}
HIGHER_IS_BETTER = {"accuracy", "mtwv", "slot_type_f1"}


def of(source: str) -> list[ReferenceScore]:
    return [score for score in read_reference_scores() if source in score.source.lower()]


@pytest.mark.parametrize(("source", "upstreams"), [(PREPRINT, WAVLM | OTHERS), (JOURNAL, WAVLM)])
def test_a_table_has_every_upstream_on_every_task_once(source: str, upstreams: set[str]) -> None:
    cells = Counter((score.upstream, score.task, score.metric) for score in of(source))
    assert cells == Counter((upstream, *score) for upstream in upstreams for score in SCORES)


def test_there_are_three_sources_each_with_its_address() -> None:
    scores = read_reference_scores()
    assert len(scores) == 8 * 11 + 3 * 11 + 4
    assert len({score.source for score in scores}) == 3
    assert all("https://" in score.source for score in scores)


@pytest.mark.parametrize(
    ("source", "upstream", "task", "metric", "value", "verified"),
    [
        (PREPRINT, "fbank", "superb/pr", "per", 82.01, True),
        (PREPRINT, "fbank", "superb/er", "accuracy", 35.39, True),
        (PREPRINT, "wav2vec2_base_960", "superb/sid", "accuracy", 75.18, True),
        (PREPRINT, "wav2vec2_large_ll60k", "superb/asv", "eer", 5.65, True),
        (PREPRINT, "hubert_base", "superb/sid", "accuracy", 81.42, True),
        (PREPRINT, "hubert_large_ll60k", "superb/sf", "slot_value_cer", 21.76, True),
        (PREPRINT, "wavlm_base", "superb/pr", "per", 4.84, True),
        (PREPRINT, "wavlm_base_plus", "superb/qbe", "mtwv", 0.0990, True),
        (PREPRINT, "wavlm_large", "superb/asr", "wer", 3.51, True),
        (JOURNAL, "wavlm_large", "superb/asr", "wer", 3.44, False),
        (JOURNAL, "wavlm_large", "superb/er", "accuracy", 70.62, True),
        (JOURNAL, "wavlm_base_plus", "superb/sd", "der", 3.50, True),
        (JOURNAL, "wavlm_base", "superb/ks", "accuracy", 96.79, False),
        (FIRST_PAPER, "hubert_large_ll60k", "superb/asr", "wer_with_lm", 2.94, False),
    ],
)
def test_known_cells(source: str, upstream: str, task: str, metric: str, value: float, verified: bool) -> None:
    cells = [score for score in of(source) if (score.upstream, score.task, score.metric) == (upstream, task, metric)]
    assert [(cell.value, cell.verified) for cell in cells] == [(value, verified)]


def test_what_was_quoted_from_memory_says_so() -> None:
    """Of the journal's table ASR and ASV were compared with nothing, of WavLM Base most; of scores with a LM none."""
    assert all(score.verified for score in of(PREPRINT))
    verified = {
        upstream: {s.task[7:] for s in of(JOURNAL) if s.verified and s.upstream == upstream} for upstream in WAVLM
    }
    assert verified["wavlm_base"] == {"sid", "sd", "er"}
    assert verified["wavlm_large"] == {"pr", "sid", "sd", "ic", "sf", "qbe", "er"}
    assert verified["wavlm_base_plus"] == verified["wavlm_large"] | {"ks"}
    assert not any(score.verified for score in of(FIRST_PAPER))
    for score in read_reference_scores():
        assert score.note
        assert ("from memory" in score.note) is not score.verified


def test_units_and_directions() -> None:
    for score in read_reference_scores():
        assert score.higher_is_better == (score.metric in HIGHER_IS_BETTER)
        # MTWV is printed as a fraction, and so is the one accuracy that is under a tenth of a percent.
        small = score.metric == "mtwv" or (score.upstream, score.task) == ("fbank", "superb/sid")
        assert score.unit == ("fraction" if small else "percent")
        assert (score.value < 0.1) == small
        assert 0 < score.percent <= 100


def test_fbank_identifies_seven_of_the_test_utterances() -> None:
    (score,) = published("superb/sid", "fbank")
    assert score.percent == pytest.approx(100 * 7 / 8_251, abs=0.005)


def test_names_are_the_harness_own_where_it_has_them() -> None:
    scores = read_reference_scores()
    metrics = {name for family in FAMILIES for name in find_family(family).metrics}
    assert {score.upstream for score in scores} <= set(NAMED)
    assert {"accuracy", "wer", "eer"} <= {score.metric for score in scores} & metrics


def test_published_of_a_recipe_and_an_upstream() -> None:
    assert [(score.metric, score.value) for score in published("superb/asr", "hubert_base")] == [
        ("wer", 6.42),
        ("wer_with_lm", 4.79),
    ]
    assert [score.value for score in published("superb/er", "wavlm_large")] == [70.03, 70.62]
    assert published("emotion", "wavlm_large") == []
    assert published("superb/er", "a model of my own") == []


ROW = ["fbank", "superb/er", "accuracy", "35.39", "percent", "yes", "somewhere", "no", ""]


def table(folder: Path, *rows: list[str], header: list[str] = COLUMNS) -> Path:
    path = folder / "scores.csv"
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_table_is_read_back(tmp_path: Path) -> None:
    (score,) = read_reference_scores(table(tmp_path, ROW))
    assert score == ReferenceScore(
        "fbank", "superb/er", "accuracy", 35.39, "percent", True, "somewhere", verified=False, note=""
    )


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("value", "many", "line 2 has 'many' as value"),
        ("value", "nan", "as value: Input should be a finite number"),
        ("unit", "dB", "'dB' as unit"),
        ("verified", "perhaps", "'perhaps' as verified"),
        ("higher_is_better", "", "as higher_is_better"),
        ("source", "", "as source"),
        ("note", "one, two", "more cells than there are columns"),
    ],
)
def test_cells_that_cannot_be_read_are_refused(column: str, cell: str, words: str, tmp_path: Path) -> None:
    row = [cell if name == column else value for name, value in zip(COLUMNS, ROW, strict=True)]
    with pytest.raises(UserError, match=words):
        read_reference_scores(table(tmp_path, row))


def test_files_that_are_no_table_of_scores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its first line must be upstream,task"):
        read_reference_scores(table(tmp_path, ROW, header=COLUMNS[::-1]))
    with pytest.raises(UserError, match="twice"):
        read_reference_scores(table(tmp_path, ROW, ROW))
    with pytest.raises(UserError, match="There are no reference scores"):
        read_reference_scores(tmp_path / "nowhere.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UserError, match="its first line must be"):
        read_reference_scores(tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("end", "words"),
    [(b"caf\xe9\n", "not UTF-8"), (b'"' + b"x" * 200_000 + b'"\n', "line 2: a cell is longer than"), (b"\0", "NUL")],
)
def test_text_that_is_no_table_is_refused_with_its_line(end: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_bytes((",".join(COLUMNS) + "\n").encode() + end)
    with pytest.raises(UserError, match=words):
        read_reference_scores(path)
