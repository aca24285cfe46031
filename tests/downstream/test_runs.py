"""Whole runs of recognition, verification and keyword spotting: from a corpus of tones to a record."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from places import REPOSITORY
from rich.console import Console
from safetensors.torch import load, load_file, save
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import run_downstream
import upstream
from downstream import experiment
from downstream.data.corpus_inspection import KEPT
from downstream.data.dataset import read_dataset
from downstream.recipes.options import Options
from downstream.report import terminal as report
from downstream.results.record import read_result, write_result
from downstream.run_steps import Outcome
from downstream.tasks.classification import ClassificationRecipe
from downstream.tasks.registry import family_of, load_recipe
from downstream.tasks.verification.error_rates import equal_error_rate
from downstream.training.learning import batching_of
from downstream.training.snapshot import read_snapshot
from upstream.errors import UserError

LETTERS = {"A": 400.0, "B": 1_200.0, "C": 3_600.0}  # Hz of the tone that stands for a letter
WORDS = ("A", "B", "C", "AB", "BA", "AC", "CA", "BC", "CB", "ABC", "CAB", "BAC")
READERS = {"train-clean-100": range(1, 5), "dev-clean": range(5, 7), "test-clean": range(7, 9), "test-other": (9, 10)}
NOISE = {"test-other": 0.15}  # deviation of the noise behind the tones; elsewhere 0.01

VOICES = {"train": (0, 2, 3, 5, 6, 8, 9, 11), "dev": (1, 5.5, 9.5), "test": (2.5, 4, 7, 10)}  # a ladder of pitches
TAKES = 5

KEYWORDS = {"go": 300.0, "stop": 1_000.0, "bed": 2_500.0, "cat": 5_000.0}
KEYWORD_SPEAKERS = {"a": "train", "b": "train", "c": "train", "d": "dev", "e": "test"}

RECOGNITION = ("asr", "head.projection=32", "head.hidden=32", "head.depth=1", "head.dropout=0.1",
               "head.spec_augment=null", "training.batch_seconds=null", "training.batch=12", "training.steps=40",
               "training.evaluate_every=10", "optimizer.lr=2e-2")  # fmt: skip
VERIFICATION = ("sv_xvector", "corpus.name=manifest", "split.longer_than=0", "head.projection=16", "training.batch=8",
                "training.crop={seconds: 0.15, of: states}", "training.steps=10", "training.evaluate_every=5",
                "optimizer.lr=1e-3")  # fmt: skip
KEYWORD = ("keyword", "corpus.name=manifest", "corpus.classes=[go, stop]", "corpus.silence.seconds=0.25",
           "training.steps=60", "training.evaluate_every=20", "training.batch=16", "optimizer.lr=1e-2")  # fmt: skip
SETTINGS = {"recognition": RECOGNITION, "verification": VERIFICATION, "keyword": KEYWORD}


def tone(pitch: float, seconds: float) -> NDArray[np.float64]:
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(16_000 * seconds)) / 16_000)


def noisy(waveform: NDArray[np.float64], generator: np.random.Generator, deviation: float) -> NDArray[np.float64]:
    return waveform + deviation * generator.standard_normal(len(waveform))


def spelt(word: str, generator: np.random.Generator) -> NDArray[np.float64]:
    """The tones of a word's letters one after the other, between two short pauses."""
    pause, drift = np.zeros(480), generator.uniform(0.95, 1.05)
    return np.concatenate([pause, *(tone(drift * LETTERS[x], generator.uniform(0.04, 0.06)) for x in word), pause])


def write_manifest(folder: Path, header: str, rows: Iterable[tuple[str, NDArray[np.float64]]]) -> None:
    """Recordings, and their manifest.csv; rows: the cells behind the path, which names them, and the waveform."""
    lines = [f"path,{header}"]
    for number, (cells, waveform) in enumerate(rows):
        soundfile.write(folder / f"{number:03d}.wav", waveform, 16_000)
        lines.append(f"{number:03d}.wav,{cells}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def recognition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every reader says every word, in LibriSpeech's layout."""
    folder, generator = tmp_path_factory.mktemp("recognition"), np.random.default_rng(0)
    for part, readers in READERS.items():
        for reader in readers:
            chapter = folder / "LibriSpeech" / part / str(reader) / "1"
            chapter.mkdir(parents=True)
            for number, word in enumerate(WORDS):
                waveform = noisy(spelt(word, generator), generator, NOISE.get(part, 0.01))
                soundfile.write(chapter / f"{reader}-1-{number:04d}.flac", waveform, 16_000)
            lines = [f"{reader}-1-{number:04d} {word}" for number, word in enumerate(WORDS)]
            (chapter / f"{reader}-1.trans.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def verification(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A speaker is a pitch; the list trials.txt has every pair of the test part."""
    folder, generator = tmp_path_factory.mktemp("verification"), np.random.default_rng(0)
    rows: list[tuple[str, NDArray[np.float64]]] = []
    tested: list[tuple[str, float]] = []
    for part, rungs in VOICES.items():
        for rung in rungs:
            for _ in range(TAKES):
                waveform = tone(200 * 1.3**rung * generator.uniform(0.98, 1.02), generator.uniform(0.2, 0.3))
                tested += [(f"{len(rows):03d}.wav", rung)] if part == "test" else []
                rows.append((f"{part}{rung:g},{part}", noisy(waveform, generator, 0.02)))
    write_manifest(folder, "speaker,split", rows)
    pairs = [(one, other) for number, one in enumerate(tested) for other in tested[:number]]
    lines = [f"{int(own == others)} {one} {other}" for (one, own), (other, others) in pairs]
    (folder / "trials.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def keyword(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word is a pitch; two words are no keywords; five seconds of noise have neither speaker nor part."""
    folder, generator = tmp_path_factory.mktemp("keyword"), np.random.default_rng(0)
    rows = []
    for word, pitch in KEYWORDS.items():
        for speaker, part in KEYWORD_SPEAKERS.items():
            for _ in range(3):
                waveform = tone(pitch * generator.uniform(0.9, 1.1), generator.uniform(0.2, 0.3))
                rows.append((f"{speaker},{part},{word}", noisy(waveform, generator, 0.02)))
    rows.append((",,_background_noise_", 0.05 * generator.standard_normal(5 * 16_000)))
    write_manifest(folder, "speaker,split,word", rows)
    return folder


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    """Carries out a family's small recipe with overrides in a folder of its own."""

    def carry_out(family: str, *overrides: str, name: str = "fbank", seed: int = 0) -> Outcome:
        recipe, *own = SETTINGS[family]
        folder = tmp_path_factory.mktemp("run")
        data = request.getfixturevalue(family)
        model = upstream.load(name, random_init=name == "wavlm_nano")
        options = Options(data, folder / "results", folder / "store", seed=seed, progress=False)
        outcome = experiment.run(model, load_recipe(recipe, [*own, *overrides]), options)
        assert outcome is not None
        return outcome

    return carry_out


def lines_of(outcome: Outcome, ending: str) -> list[str]:
    return (outcome.folder / f"published-seed0.{ending}").read_text().splitlines()


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]


def trial_scores(outcome: Outcome) -> tuple[list[str], list[float], list[bool]]:
    """The pairs of the file of scores, their scores, and whether they are targets."""
    rows = [line.split() for line in lines_of(outcome, "trials.txt")]
    return [f"{row[0]} {row[1]}" for row in rows], [float(row[2]) for row in rows], [row[3] == "target" for row in rows]


# ---------------------------------------------------------------- recognition


@pytest.fixture(scope="module")
def recognised(run: Run) -> Outcome:
    return run("recognition")


def test_words_are_recognised_and_counted(recognised: Outcome) -> None:
    result = recognised.result
    assert (result.task, result.primary.name, result.primary.higher_is_better) == ("recognition", "wer", False)
    assert result.chance == pytest.approx(11 / 12)  # twelve words, each equally often
    assert result.primary.value < 0.3
    assert result.primary.low is not None
    assert result.primary.high is not None
    assert result.primary.low <= result.primary.value <= result.primary.high
    assert "always answering nothing" in result.chance_means
    assert result.corpus.used.words == 10 * len(WORDS)
    assert [part.words for part in (result.folds[0].train, result.folds[0].dev, result.folds[0].test)] == [48, 24, 48]
    assert (result.details, result.folds[0].test.labels) == ({}, {})


def test_the_first_test_part_gives_the_score_and_the_other_has_its_own(recognised: Outcome, run: Run) -> None:
    result = recognised.result
    parts = [(score.part, score.metric) for score in result.layers[0].scores]
    assert parts == [("test-clean", "wer"), ("test-clean", "cer"), ("test-other", "wer"), ("test-other", "cer")]
    assert set(result.metrics) == {"wer", "cer"}
    wer = {part: result.layers[0].score("wer", part).value for part in ("test-clean", "test-other")}
    assert result.primary.value == result.metrics["wer"] == wer["test-clean"] < wer["test-other"]
    turned = run("recognition", "split.test=[test-other, test-clean]").result
    assert turned.primary.value == turned.metrics["wer"] == wer["test-other"]
    assert turned.layers[0].score("wer", "test-clean").value == wer["test-clean"]
    assert (result.primary.part, turned.primary.part) == ("test-clean", "test-other")


def test_every_score_has_an_interval_and_chance(recognised: Outcome, verified: Outcome) -> None:
    for outcome in (recognised, verified):
        for score in outcome.result.layers[0].scores:
            assert score.low is not None
            assert score.high is not None
            assert score.low <= score.value <= score.high
            assert score.chance is not None
    assert [score.chance for score in verified.result.layers[0].scores] == [0.5, 1.0, 1.0]
    parts = recognised.result.folds[0].parts
    assert {name: part.utterances for name, part in parts.items()} == {"test-clean": 24, "test-other": 24}


def test_word_errors_and_transcripts_agree_with_the_score(recognised: Outcome) -> None:
    result = recognised.result
    (head,) = result.heads
    first = head.details["test-clean"]["errors"]
    errors = first["substitutions"] + first["deletions"] + first["insertions"]
    assert first["reference_length"] == 24  # of the first part alone
    assert errors / first["reference_length"] == result.primary.value
    rows = rows_of(recognised)
    for part, place in (("test-clean", ""), ("test-other", "test-other.")):
        own = [row for row in rows if row["part"] == part]
        assert [f"{row['id']} {row['reference']}" for row in own] == lines_of(recognised, f"{place}ref")
        assert [f"{row['id']} {row['hypothesis']}".rstrip() for row in own] == lines_of(recognised, f"{place}hyp")
        shown = lines_of(recognised, f"{place}errors.txt")
        assert shown[0].startswith("WER")
        assert shown[0].endswith("24 words in the references")
        assert len(own) == 24
        said, written = [row["reference"] for row in own], [row["hypothesis"] for row in own]
        assert jiwer.wer(said, written) == pytest.approx(result.layers[0].score("wer", part).value)
        assert jiwer.cer(said, written) == pytest.approx(result.layers[0].score("cer", part).value)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)  # in the order of the corpus


@pytest.mark.parametrize(("family", "steps", "every"), [("recognition", 40, 4), ("verification", 12, 2)])
def test_the_step_is_the_first_best_of_development(family: str, steps: int, every: int, run: Run) -> None:
    """In the end nothing is wrong at one evaluation after the other."""
    rhythm = f"training.steps={steps}", f"training.evaluate_every={every}"
    outcome = run(family, *rhythm, name="fbank" if family == "recognition" else "fbank_no_cmvn")
    result = outcome.result
    events = EventAccumulator(str(outcome.folder / "events" / "published-seed0")).Reload()
    scores = events.Scalars(f"development/{result.primary.name}")
    assert [event.step for event in scores] == list(range(every, steps + 1, every))
    best = min(scores, key=lambda event: event.value)
    assert result.heads[0].step == best.step
    assert result.heads[0].development == pytest.approx(best.value)
    assert result.grid[0].curve[-1][2] == pytest.approx(scores[-1].value)


# ---------------------------------------------------------------- verification


@pytest.fixture(scope="module")
def verified(run: Run) -> Outcome:
    return run("verification", "trials.list=trials.txt", name="fbank_no_cmvn")


def test_speakers_who_were_not_trained_on_are_told_apart(verified: Outcome) -> None:
    result = verified.result
    assert (result.task, result.primary.name, result.primary.higher_is_better) == ("verification", "eer", False)
    assert result.chance == 0.5
    assert result.chance_means == "scores that say nothing"
    assert result.primary.value < 0.2
    assert result.primary.low is not None
    assert result.primary.high is not None
    assert result.primary.low <= result.primary.value <= result.primary.high
    assert set(result.metrics) == {"eer", "min_dcf_0.01", "min_dcf_0.05"}
    assert [part.speakers for part in (result.folds[0].train, result.folds[0].dev, result.folds[0].test)] == [8, 3, 4]


def test_a_list_beside_the_corpus_is_scored_trial_by_trial(verified: Outcome, verification: Path) -> None:
    trials = verified.result.heads[0].details["test"]["trials"]
    assert (trials["trials"], trials["targets"]) == (190, 40)
    assert "The list trials.txt as it stands" in trials["rule"]
    pairs, scores, targets = trial_scores(verified)
    listed = [line.split() for line in (verification / "trials.txt").read_text().splitlines()]
    assert pairs == [f"{one} {other}" for _, one, other in listed]
    assert targets == [target == "1" for target, _, _ in listed]
    rate, threshold = equal_error_rate(scores, targets)
    assert rate == pytest.approx(verified.result.primary.value)
    assert threshold == pytest.approx(trials["threshold"], abs=1e-5)


def test_the_error_tradeoff_is_a_table_and_a_picture(verified: Outcome) -> None:
    rows = list(csv.DictReader(lines_of(verified, "det.csv")))
    misses = [float(row["miss"]) for row in rows]
    assert (misses[0], misses[-1]) == (1.0, 0.0)
    assert misses == sorted(misses, reverse=True)
    assert (verified.folder / "published-seed0.det.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_trials_are_drawn_where_there_is_no_list(run: Run) -> None:
    outcome = run("verification", "trials.most=60", name="fbank_no_cmvn")
    trials = outcome.result.heads[0].details["test"]["trials"]
    assert (trials["trials"], trials["targets"]) == (60, 30)
    assert "30 of the 40 pairs of one speaker's utterances" in trials["rule"]
    assert len(set(trial_scores(outcome)[0])) == 60
    assert outcome.result.primary.value < 0.3


def weights_are_equal(one: Outcome, other: Outcome) -> bool:
    """Return True for runs with the same heads; the metadata beside them also tell how these were tested."""
    first, second = (load_file(outcome.folder / "head.safetensors") for outcome in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_scores_are_normalised_against_training_speakers(run: Run, verified: Outcome) -> None:
    cohort = ("trials.normalisation=as_norm", "trials.cohort=16", "trials.top=8")
    outcome = run("verification", "trials.list=trials.txt", *cohort, name="fbank_no_cmvn")
    assert weights_are_equal(outcome, verified)
    plain, normalised = np.array(trial_scores(verified)[1]), np.array(trial_scores(outcome)[1])
    assert np.abs(plain).max() <= 1.0 + 1e-6 < np.abs(normalised).max()  # no cosines, but deviations
    assert outcome.result.primary.value < 0.3
    assert outcome.result.heads[0].development == verified.result.heads[0].development  # by plain cosines


def test_another_way_of_testing_learns_nothing_again(
    verification: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, *own = VERIFICATION
    own += ["sweep.lr=[1e-3, 1e-4]", "sweep.seed=[0, 1]"]
    options = Options(verification, tmp_path / "results", tmp_path / "store", progress=False)
    model = upstream.load("fbank_no_cmvn")
    first = experiment.run(model, load_recipe(recipe, own), options)
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "learn", lambda *_: pytest.fail("learned again"))
        cohort = ["trials.normalisation=as_norm", "trials.cohort=16", "trials.top=8"]
        second = experiment.run(model, load_recipe(recipe, [*own, *cohort]), options)
    assert second is not None
    assert not second.was_finished
    assert second.result.learned == first.result.learned
    assert weights_are_equal(second, first)
    assert second.result.grid == first.result.grid
    scored = [[head.details["test"]["trials"]["threshold"] for head in one.result.heads] for one in (first, second)]
    assert len(scored[0]) == 2
    assert all(a != b for a, b in zip(*scored, strict=True))
    assert second.result.caveats[-1].startswith(f"The heads are those that the run {first.folder.name} learned")
    third = experiment.run(model, load_recipe(recipe, [*own, "training.order_seed=1"]), options)
    assert third is not None
    assert third.result.learned != first.result.learned


def heads_changed(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], honest: bool = False) -> Any:
    """Return what changes the heads of a run; honest: with the digests that they would have had."""

    def alter(folder: Path) -> None:
        path = folder / "head.safetensors"
        path.write_bytes(save(change(load(path.read_bytes()))))
        if honest:
            record = read_result(folder / "result.json")
            record.artifacts[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
            write_result(folder / "result.json", record)

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        heads_changed(lambda heads: {name: tensor + 1e-3 for name, tensor in heads.items()}),
        heads_changed(lambda heads: {name: tensor * math.nan for name, tensor in heads.items()}),
        heads_changed(lambda heads: {name: tensor.half() for name, tensor in heads.items()}),
        heads_changed(lambda heads: {name: tensor.double() for name, tensor in heads.items()}, honest=True),
        heads_changed(
            lambda heads: {name: tensor.repeat(2) for name, tensor in heads.items() if tensor.ndim == 1}, True
        ),
        heads_changed(lambda heads: {"other": torch.zeros(1)}, honest=True),
        lambda folder: (folder / "head.safetensors").write_bytes(b"half"),
        lambda folder: (folder / "head.safetensors").unlink(),
    ],
)
def test_heads_that_changed_are_learned_again(
    alter: Callable[[Path], object], verification: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe, *own = VERIFICATION
    options = Options(verification, tmp_path / "results", tmp_path / "store", progress=False)
    model = upstream.load("fbank_no_cmvn")
    first = experiment.run(model, load_recipe(recipe, own), options)
    assert first is not None
    heads = load((first.folder / "head.safetensors").read_bytes())  # not mapped: the file will change
    alter(first.folder)
    cohort = ["trials.normalisation=as_norm", "trials.cohort=16", "trials.top=8"]
    second = experiment.run(model, load_recipe(recipe, [*own, *cohort]), options)
    assert second is not None
    assert re.search("The heads of .* are not used .*; they are learned again", caplog.text)
    learned = load_file(second.folder / "head.safetensors")
    assert learned.keys() == heads.keys()
    assert all(torch.equal(learned[name], heads[name]) for name in heads)
    assert not any("learned; only their test is new" in caveat for caveat in second.result.caveats)


def test_beam_search_after_greedy_decoding_learns_nothing_again(
    recognition: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With heads of two layer settings, one of which is the best layer; the test alone is new."""
    pytest.importorskip("flashlight.lib.text.decoder")
    recipe, *own = RECOGNITION
    own += ["sweep.layer=[mix, best]", "sweep.seed=[0, 1]", "training.steps=20"]
    options = Options(recognition, tmp_path / "results", tmp_path / "store", progress=False)
    model = upstream.load("fbank")
    first = experiment.run(model, load_recipe(recipe, own), options)
    assert first is not None
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "learn", lambda *_: pytest.fail("learned again"))
        second = experiment.run(model, load_recipe(recipe, [*own, "decoding.method=beam", "decoding.beam=2"]), options)
    assert second is not None
    assert not second.was_finished
    assert second.folder != first.folder
    assert second.result.learned == first.result.learned
    one, other = (load_file(outcome.folder / "head.safetensors") for outcome in (first, second))
    assert set(one) == set(other)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert second.result.grid == first.result.grid
    kept = {"fold", "seed", "setting", "layer", "lr", "step", "development", "layer_weights"}
    assert [head.model_dump(include=kept) for head in second.result.heads] == [
        head.model_dump(include=kept) for head in first.result.heads
    ]
    assert second.result.caveats[-1].startswith(f"The heads are those that the run {first.folder.name} learned")
    assert second.result.timing.training < 1.0


def test_a_head_that_diverges_takes_no_other_with_it(run: Run) -> None:
    """Updates of 1e30 overflow in the first forward pass: the other rate's head is learned and scored."""
    result = run("verification", "sweep.lr=[1e-3, 1e30]", "trials.list=trials.txt", name="fbank_no_cmvn").result
    good, bad = result.grid
    assert (good.lr, good.chosen, bad.chosen) == (1e-3, True, False)
    assert bad.development is None
    assert result.primary.value < 0.3


def test_another_list_under_the_same_name_is_another_run(verification: Path, tmp_path: Path) -> None:
    lines = (verification / "trials.txt").read_text().splitlines()
    recipe, *own = VERIFICATION
    listed = tmp_path / "trials.txt"
    options = Options(verification, tmp_path / "results", tmp_path / "store", progress=False)
    folders = []
    for shorter in (False, True):
        listed.write_text("".join(f"{line}\n" for line in lines[shorter:]))
        chosen = load_recipe(recipe, [*own, f"trials.list={listed}", "training.steps=1"])
        outcome = experiment.run(upstream.load("fbank_no_cmvn"), chosen, options)
        assert outcome is not None
        assert not outcome.was_finished
        folders.append(outcome.folder)
    assert folders[0] != folders[1]


# ---------------------------------------------------------------- keywords


def test_keywords_others_and_silence_are_classes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run("keyword", "head.standardised=false", name="fbank_no_cmvn")  # tones show in few features
    result = outcome.result
    assert result.details["classes"] == ["go", "stop", "_unknown_", "_silence_"]
    (fold,) = result.folds
    windows = {"train": 16, "dev": 2, "test": 2}  # of twenty
    for name, clips in (("train", 9), ("dev", 3), ("test", 3)):
        labels = getattr(fold, name).labels
        assert labels == {"go": clips, "stop": clips, "_unknown_": 2 * clips, "_silence_": windows[name]}
    assert result.primary.value > 0.9
    confusion = np.array(result.heads[0].details["test"]["confusion"])
    assert confusion.sum(axis=1).tolist() == [3, 3, 6, 2]
    recall = np.diag(confusion) / confusion.sum(axis=1)
    assert result.metrics["unweighted_accuracy"] == pytest.approx(recall.mean())
    rows = rows_of(outcome)
    assert sum(row["label"] == row["predicted"] for row in rows) == np.trace(confusion)
    assert {row["speaker"] for row in rows if row["label"] == "_silence_"} == {""}
    report.show(result, outcome.folder, Console(width=120))
    assert "_silence_" in capsys.readouterr().out


def test_balanced_sampling_draws_every_class_as_often(keyword: Path, tmp_path: Path) -> None:
    """Of the 52 training clips 18 are of other words, and an epoch of three batches has twelve of each class."""
    recipe = load_recipe(KEYWORD[0], KEYWORD[1:])
    assert isinstance(recipe, ClassificationRecipe)
    dataset = read_dataset(recipe, family_of(recipe), keyword, tmp_path)
    (fold,) = dataset.split.folds
    drawn = torch.cat(batching_of(fold.train, dataset, recipe.training).epoch(0)).tolist()
    assert Counter(dataset.targets.class_numbers(fold.train)) == {0: 9, 1: 9, 2: 18, 3: 16}
    assert Counter(dataset.targets.class_numbers(drawn)) == dict.fromkeys(range(4), 12)


# ---------------------------------------------------------------- where states come from

WINDOWS = "training.crop={seconds: 0.25, of: audio}"  # of the longer utterances alone


@pytest.mark.parametrize(
    ("family", "kept", "overrides"),
    [
        ("recognition", "frames", []),
        ("verification", "frames", []),
        ("verification", "frames", [WINDOWS]),
        ("keyword", "means", []),
        ("keyword", "means", [WINDOWS]),
        ("keyword", "frames", [WINDOWS]),
    ],
)
def test_kept_and_computed_states_are_the_same(family: str, kept: str, overrides: list[str], run: Run) -> None:
    few = ["training.steps=10", "training.evaluate_every=5", *overrides]
    name = "fbank_no_cmvn" if family == "verification" else "wavlm_nano"  # whose cosines are almost ties
    stored = run(family, f"store.mode={kept}", "store.codec=float32", *few, name=name)
    computed = run(family, "store.mode=off", *few, name=name)
    assert (stored.result.states.mode, computed.result.states.mode) == (kept, "off")
    assert stored.result.metrics == pytest.approx(computed.result.metrics, abs=1e-6)
    assert [head.step for head in stored.result.heads] == [head.step for head in computed.result.heads]
    encoded, encoded_again = (one.result.timing.extracted_audio_seconds for one in (stored, computed))
    assert encoded < encoded_again
    assert (encoded > stored.result.timing.audio_seconds + 0.1) == bool(overrides)  # windows are encoded each time
    one, other = (load_file(outcome.folder / "head.safetensors") for outcome in (stored, computed))
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-4) for name in one)
    if family == "verification":
        assert trial_scores(stored)[0] == trial_scores(computed)[0]
        assert trial_scores(stored)[1] == pytest.approx(trial_scores(computed)[1], abs=1e-4)
    else:
        answer = "hypothesis" if family == "recognition" else "predicted"
        answers = [[(row["id"], row[answer]) for row in rows_of(outcome)] for outcome in (stored, computed)]
        assert answers[0] == answers[1]


# ---------------------------------------------------------------- sweeps


@pytest.mark.parametrize("family", ["recognition", "verification"])
def test_a_seed_of_a_sweep_is_the_head_learned_alone(family: str, run: Run) -> None:
    few = ["training.steps=6", "training.evaluate_every=3"]
    swept = run(family, "sweep.lr=[1e-2, 1e-3]", "sweep.seed=[0, 1]", *few)
    assert len(swept.result.grid) == 4
    by_seed = swept.result.layers[0].score(swept.result.primary.name).by_seed
    assert list(by_seed) == [0, 1]
    together = load_file(swept.folder / "head.safetensors")
    for head in swept.result.heads:
        alone = run(family, f"optimizer.lr={head.lr:g}", *few, seed=head.seed)
        single = load_file(alone.folder / "head.safetensors")
        assert set(single) == {name for name in together if name.startswith(f"published-seed{head.seed}.")}
        assert all(torch.allclose(together[name], single[name], rtol=1e-5, atol=1e-7) for name in single)
        assert by_seed[head.seed] == pytest.approx(alone.result.primary.value)
        assert alone.result.heads[0].step == head.step


@pytest.mark.parametrize(("family", "name"), [("recognition", "fbank"), ("keyword", "mfcc")])
def test_the_only_layer_of_an_upstream_is_learned_once(
    family: str, name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record answers all that was asked, with the bits of heads that are learned one by one."""
    sweep = ("training.steps=10", "training.evaluate_every=5", "sweep.layer=[all, best]", "sweep.lr=[1e-3, 1e-2]")
    learned: list[int] = []
    real = experiment.learn

    def counting(*arguments: Any) -> Any:
        learned.append(len(arguments[4]))
        return real(*arguments)

    monkeypatch.setattr(experiment, "learn", counting)
    once = run(family, *sweep, name=name)
    monkeypatch.setattr(experiment, "distinct", lambda heads, _: list(heads))
    each = run(family, *sweep, name=name)
    assert learned == [2, 4]
    assert (once.folder / "head.safetensors").read_bytes() == (each.folder / "head.safetensors").read_bytes()
    apart = {"timing", "artifacts", "command"}
    assert once.result.model_dump(exclude=apart) == each.result.model_dump(exclude=apart)
    assert [layer.layer for layer in once.result.layers] == [None, 0, "best"]
    assert any("The upstream has one layer" in said for said in once.result.caveats)


# ---------------------------------------------------------------- interruption


def command(family: str, data: Path, folder: Path, steps: int) -> list[str]:
    recipe, *own = SETTINGS[family]
    overrides = [*own, f"training.steps={steps}", "training.evaluate_every=8"]
    return [
        str(REPOSITORY / "run_downstream.py"), "-u", "wavlm_nano", "--random-init", "-d", recipe,
        "--data", str(data), "--results", str(folder / "r"), "--store", str(folder / "s"),
        "--snapshot-seconds", "0.05", *(word for override in overrides for word in ("-o", override)),
    ]  # fmt: skip


@pytest.mark.parametrize(("family", "steps"), [("recognition", 200), ("verification", 24)])
def test_a_killed_run_ends_in_the_same_bits(
    family: str, steps: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """kill -9 while heads are learned, then the same command: the files of a run that was never killed."""
    data: Path = request.getfixturevalue(family)
    killed, unbroken = (command(family, data, tmp_path / folder, steps) for folder in ("killed", "unbroken"))
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, *killed], cwd=REPOSITORY, env=threads, stderr=subprocess.DEVNULL)
    while not (found := list(tmp_path.glob("killed/r/**/snapshot"))):
        assert process.poll() is None, "the run came to its end, or broke off, without a snapshot"
        time.sleep(0.01)
    time.sleep(random.Random(steps).uniform(0.0, 0.2))
    process.kill()
    process.wait()
    left = read_snapshot(found[0])
    assert left is not None
    assert 0 < left[1]["step"] < steps
    assert not list(tmp_path.rglob("result.json"))
    assert [run_downstream.main(arguments[1:]) for arguments in (killed, unbroken)] == [0, 0]
    (resumed,), (whole,) = ((tmp_path / folder).rglob("result.json") for folder in ("killed", "unbroken"))
    answers = "predictions.jsonl" if family == "recognition" else "published-seed0.trials.txt"
    for name in ("head.safetensors", answers):
        assert (resumed.parent / name).read_bytes() == (whole.parent / name).read_bytes()
    one, other = (read_result(path).model_dump(exclude={"timing", "command"}) for path in (resumed, whole))
    assert one == other
    assert not (resumed.parent / "snapshot").exists()


# ---------------------------------------------------------------- what cannot be learned


def carried_out(recipe: str, data: Path, tmp_path: Path, *overrides: str) -> None:
    options = Options(data, tmp_path / "results", tmp_path / "store", progress=False)
    experiment.run(upstream.load("fbank"), load_recipe(recipe, overrides), options)


def test_a_corpus_without_transcripts_or_speakers_is_refused(keyword: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no transcripts with a letter or digit; write them into"):
        carried_out("asr", keyword, tmp_path, "corpus.name=manifest")
    one = tmp_path / "one"
    one.mkdir()
    write_manifest(one, "speaker,split", [(f"s,{part}", tone(400, 0.1)) for part in ("train", "dev", "test")])
    with pytest.raises(UserError, match=r"does not name two speakers; write them into the column speaker"):
        carried_out("sv_xvector", one, tmp_path, "corpus.name=manifest")


@pytest.mark.parametrize("missing", ["decoding.language_model=none.arpa", "decoding.lexicon=none.lst"])
def test_a_missing_language_model_is_said_before_anything_is_computed(
    missing: str, recognition: Path, tmp_path: Path
) -> None:
    pytest.importorskip("flashlight.lib.text.decoder")
    with pytest.raises(UserError, match=r"none\.(arpa|lst) is not there. Check the path, or leave it out"):
        carried_out("asr", recognition, tmp_path, "decoding.method=beam", missing)
    assert {path.name for path in tmp_path.rglob("*")} <= {"store", KEPT}  # digests of recordings


def test_a_missing_trial_list_is_said_before_anything_is_computed(verification: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no trial list none\.txt.*fix trials\.list"):
        carried_out("sv_xvector", verification, tmp_path, *VERIFICATION[1:], "trials.list=none.txt")
    assert {path.name for path in tmp_path.rglob("*")} <= {"store", KEPT}  # digests of recordings
