"""SUPERB's recipes: their constants, and each from end to end on a miniature of its corpus in the published layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open

import upstream
from downstream import experiment
from downstream.data.corpora.cards import WORDS_V1
from downstream.data.corpora.speech_commands import TEST_FOLDERS
from downstream.data.superb_splits import superb_part
from downstream.recipes.files import shipped
from downstream.recipes.options import Options
from downstream.recipes.recipe import Recipe
from downstream.run_steps import Outcome
from downstream.tasks.classification import ClassificationRecipe
from downstream.tasks.recognition import RecognitionRecipe
from downstream.tasks.registry import load_recipe
from downstream.tasks.verification import VerificationRecipe
from upstream.errors import UserError

RECIPES = shipped("recipes")
SHORT = ("training.steps=4", "training.evaluate_every=2")


def write(path: Path, pitch: float, seconds: float, seed: int) -> None:
    """A tone in a little noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(16_000 * seconds)) / 16_000
    noise = np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time) + 0.01 * noise, 16_000)


def librispeech(folder: Path) -> None:
    """Two training readers and one of each other part, three utterances each."""
    readers = {19: "train-clean-100", 26: "train-clean-100", 84: "dev-clean", 61: "test-clean", 367: "test-other"}
    for reader, part in readers.items():
        chapter = folder / "LibriSpeech" / part / str(reader) / "1"
        lines = []
        for take, text in enumerate(("A TEST", "IT'S", "ONE MORE")):
            write(chapter / f"{reader}-1-{take:04d}.flac", 300 * (take + 1), 0.3 + 0.1 * take, reader + take)
            lines.append(f"{reader}-1-{take:04d} {text}")
        (chapter / f"{reader}-1.trans.txt").write_text("\n".join(lines) + "\n")


def voxceleb(folder: Path) -> None:
    """Two training speakers, one of whose clips is short, and two others, alike, with a list of all their trials."""
    speakers = {"dev/wav/id10001": (200, 220), "dev/wav/id10002": (900, 990), "test/wav/id10270": (400, 3_000),
                "test/wav/id10271": (410, 3_010)}  # fmt: skip
    for number, (place, pitches) in enumerate(speakers.items()):
        for take, pitch in enumerate(pitches):
            write(folder / place / "x6uYqmx31kE" / f"{take:05d}.wav", pitch, 2.05, 10 * number + take)
    write(folder / "dev/wav/id10002/x6uYqmx31kE/00009.wav", 900, 1.0, 99)
    tested = [f"{speaker}/x6uYqmx31kE/0000{take}.wav" for speaker in ("id10270", "id10271") for take in (0, 1)]
    pairs = [(one, other) for number, one in enumerate(tested) for other in tested[:number]]
    lines = [f"{int(one[:7] == other[:7])} {one} {other}" for one, other in pairs]
    (folder / "voxceleb1_test_v2.txt").write_text("\n".join(lines) + "\n")


def speakers_of(part: str) -> list[str]:
    """Two speakers whose clips SUPERB's hash puts into a part."""
    names = (hashlib.md5(str(number).encode()).hexdigest()[:8] for number in count())
    return list(islice((name for name in names if superb_part(name) == part), 2))


def speech_commands(folder: Path) -> None:
    """Eleven words of two speakers for each of SUPERB's parts, two recordings of noise, a clip of each test folder."""
    clips = folder / "speech_commands_v0.01"
    for pitch, word in enumerate((*WORDS_V1[:10], "bed"), start=1):
        for part in ("train", "dev", "discarded"):
            for number, speaker in enumerate(speakers_of(part)):
                write(clips / word / f"{speaker}_nohash_0.wav", 300 * pitch, 0.2 + 0.05 * number, pitch)
    for number, name in enumerate(("pink_noise", "running_tap")):
        write(clips / "_background_noise_" / f"{name}.wav", 1.0, 1.6, number)
    for pitch, label in enumerate(TEST_FOLDERS, start=1):
        name = "bed_0a1b2c3d_nohash_0" if label == "_unknown_" else "0a1b2c3d_nohash_0"
        write(folder / "speech_commands_test_set_v0.01" / label / f"{name}.wav", 300 * pitch, 0.2, 100 + pitch)


def run(recipe: str, data: Path, tmp_path: Path, *overrides: str, name: str = "wavlm_nano") -> Outcome:
    options = Options(data, tmp_path / "results", tmp_path / "store", overrides=overrides, progress=False)
    model = upstream.load(name, random_init=name == "wavlm_nano")
    outcome = experiment.run(model, load_recipe(recipe, overrides), options)
    assert outcome is not None
    return outcome


def check_protocol(outcome: Outcome, recipe: Recipe, overrides: Sequence[str]) -> None:
    """The record says that it is SUPERB's protocol, what was changed of it, and where it departs from it."""
    result = outcome.result
    assert (result.recipe.protocol, result.recipe.name) == ("superb", recipe.name)
    assert result.recipe.overrides == list(overrides)
    assert result.caveats[0] == f"Not SUPERB's recipe: {', '.join(overrides)}."
    assert recipe.deviations
    assert result.caveats[-len(recipe.deviations) :] == [
        f"Deviation from the protocol: {deviation}" for deviation in recipe.deviations
    ]


# ---------------------------------------------------------------- constants, by the sections of the protocol


def test_superb_asr_is_superbs() -> None:
    """Parts, 32 tokens, 16 utterances of similar length, Adam 1e-4, 200,000 steps, two BiLSTMs of 1024, SpecAugment."""
    recipe = load_recipe("superb/asr")
    assert isinstance(recipe, RecognitionRecipe)
    assert (recipe.task, recipe.corpus.name, recipe.split.rule) == ("recognition", "librispeech", "published")
    assert recipe.split.train == ("train-clean-100",)
    assert (recipe.split.dev, recipe.split.test) == (("dev-clean",), ("test-clean",))
    assert (recipe.split.longer_than, recipe.text.vocabulary) == (0.0, "superb")
    assert (recipe.corpus.effects.gain, recipe.corpus.effects.remove_silence) == (0.0, False)
    head, masks = recipe.head, recipe.head.spec_augment
    assert (head.projection, head.hidden, head.depth, head.dropout) == (1024, 1024, 2, 0.2)
    assert masks is not None
    assert masks.time_warp_window == 5
    assert (masks.frequency_masks, masks.frequency_width) == (4, 50)  # narrower than that
    assert (masks.time_masks, masks.time_width) == (2, 40)
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adam", 1e-4, 0.0)
    training = recipe.training
    assert (training.steps, training.evaluate_every, training.clip) == (200_000, 2_000, 1.0)
    assert (training.sampling, training.accumulate, training.crop) == ("superb_buckets", 1, None)
    assert (recipe.primary, recipe.select, recipe.decoding.method) == ("wer", "wer", "greedy")
    decoding = recipe.decoding
    assert (decoding.beam, decoding.threshold, decoding.lm_weight, decoding.word_score) == (5, 25.0, 2.0, -1.0)


def test_superb_asv_is_superbs() -> None:
    """Gain and silence, over 2 s, 8 s windows, 10 x 5, AdamW 1e-4, clip 1000, AM-softmax 30 and 0.4, EER."""
    recipe = load_recipe("superb/asv")
    assert isinstance(recipe, VerificationRecipe)
    assert (recipe.task, recipe.corpus.name, recipe.split.rule) == ("verification", "voxceleb1", "superb_asv")
    assert (recipe.corpus.effects.gain, recipe.corpus.effects.remove_silence) == (-3.0, True)
    assert recipe.split.longer_than == 32_000 / 16_000
    assert (recipe.head.projection, recipe.head.scale, recipe.head.margin) == (512, 30.0, 0.4)
    assert (recipe.trials.list, recipe.trials.normalisation) == ("published", "none")
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adamw", 1e-4, 0.01)
    training = recipe.training
    assert (training.batch, training.accumulate, training.steps, training.clip) == (10, 5, 200_000, 1000.0)
    assert training.evaluate_every == 20_000
    assert training.crop is not None
    assert (training.crop.seconds, training.crop.of) == (128_000 / 16_000, "audio")
    assert (training.sampling, recipe.primary, recipe.select) == ("shuffled", "eer", "eer")


def test_superb_ks_is_superbs() -> None:
    """Twelve classes in order, gain, hash of the speaker, drawn in balance, 32, Adam 1e-4, 200,000 steps."""
    recipe = load_recipe("superb/ks")
    assert isinstance(recipe, ClassificationRecipe)
    assert (recipe.task, recipe.corpus.name, recipe.split.rule) == ("classification", "speech_commands_v1", "superb_ks")
    assert recipe.corpus.classes == ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
    silence = recipe.corpus.silence
    assert silence is not None
    assert (recipe.corpus.others, silence.name, silence.label) == ("_unknown_", "_silence_", "_background_noise_")
    assert silence.seconds == 16_000 / 16_000
    assert (recipe.corpus.effects.gain, recipe.corpus.effects.remove_silence) == (-3.0, False)
    assert recipe.head.projection == 256
    assert (recipe.optimizer.name, recipe.optimizer.lr, recipe.optimizer.weight_decay) == ("adam", 1e-4, 0.0)
    training = recipe.training
    assert (training.batch, training.accumulate, training.steps, training.clip) == (32, 1, 200_000, 1.0)
    assert (training.sampling, training.evaluate_every) == ("superb_balanced", 5_000)
    assert training.crop is not None
    assert (training.crop.seconds, training.crop.of) == (1.0, "audio")
    assert (recipe.primary, recipe.select) == ("accuracy", "accuracy")


# ---------------------------------------------------------------- from end to end


def test_superb_asr_runs(tmp_path: Path) -> None:
    overrides = (*SHORT, "head.hidden=8", "head.projection=8")
    librispeech(tmp_path)
    outcome = run("superb/asr", tmp_path, tmp_path, *overrides)
    result = outcome.result
    check_protocol(outcome, load_recipe("superb/asr"), overrides)
    (fold,) = result.folds
    assert [part.utterances for part in (fold.train, fold.dev, fold.test)] == [6, 3, 3]
    assert set(result.metrics) == {"wer", "cer"}  # test-other is here and not SUPERB's
    assert any("left out" in note for note in result.corpus.notes)
    with safe_open(outcome.folder / "head.safetensors", "pt") as heads:
        outputs = json.loads(heads.metadata()["wavprobe"])["folds"]["published"]["outputs"]
        assert outputs[:5] == ["<s>", "<pad>", "</s>", "<unk>", "|"]
        assert "".join(outputs[5:]) == "ETAONIHSRDLUMCWFGYPBVK'XJQZ"
        assert heads.get_slice("published-seed0.output.weight").get_shape() == [32, 16]


def test_superb_asv_runs_and_says_that_its_step_was_chosen_on_the_test_set(tmp_path: Path) -> None:
    voxceleb(tmp_path)
    overrides = (*SHORT, "head.projection=8")
    outcome = run("superb/asv", tmp_path, tmp_path, *overrides, name="fbank_no_cmvn")
    result = outcome.result
    check_protocol(outcome, load_recipe("superb/asv"), overrides)
    (fold,) = result.folds
    assert fold.dev == fold.test
    assert (fold.train.utterances, fold.train.speakers, fold.test.speakers) == (4, 2, 2)  # the short clip is left out
    assert any("not longer than 2 s" in note for note in result.corpus.notes)
    (head,), (fit,) = result.heads, result.grid
    trials = head.details["test"]["trials"]
    assert (trials["trials"], trials["targets"]) == (6, 2)
    assert "voxceleb1_test_v2.txt as it stands" in trials["rule"]
    last = fit.curve[-1][2]
    assert last is not None
    assert 0.0 < head.development == result.primary.value <= last
    (said,) = [caveat for caveat in result.caveats if "chosen on the test set" in caveat]
    assert "optimistic" in said
    assert said.endswith(f"at the last step the EER is {100 * last:.2f} %.")


def test_superb_ks_runs_on_the_same_windows_with_and_without_a_store(tmp_path: Path) -> None:
    speech_commands(tmp_path)
    overrides = (*SHORT, "head.projection=8")
    outcome = run("superb/ks", tmp_path, tmp_path, *overrides)
    result = outcome.result
    check_protocol(outcome, load_recipe("superb/ks"), overrides)
    classes = result.details["classes"]
    assert classes[-2:] == ["_unknown_", "_silence_"]
    (fold,) = result.folds
    assert fold.train.labels == dict.fromkeys(classes, 2)  # two speakers, two recordings of noise
    assert sum(fold.dev.labels.values()) == 24  # as many as there are, drawn with replacement
    assert fold.test.labels == dict.fromkeys(classes, 1)
    computed = run("superb/ks", tmp_path, tmp_path, *overrides, "store.mode=off")
    assert (result.states.mode, computed.result.states.mode) == ("means", "off")
    assert result.metrics == computed.result.metrics
    rows, again = ((one.folder / "predictions.jsonl").read_text().splitlines() for one in (outcome, computed))
    answers = [[json.loads(row)["predicted"] for row in some] for some in (rows, again)]
    assert answers[0] == answers[1]
    with (
        safe_open(outcome.folder / "head.safetensors", "pt") as one,
        safe_open(computed.folder / "head.safetensors", "pt") as other,
    ):
        for name in one.keys():  # noqa: SIM118  # no mapping
            assert torch.allclose(one.get_tensor(name), other.get_tensor(name), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "leaving"),
    [("sweep.layer=all", ()), ("sweep.layer=[mix, 0, best]", ()), ("sweep.layer=[0, mix]", ("sweep.layer=[0, mix]",))],
)
def test_more_layers_beside_the_weighted_sum_keep_to_the_protocol(
    layers: str, leaving: tuple[str, ...], tmp_path: Path
) -> None:
    """The first setting gives the score, and the published ones are of the weighted sum."""
    speech_commands(tmp_path)
    result = run("superb/ks", tmp_path, tmp_path, *SHORT, layers, name="fbank").result
    assert (result.layers[0].layer is None) == (not leaving)
    assert result.caveats[0] == f"Not SUPERB's recipe: {', '.join((*SHORT, *leaving))}."


@pytest.mark.parametrize(
    ("recipe", "write_corpus", "lacking", "words"),
    [
        ("superb/asv", voxceleb, "voxceleb1_test_v2.txt", "name one with -o trials.list=FILE, or choose -d sv"),
        ("superb/ks", speech_commands, "speech_commands_test_set_v0.01", "or choose -d keyword"),
    ],
)
def test_what_superb_cannot_do_without_is_named(
    recipe: str, write_corpus: Callable[[Path], None], lacking: str, words: str, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "data")
    (tmp_path / "data" / lacking).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError) as refusal:
        run(recipe, tmp_path / "data", tmp_path)
    assert words in str(refusal.value)
    assert not (tmp_path / "results").exists()


# ---------------------------------------------------------------- recipes whose parts do not go together

OF_EIGHT = ["training.batch_seconds=null", "training.batch=8"]


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        ("emotion", ["primary=wer"], "classification has accuracy, unweighted_accuracy, macro_f1"),
        ("asr", ["training.select=eer"], "training.select is eer; a task of recognition has wer, cer"),
        ("asr", [*OF_EIGHT, "training.sampling=balanced"], "a task of recognition takes shuffled or superb_buckets"),
        ("sv_xvector", ["training.sampling=superb_balanced"], "a task of verification takes shuffled."),
        ("asr", ["training.sampling=balanced"], "sampling balanced needs batch, not batch_seconds"),
        ("asr", ["training.batch=8"], "give one of batch, batch_seconds and sampling: superb_buckets"),
        ("superb/asr", ["training.batch=8"], "give one of batch, batch_seconds and sampling: superb_buckets"),
        (
            "keyword",
            ["training.sampling=superb_buckets", "training.batch=null"],
            "a task of classification takes shuffled or balanced or superb_balanced",
        ),
        ("emotion", ["training.crop={seconds: 1, of: states}"], "reads means of whole utterances; use audio"),
        ("superb/ks", ["corpus.silence=null"], "corpus.silence says which label and name"),
        ("keyword", ["split.rule=speaker_folds"], "choose split.rule published, or no corpus.silence"),
        ("emotion", ["corpus.label=[]"], "corpus.label is missing: which column of labels is to be learned"),
    ],
)
def test_parts_that_do_not_go_together_are_sentences(recipe: str, overrides: list[str], words: str) -> None:
    load_recipe(recipe)
    with pytest.raises(UserError) as refusal:
        load_recipe(recipe, overrides)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("recipe", "old", "new", "words"),
    [
        ("superb/ks", "    name: _silence_\n", "", "The key 'corpus.silence.name' is missing"),
        (
            "sv_xvector",
            "of: states",
            "of: frames",
            "'training.crop.of' is 'frames': input should be 'audio' or 'states'",
        ),
        ("asr", "task: recognition", "task: verification", "There is no key 'head.hidden'"),
        ("sv", "primary: eer", "primary: wer", "a task of verification has eer, min_dcf_0.01"),
    ],
)
def test_files_of_ones_own_are_checked_likewise(recipe: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    text = (RECIPES / f"{recipe}.yaml").read_text()
    assert old in text
    (tmp_path / "own.yaml").write_text(text.replace(old, new))
    with pytest.raises(UserError) as refusal:
        load_recipe(str(tmp_path / "own.yaml"))
    assert words in str(refusal.value)
