"""Published scores are found by what was loaded, for SUPERB's protocol alone, and stand beside the result's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from downstream.report.comparable import compared, published_for, published_upstream, why_incomparable
from downstream.results.record import Result, read_result
from upstream.names import NAMED

RECORDS = Path(__file__).parents[1] / "results" / "schema3"
PREPRINT = "Chen et al. 2021: WavLM, preprint of October 2021"
JOURNAL = "Chen et al. 2022: WavLM, journal version"


def of_superb(record: str, task: str, tested: int, trained: int = 100_000) -> Result:
    """A record as a run of one of SUPERB's tasks by HuBERT Base on the whole corpus would have been written."""
    result = read_result(RECORDS / f"{record}.json")
    result.recipe.name, result.recipe.protocol = task, "superb"
    result.upstream.random_init = False
    result.upstream.name = result.upstream.source = "facebook/hubert-base-ls960"
    result.caveats = []
    del result.folds[1:]
    result.folds[0].test.utterances, result.folds[0].train.utterances = tested, trained
    return result


@pytest.fixture
def emotion() -> Result:
    return of_superb("classification", "superb/er", 5531)


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("hubert_base", "facebook/hubert-base-ls960", "hubert_base"),
        ("hf:Facebook/HuBERT-base-ls960", "Facebook/HuBERT-base-ls960", "hubert_base"),
        ("wavlm_large@main", "microsoft/wavlm-large", "wavlm_large"),
        ("fbank", "fbank", "fbank"),
        ("hubert_base", ".../my_finetuned", None),
        ("hubert_base", "hubert_base", None),
        ("./fbank", "./fbank", None),
        ("hf:someone/hubert-base-ls960", "someone/hubert-base-ls960", None),
    ],
)
def test_what_was_loaded_decides_and_not_what_was_typed(
    emotion: Result, name: str, source: str, found: str | None
) -> None:
    emotion.upstream.name, emotion.upstream.source = name, source
    assert published_upstream(emotion.upstream) == found
    emotion.upstream.random_init = True
    assert published_upstream(emotion.upstream) is None
    assert published_for(emotion) == []


def test_only_the_whole_protocol_is_compared(emotion: Result) -> None:
    assert [score.value for score in published_for(emotion)] == [64.92]
    emotion.folds[0].test.utterances = 5530
    assert published_for(emotion) == []
    assert why_incomparable(emotion) == "5,530 utterances were tested on, where the protocol has 5,531."
    emotion.folds[0].test.utterances = 5531
    emotion.caveats = ["Not SUPERB's recipe: training.steps=5."]
    assert published_for(emotion) == []
    assert why_incomparable(emotion) == emotion.caveats[0]


def test_both_generations_of_wavlm_are_named(emotion: Result) -> None:
    emotion.upstream.source = NAMED["wavlm_large"].repository or ""
    score = emotion.layers[0].score("accuracy")
    score.value, score.low, score.high = 0.70, 0.695, 0.702
    found = compared(emotion)
    assert [(one.reference.table, one.reference.value) for one in found] == [(PREPRINT, 70.03), (JOURNAL, 70.62)]
    assert [one.difference for one in found] == pytest.approx([-0.03, -0.62])
    assert [one.within for one in found] == [True, False]
    score.low = None
    assert [one.place for one in compared(emotion)] == ["no interval", "no interval"]


def test_a_word_error_rate_with_a_language_model_has_a_column_of_its_own() -> None:
    result = of_superb("recognition", "superb/asr", 2620, 28539)
    assert [(one.own.metric, one.reference.metric, one.reference.value) for one in compared(result)] == [
        ("wer", "wer", 6.42)
    ]
    result.recipe.resolved["decoding"]["language_model"] = "4-gram.arpa"
    assert [(one.own.metric, one.reference.metric, one.reference.value) for one in compared(result)] == [
        ("wer", "wer_with_lm", 4.79)
    ]
    result.folds[0].train.utterances = 1000
    assert published_for(result) == []
