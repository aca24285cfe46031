"""Suggestions: slips of the finger are found, other things are not taken for them."""

from __future__ import annotations

import pytest

from downstream.cli.main import VERBS
from downstream.data.corpora.catalog import CORPORA
from downstream.recipes import recipe_names
from upstream.catalog import NAMED
from upstream.nearest import did_you_mean, nearest, plain

KNOWN = [*NAMED, *recipe_names(), *CORPORA, *VERBS, "optimizer.lr", "training.steps", "head.hidden"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("emotoin", "emotion"),
        ("emoton", "emotion"),
        ("Emotion", "emotion"),
        ("emoti", "emotion"),
        ("keywrod", "keyword"),
        ("superb/assr", "superb/asr"),
        ("WavLM-Base", "wavlm_base"),
        ("wavlm base+", "wavlm_base_plus"),
        ("wavlm_baes", "wavlm_base"),
        ("wavlm_large_", "wavlm_large"),
        ("hubert_bse", "hubert_base"),
        ("distill_hubert", "distilhubert"),
        ("data2vec_base_96", "data2vec_base_960"),
        ("fban", "fbank"),
        ("fnank", "fbank"),
        ("test", None),
        ("mffc", None),
        ("CREMA-D", "crema_d"),
        ("Libri Speech", "librispeech"),
        ("lst", None),
        ("esimate", None),
        ("validat", "validate"),
        ("optimiser.lr", "optimizer.lr"),
        ("trainig.step", "training.steps"),
        ("head.hiden", "head.hidden"),
        # What only looks a little like something is something else.
        ("pase_plus", None),
        ("pase", None),
        ("diarization", None),
        ("er", None),
        ("sid", None),
        ("kws", None),
        ("intent", None),
        ("xls_r_3b", None),
        ("whisper_large_v4", None),
        ("wavlm_huge", None),
        ("modified_cpc", None),
        ("tera", None),
        ("vggish", None),
        ("voxceleb2", None),
        ("timit", None),
        ("timit_phone", None),
        ("speech_translation", None),
        ("optimizer.momentum", None),
        ("", None),
        ("?", None),
        ("x" * 10_000, None),
    ],
)
def test_what_was_meant(typed: str, meant: str | None) -> None:
    assert nearest(typed, KNOWN) == ([] if meant is None else [meant])


def test_a_beginning_may_stand_for_several() -> None:
    assert nearest("demo", ["emotion", "demo/asr", "demo/sv"]) == ["demo/asr", "demo/sv"]
    assert did_you_mean("wavlm", ["wavlm_base", "wavlm_large", "fbank"]) == "Did you mean wavlm_base or wavlm_large?"
    assert did_you_mean("hubert", ["wavlm_base"]) == ""


def test_another_number_is_another_thing() -> None:
    files = [f"clip{number:05d}.wav" for number in range(1000)]
    assert nearest("clip01000.wav", files) == []
    assert nearest("clpi00007.wav", files) == ["clip00007.wav"]


@pytest.mark.parametrize("spelling", ["WavLM-Base+", "wavlm_base_plus", "WAVLM BASE PLUS", "wavlm-base-plus"])
def test_spellings_of_one_name(spelling: str) -> None:
    assert plain(spelling) == "wavlmbaseplus"
