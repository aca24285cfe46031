"""SUPERB's overall score: the values of the preprint's table, and none where a task is missing."""

from __future__ import annotations

import pytest

from downstream.report.overall import Cell, overall_score
from downstream.report.published import ReferenceScore, read_reference_scores

PREPRINT = "Chen et al. 2021: WavLM, preprint of October 2021"
JOURNAL = "Chen et al. 2022: WavLM, journal version"
SCORES = read_reference_scores()


def row(upstream: str, table: str = PREPRINT) -> dict[Cell, float]:
    return {(one.task, one.metric): one.percent for one in SCORES if (one.upstream, one.table) == (upstream, table)}


@pytest.mark.parametrize(
    ("upstream", "value"),
    [
        ("fbank", 0.0),
        ("wav2vec2_base_960", 757.1),  # 757.2 where FBANK's accuracy on SID, 8.5e-4, is read as percent
        ("hubert_base", 848.6),
        ("wavlm_base", 900.6),
        ("wavlm_base_plus", 948.1),
        ("wav2vec2_large_ll60k", 828.6),
        ("hubert_large_ll60k", 834.5),
        ("wavlm_large", 982.4),
    ],
)
def test_the_preprints_rows_have_these_scores(upstream: str, value: float) -> None:
    assert overall_score(row(upstream), SCORES).value == pytest.approx(value, abs=0.05)


def test_it_depends_on_the_best_of_a_table_and_says_which() -> None:
    overall = overall_score(row("wavlm_large", JOURNAL), SCORES)
    assert overall.table == PREPRINT
    assert overall.sota["superb/qbe", "mtwv"].upstream == "wavlm_base_plus"
    assert overall.sota["superb/asr", "wer"].value == 3.51
    assert overall.value == pytest.approx(999.1, abs=0.05)
    assert "asr wer 3.51 (wavlm_large)" in overall.sentence


def test_a_missing_task_leaves_it_undefined() -> None:
    own = row("hubert_base")
    del own["superb/sf", "slot_value_cer"]
    del own["superb/pr", "per"]
    overall = overall_score(own, SCORES)
    assert overall.value is None
    assert overall.missing == ("superb/pr", "superb/sf")
    assert overall.sentence.startswith("undefined: there is no score of superb/pr, superb/sf")


def test_a_column_where_the_best_is_the_least_falls() -> None:
    cells: list[ReferenceScore] = [one for one in SCORES if one.task == "superb/asv"]
    best = overall_score({("superb/asv", "eer"): 4.04}, cells)
    worse = overall_score({("superb/asv", "eer"): 6.80}, cells)
    assert (best.value, worse.value) == (1000.0, pytest.approx(500.0))
