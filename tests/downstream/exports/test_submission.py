"""SUPERB's submission has s3prl's files and lines, and runs that depart from the protocol are refused."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_run, write_words

from downstream.exports import submission, superb_submission
from downstream.exports.superb_submission import TASKS
from downstream.results import HeadItems
from downstream.results.record import Result, read_result
from downstream.statistics import CountedItems
from upstream.errors import UserError

RECORD = Path(__file__).parents[1] / "results" / "schema3" / "classification.json"
MANY = 100_000  # utterances: as many as any protocol has


def of_superb(result: Result, task: str) -> Result:
    """Return a record as if it were one of a task of SUPERB."""
    result = result.model_copy(deep=True)
    result.recipe.name, result.recipe.protocol, result.recipe.version = task, "superb", 1 + (task == "superb/er")
    result.upstream.random_init, result.caveats = False, []
    for fold in result.folds:
        fold.train.utterances = fold.test.utterances = MANY
    return result


def opened(content: bytes) -> dict[str, list[str]]:
    """Return the lines of every file of a submission."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode().splitlines() for name in archive.namelist()}


def of_classes(ids: list[str], answers: list[str]) -> CountedItems:
    counts = np.ones((len(ids), 1), dtype=np.int64)
    return CountedItems(tuple(ids), tuple(answers), tuple(answers), tuple((one,) for one in ids), counts, {})


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, CountedItems]], None]:
    """Sets what the heads of each fold were tested on, and as many items as the size of the test set."""

    def given(by_fold: dict[str, CountedItems]) -> None:
        def items_of_heads(result: Result, setting: object) -> list[HeadItems]:
            head, part = result.primary_heads()[0], result.primary.part
            return [HeadItems(head.model_copy(update={"fold": fold}), part, own) for fold, own in by_fold.items()]

        monkeypatch.setattr(superb_submission, "items_of_heads", items_of_heads)
        for name, task in TASKS.items():
            count = sum(len(own) for own in by_fold.values())
            monkeypatch.setitem(TASKS, name, replace(task, items=count))

    return given


def test_keywords_are_named_by_folder_and_file(tested: Callable[[dict[str, CountedItems]], None]) -> None:
    ids = ["test_set/yes/0a7c2a8d_nohash_0", "test_set/_silence_/12"]
    tested({"published": of_classes(ids, ["yes", "_unknown_"])})
    files = opened(submission([of_superb(read_result(RECORD), "superb/ks")]))
    expected = ["yes-0a7c2a8d_nohash_0.wav yes", "_silence_-12.wav _unknown_"]
    assert files == {"predict/ks_public/predict.txt": expected}


def test_emotions_have_five_folders_and_short_names(tested: Callable[[dict[str, CountedItems]], None]) -> None:
    emotions = ["neutral", "happy", "angry", "sad", "sad"]
    folds = {f"fold{n}": of_classes([f"Ses0{n}F_impro01_F000"], [emotions[n - 1]]) for n in range(1, 6)}
    result = of_superb(read_result(RECORD), "superb/er")
    tested(folds)
    files = opened(submission([result]))
    assert files["predict/er_fold2_public/predict.txt"] == ["Ses02F_impro01_F000 hap"]
    assert sorted(files) == [f"predict/er_fold{n}_public/predict.txt" for n in range(1, 6)]
    assert [files[name][0].split()[1] for name in sorted(files)] == ["neu", "hap", "ang", "sad", "sad"]
    del folds["fold5"]
    tested(folds)
    with pytest.raises(UserError, match=r"4 items in 4 folds, and the test set of superb/er has 4 in 5"):
        submission([result])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("runs")
    corpus = write_words(folder)
    short = ("training.steps=4", "training.evaluate_every=2")
    return {"text": small_run("text", corpus, folder, *short), "pairs": small_run("fitted", corpus, folder)}


def test_transcripts_and_trials_are_those_of_the_run(runs: dict[str, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    transcripts, trials = of_superb(runs["text"], "superb/asr"), of_superb(runs["pairs"], "superb/asv")
    trials.upstream = transcripts.upstream
    assert runs["pairs"].folder is not None
    lines = next(runs["pairs"].folder.glob("*.trials.txt")).read_text().splitlines()
    monkeypatch.setitem(TASKS, "superb/asr", replace(TASKS["superb/asr"], items=16))
    monkeypatch.setitem(TASKS, "superb/asv", replace(TASKS["superb/asv"], items=len(lines)))
    content = submission([transcripts, trials])
    assert content == submission([trials, transcripts])
    files = opened(content)
    assert sorted(files) == ["predict/asr_public/predict.ark", "predict/sv_public/predict.txt"]
    hypotheses = read_hypotheses(runs["text"])
    assert [line.split(" ", 1)[0] for line in files["predict/asr_public/predict.ark"]] == list(hypotheses)
    for line in files["predict/asr_public/predict.ark"]:
        name, _, words = line.partition(" ")
        assert words == hypotheses[name]
    for own, submitted in zip(lines, files["predict/sv_public/predict.txt"], strict=True):
        one, other, score, *_ = own.split(" ")
        pair, sent = submitted.split(" ")
        assert pair == f"{one.removesuffix('.wav')}_{other.removesuffix('.wav')}"
        assert float(sent) == float(score)
    transcripts.recipe.resolved["decoding"]["language_model"] = "4-gram.arpa"
    assert list(opened(submission([transcripts]))) == ["predict/asr_lm_public/predict.ark"]


def read_hypotheses(result: Result) -> dict[str, str]:
    import json

    assert result.folder is not None
    rows = map(json.loads, (result.folder / "predictions.jsonl").read_text().splitlines())
    return {row["id"]: row["hypothesis"] for row in rows}


def test_voices_are_named_as_voxceleb_names_them() -> None:
    items = of_classes(["id10270/x6uYqmx31kE/00001.wav id10300/8jEAjG6SegY/00008.wav"], ["target"])
    object.__setattr__(items, "scores", np.array([0.25]))
    (line,) = TASKS["superb/asv"].lines(items)
    assert line == "id10270-x6uYqmx31kE-00001_id10300-8jEAjG6SegY-00008 0.25"
    assert re.fullmatch(r"\S+_\S+ \S+", line)


def test_what_departs_from_the_protocol_is_refused_by_name(
    tested: Callable[[dict[str, CountedItems]], None],
) -> None:
    tested({"published": of_classes(["test_set/yes/a"], ["yes"])})

    def changed(**fields: object) -> Result:
        result = of_superb(read_result(RECORD), "superb/ks")
        for name, value in fields.items():
            owner, _, attribute = name.partition("__")
            setattr(getattr(result, owner) if attribute else result, attribute or owner, value)
        return result

    good = changed()
    assert submission([good])
    several = changed()
    several.heads.append(several.heads[0].model_copy(update={"seed": 7}))
    small = changed()
    small.folds[0].train.utterances = 10
    for results, said in (
        ([changed(recipe__name="keyword")], "it is a run of keyword, and only superb/ks"),
        ([changed(upstream__random_init=True)], "its upstream is untrained"),
        ([changed(caveats=["Not SUPERB's recipe: training.steps=5."])], "Not SUPERB's recipe: training.steps=5"),
        ([changed(recipe__version=99)], "it is of version 99 of superb/ks, which is now 1"),
        ([small], "10 utterances were trained on"),
        ([several], "has the seeds 0, 7, and a submission has the predictions of one; choose it with --seed"),
        ([good, changed()], "are both runs for ks_public"),
        ([good, changed(upstream__fingerprint="another")], "A submission is of one upstream, and these runs are of 2"),
    ):
        with pytest.raises(UserError, match=re.escape(said)):
            submission(results)
    with pytest.raises(UserError, match="3 is none of them"):
        submission([several], seed=3)
    assert submission([several], seed=0)
    tested({"published": of_classes(["test_set/yes/a"], ["yes"])})
    TASKS["superb/ks"] = replace(TASKS["superb/ks"], items=3081)  # restored with the fixture
    with pytest.raises(UserError, match=r"it tested 1 items in 1 folds, and the test set of superb/ks has 3,081 in 1"):
        submission([good])
