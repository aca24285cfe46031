"""The flow from a corpus to a record, on a small manifest corpus."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from places import REPOSITORY
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tones import EMOTIONS, SPEAKERS, write_emotions

import upstream
from downstream import experiment
from downstream.data import dataset as datasets
from downstream.data import splits
from downstream.data.corpus import Corpus
from downstream.data.dataset import Dataset, read_dataset
from downstream.recipes.options import Options
from downstream.recipes.recipe import Recipe
from downstream.report import terminal as report
from downstream.results.caveats import caveats
from downstream.results.names import slug
from downstream.results.reading import load_results
from downstream.results.record import LayerScores, Result, Timing, read_result
from downstream.results.run import Run
from downstream.run_steps import Outcome
from downstream.states.cache_plan import plan_cache
from downstream.states.sources import Computed
from downstream.tasks.base import Task
from downstream.tasks.registry import family_of, load_recipe
from downstream.training.learning import refuse_divergence
from downstream.training.loop import Fit
from downstream.training.snapshot import read_snapshot
from downstream.training.sweep import Chosen, Config, choose, layer_settings
from upstream.encode import Item
from upstream.errors import UserError
from upstream.ranks import Ranks

LOGARITHM = """
import torch
from torch import nn
from upstream.base import HiddenStates

class LogEnergy(nn.Module):
    num_layers, dim, stride = 1, 4, 160

    def forward(self, waveforms):
        return HiddenStates.from_utterances([self.energy(waveform) for waveform in waveforms])

    def energy(self, waveform):
        return waveform.unfold(0, 400, 160).square().mean(-1).log()[None, :, None].expand(1, -1, 4)

def build():
    return LogEnergy()
"""
TIMING = Timing(reading=0, extraction=0, training=0, evaluation=0, audio_seconds=0, extracted_audio_seconds=0)
# Tones show in few features, and 24 utterances are too few to standardise the others by.
TONES = ["sweep.layer=mix", "head.standardised=false"]
FAST = ["training.steps=40", "training.evaluate_every=10", "split.folds=3", *TONES]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("corpus"))


def recipe(*overrides: str) -> Recipe:
    return load_recipe("emotion", ["corpus.name=manifest", *FAST, *overrides])


def options(corpus: Path, tmp_path: Path, **changes: object) -> Options:
    base = Options(data=corpus, results=tmp_path / "results", store=tmp_path / "store", progress=False)
    return replace(base, **changes)


def run(corpus: Path, tmp_path: Path, name: str = "fbank_no_cmvn", *overrides: str, **changes: object) -> Outcome:
    model = upstream.load(name, random_init=name == "wavlm_nano")
    return experiment.run(model, recipe(*overrides), options(corpus, tmp_path, **changes))


def without_times(result: Result) -> dict[str, object]:
    return result.model_dump(exclude={"timing", "command"})


def test_a_task_that_can_be_learned_is_learned_and_recorded(corpus: Path, tmp_path: Path) -> None:
    outcome = run(corpus, tmp_path)
    result = outcome.result
    assert not outcome.was_finished
    assert result.primary.value > 0.9
    assert result.primary.low <= result.primary.value <= result.primary.high
    assert result.chance == pytest.approx(1 / 3)
    assert result.details["classes"] == sorted(EMOTIONS)
    assert result.corpus.used.utterances == 72
    assert result.corpus.used.speakers == SPEAKERS
    assert sum(fold.test.utterances for fold in result.folds) == 72
    assert result.primary.value == pytest.approx(np.mean([fold.metrics["test"]["accuracy"] for fold in result.folds]))
    assert torch.__version__.startswith(result.environment["torch"])
    assert read_result(outcome.folder / "result.json") == result


def test_the_artifacts_agree_with_the_record(corpus: Path, tmp_path: Path) -> None:
    outcome = run(corpus, tmp_path)
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    assert len({row["id"] for row in rows}) == 72
    for fold in outcome.result.folds:
        own = [row for row in rows if row["fold"] == fold.name]
        assert np.mean([row["label"] == row["predicted"] for row in own]) == pytest.approx(
            fold.metrics["test"]["accuracy"]
        )
    heads = load_file(outcome.folder / "head.safetensors")
    assert {name.partition(".")[0] for name in heads} == {"fold1-seed0", "fold2-seed0", "fold3-seed0"}
    assert load_recipe(outcome.folder / "recipe.yaml") == recipe()
    events = EventAccumulator(str(outcome.folder / "events" / "fold2-seed0")).Reload()
    assert [event.step for event in events.Scalars("development/accuracy")] == [10, 20, 30, 40]
    weights = [event.value for event in events.Scalars("layer_weights")]
    assert weights == pytest.approx(outcome.result.heads[1].layer_weights)


def test_no_speaker_is_on_two_sides(corpus: Path, tmp_path: Path) -> None:
    used = read_dataset(recipe(), family_of(recipe()), corpus, tmp_path)
    for fold in used.split.folds:
        sides = [{used.utterances[i].speaker for i in part} for part in (fold.train, fold.dev, fold.test)]
        assert sum(len(side) for side in sides) == len(set.union(*sides)) == SPEAKERS


def test_the_same_command_gives_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    first = run(corpus, tmp_path / "a", "wavlm_nano")
    second = run(corpus, tmp_path / "b", "wavlm_nano")
    assert without_times(first.result) == without_times(second.result)
    for name in ("head.safetensors", "predictions.jsonl", "recipe.yaml"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_a_finished_run_is_read_back_and_fresh_begins_again(corpus: Path, tmp_path: Path) -> None:
    first = run(corpus, tmp_path)
    again = run(corpus, tmp_path)
    assert again.was_finished
    assert again.result == first.result
    fresh = run(corpus, tmp_path, fresh=True)
    assert not fresh.was_finished
    assert fresh.result.timing.extracted_audio_seconds == 0.0
    assert without_times(fresh.result) == without_times(first.result)


def test_other_questions_have_other_folders(corpus: Path, tmp_path: Path) -> None:
    folders = {
        run(corpus, tmp_path).folder,
        run(corpus, tmp_path, seed=1).folder,
        run(corpus, tmp_path, layer=0).folder,
        run(corpus, tmp_path, "fbank_no_cmvn", "optimizer.lr=1e-2").folder,
        run(corpus, tmp_path, "wavlm_nano").folder,
    }
    assert len(folders) == 5


def sweep_command(corpus: Path, tmp_path: Path, *extra: str) -> list[str]:
    overrides = [*FAST, "training.steps=2000", "sweep.lr=[1e-2, 1e-3]", "sweep.seed=[0, 1]"]
    return [
        sys.executable, str(REPOSITORY / "run_downstream.py"), "-u", "wavlm_nano", "--random-init", "-d", "emotion",
        "-c", "manifest", "--data", str(corpus), "--results", str(tmp_path / "r"), "--store", str(tmp_path / "s"),
        "--snapshot-seconds", "0.05", *(word for override in overrides for word in ("-o", override)), *extra,
    ]  # fmt: skip


def test_a_run_that_is_killed_again_and_again_ends_in_the_same_bits(corpus: Path, tmp_path: Path) -> None:
    """kill -9 at random moments of the training, then the same command: same heads and scores as never killed."""
    command = sweep_command(corpus, tmp_path)
    chance = random.Random(3)
    resumed_at = []
    for _ in range(3):
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = newest_step(tmp_path)
        deadline = time.monotonic() + 120
        while newest_step(tmp_path) <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        process.kill()
        process.wait()
        resumed_at.append(newest_step(tmp_path))
    assert resumed_at == sorted(set(resumed_at))
    assert 0 < resumed_at[0] < resumed_at[-1] < 2000
    assert not list((tmp_path / "r").rglob("result.json"))
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    subprocess.run(sweep_command(corpus, tmp_path / "unbroken"), cwd=REPOSITORY, check=True, capture_output=True)
    (resumed,) = (tmp_path / "r").rglob("result.json")
    (unbroken,) = (tmp_path / "unbroken").rglob("result.json")
    for name in ("head.safetensors", "predictions.jsonl"):
        assert (resumed.parent / name).read_bytes() == (unbroken.parent / name).read_bytes()
    assert without_times(read_result(resumed)) == without_times(read_result(unbroken))
    assert not (resumed.parent / "snapshot").exists()


def newest_step(tmp_path: Path) -> int:
    """The step of the last snapshot; 0 where there is none."""
    for path in tmp_path.rglob("snapshot"):
        found = read_snapshot(path)
        return int(found[1]["step"]) if found else 0
    return 0


def test_two_processes_share_the_extraction_and_one_records(corpus: Path, tmp_path: Path) -> None:
    command = sweep_command(corpus, tmp_path)[1:]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*torchrun, *command], cwd=REPOSITORY, check=True, capture_output=True, timeout=300)
    subprocess.run(sweep_command(corpus, tmp_path / "alone"), cwd=REPOSITORY, check=True, capture_output=True)
    (shared,) = (tmp_path / "r").rglob("head.safetensors")
    (alone,) = (tmp_path / "alone").rglob("head.safetensors")
    assert shared.read_bytes() == alone.read_bytes()


# ---------------------------------------------------------------- sweeps


def test_a_sweep_records_its_grid_and_scores_the_chosen_alone(corpus: Path, tmp_path: Path) -> None:
    outcome = run(corpus, tmp_path, "wavlm_nano", "sweep.lr=[1e-2, 1e-3, 1e-7]", "sweep.seed=[0, 4]", "sweep.layer=all")
    result = outcome.result
    assert len(result.grid) == 3 * 3 * 2 * 5
    assert len(result.heads) == 3 * 2 * 5
    for head in result.heads:
        group = [p for p in result.grid if (p.fold, p.seed, p.layer) == (head.fold, head.seed, head.layer)]
        assert sorted(fit.lr for fit in group) == [1e-7, 1e-3, 1e-2]
        (chosen,) = [fit for fit in group if fit.chosen]
        assert chosen.development == max(fit.development for fit in group) == head.development
        assert (chosen.lr, chosen.step) == (head.lr, head.step)
    assert [layer.layer for layer in result.layers] == [None, 0, 1, 2, 3]
    accuracy = result.layers[0].score("accuracy")
    assert list(accuracy.by_seed) == [0, 4]
    assert result.primary.value == accuracy.value == pytest.approx(result.metrics["accuracy"])
    assert result.seeds == {"head": [0, 4], "order": [0]}
    heads = load_file(outcome.folder / "head.safetensors")
    assert len({name.partition(".")[0] for name in heads}) == 30
    rows = [json.loads(line) for line in (outcome.folder / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 72 * 2 * 5
    own = [row for row in rows if (row["layer"], row["seed"], row["fold"]) == (2, 4, "fold3")]
    (head,) = [head for head in result.heads if (head.layer, head.seed, head.fold) == (2, 4, "fold3")]
    assert np.mean([row["label"] == row["predicted"] for row in own]) == pytest.approx(head.metrics["test"]["accuracy"])


def test_a_config_of_a_sweep_is_the_run_it_would_have_been_alone(corpus: Path, tmp_path: Path) -> None:
    swept = run(corpus, tmp_path, "wavlm_nano", "sweep.seed=[0, 1]", "sweep.layer=[mix, 2]")
    alone = run(corpus, tmp_path, "wavlm_nano", seed=1, layer=2)
    together, single = (load_file(outcome.folder / "head.safetensors") for outcome in (swept, alone))
    assert {name for name in together if "seed1-layer2" in name} == set(single)
    for name, tensor in single.items():
        assert torch.allclose(together[name], tensor, rtol=1e-5, atol=1e-7)
    (layer,) = (layer for layer in swept.result.layers if layer.layer == 2)
    assert layer.score("accuracy").by_seed[1] == pytest.approx(alone.result.primary.value)


def test_what_a_sweep_found_is_shown(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run(corpus, tmp_path, "wavlm_nano", "sweep.lr=superb", "sweep.seed=[0, 1]", "sweep.layer=[mix, 0]")
    report.show(outcome.result, outcome.folder, Console(width=120))
    shown = capsys.readouterr().out
    assert "development accuracy by learning rate" in shown
    assert "accuracy by layer" in shown
    assert "standard deviation" in shown
    assert len({fit.lr for fit in outcome.result.grid}) == 7


def test_a_diverged_config_is_said_and_the_others_stand(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path, "wavlm_nano", "sweep.lr=[1e38, 1e-2]").result
    assert {head.lr for head in result.heads} == {1e-2}
    assert {fit.diverged for fit in result.grid if fit.lr == 1e38} == {21}
    assert any("3 of 6 heads diverged" in caveat for caveat in result.caveats)
    with pytest.raises(UserError, match=r"Training diverged.*-o optimizer\.lr=1e\+37"):
        run(corpus, tmp_path, "wavlm_nano", "optimizer.lr=1e38")


def test_a_seed_without_a_head_on_some_fold_is_left_out_of_its_layers_score() -> None:
    def tried(fold: int, seed: int, layer: int | None, step: int) -> Fit:
        return Fit(fold, Config(1e-2, seed, layer), step, 0.5 if step else -np.inf)

    groups = [(fold, seed, layer) for fold in (0, 1) for seed in (0, 1) for layer in (None, 3)]
    fits = [tried(*group, step=0 if group == (1, 0, 3) else 10) for group in groups]
    chosen = choose(fits, [None, 3])
    assert {(one.fit.config.seed, one.fit.config.layer) for one in chosen} == {(0, None), (1, None), (1, 3)}
    assert {(one.fit.config.seed, one.setting) for one in chosen} == {(0, None), (1, None), (1, 3)}
    assert len(chosen) == 6

    def is_scored(ones: list[Chosen[Fit]]) -> bool:
        return any(one.setting is None for one in ones)

    refuse_divergence(fits, is_scored(chosen), recipe())
    with pytest.raises(UserError, match=r"-o sweep\.lr=\[0\.001\]"):
        refuse_divergence(fits, is_scored([one for one in chosen if one.setting == 3]), recipe("sweep.lr=[1e-2]"))


def test_layers_from_two_sides_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Both -l 1 and the recipe's sweep\.layer"):
        run(corpus, tmp_path, "wavlm_nano", "sweep.layer=[mix, 2]", layer=1)


def test_a_layer_from_one_side_takes_the_place_of_the_best() -> None:
    for word in ("mix", "best", "chosen"):
        assert layer_settings(recipe(f"sweep.layer={word}"), 4, -1) == [3]
    with pytest.raises(UserError, match=r"Both -l 1"):
        layer_settings(recipe("sweep.layer=[best, 2]"), 4, 1)


def test_the_first_layer_listed_is_the_primary_one(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path, "wavlm_nano", "sweep.layer=[3, all]").result
    assert [layer.layer for layer in result.layers] == [3, None, 0, 1, 2]
    assert result.layer_weights == [0, 0, 0, 1]


def test_the_best_layer_is_that_layers_own_run(corpus: Path, tmp_path: Path) -> None:
    """Recorded beside other settings: scores, heads, tensors, predictions; and read as one table."""
    swept = run(corpus, tmp_path, "wavlm_nano", "sweep.layer=[mix, best, 1]", "sweep.seed=[0, 1]")
    result = swept.result
    assert [layer.layer for layer in result.layers] == [None, "best", 1]
    assert len(result.grid) == 3 * 2 * 5  # the weighted sum and four layers, on each fold with each seed
    best = [head for head in result.heads if head.setting == "best"]
    assert [(head.fold, head.seed) for head in best] == [(f"fold{k}", seed) for k in (1, 2, 3) for seed in (0, 1)]
    for head in best:
        competing = [fit for fit in result.grid if (fit.fold, fit.seed) == (head.fold, head.seed)]
        scores = {fit.layer: fit.development for fit in competing if fit.layer is not None}
        assert head.layer == max(scores, key=lambda layer: (scores[layer], -layer))
        assert head.layer_weights == [float(layer == head.layer) for layer in range(4)]
    assert {head.setting for head in result.heads} == {None, "best", 1}
    assert all(head.setting == head.layer for head in result.heads if head.setting != "best")

    tensors = load_file(swept.folder / "head.safetensors")
    alone = {layer: run(corpus, tmp_path, "wavlm_nano", "sweep.seed=[0, 1]", f"sweep.layer={layer}")
             for layer in {head.layer for head in best}}  # fmt: skip
    for head in best:
        name, single = f"{head.fold}-seed{head.seed}", alone[head.layer]
        own = load_file(single.folder / "head.safetensors")
        parts = [part.removeprefix(f"{name}-best.") for part in tensors if part.startswith(f"{name}-best.")]
        assert len(parts) == 5
        for part in parts:
            learned = own[f"{name}-layer{head.layer}.{part}"]
            assert torch.allclose(tensors[f"{name}-best.{part}"], learned, rtol=1e-5, atol=1e-7)
        (twin,) = [one for one in single.result.heads if (one.fold, one.seed) == (head.fold, head.seed)]
        assert (head.metrics, head.step) == (twin.metrics, twin.step)
        assert head.development == pytest.approx(twin.development)
    accuracy = result.layers[1].score("accuracy")
    assert accuracy.value == pytest.approx(np.mean([head.metrics["test"]["accuracy"] for head in best]))
    assert accuracy.low is not None
    rows = [json.loads(line) for line in (swept.folder / "predictions.jsonl").read_text().splitlines()]
    assert {row["layer"] for row in rows} == {"mix", "best", 1}
    assert len(rows) == 72 * 2 * 3
    table = load_results(swept.folder)
    assert table["layer"].tolist() == ["mix"] * 3 + ["best"] * 3 + [1] * 3
    assert read_result(swept.folder / "result.json") == result


def test_the_best_layer_alone_is_the_primary_score(corpus: Path, tmp_path: Path) -> None:
    result = run(corpus, tmp_path, "wavlm_nano", "sweep.layer=best").result
    assert [layer.layer for layer in result.layers] == ["best"]
    assert {fit.layer for fit in result.grid} == {0, 1, 2, 3}
    assert result.primary.value == result.layers[0].score("accuracy").value
    chosen = [head.layer for head in result.heads]
    assert result.layer_weights == pytest.approx([chosen.count(layer) / 3 for layer in range(4)])


def test_superbs_own_search_is_within_its_protocol(tmp_path: Path) -> None:
    superb = load_recipe("superb/er")
    model = upstream.load("fbank_no_cmvn")
    family = family_of(superb)
    nothing = Dataset(Corpus("no", "No", "none", (), "nowhere"), "emotion", (), (), splits.Split((), ""))
    plan = plan_cache(superb.store, family.needs(), model, (), tmp_path, None)
    own, other = (
        replace(Options(None, Path(), Path()), overrides=(one,)) for one in ("sweep.lr=superb", "training.batch=8")
    )

    def said(chosen: Options) -> list[str]:
        task: Task = SimpleNamespace(caveats=tuple)  # type: ignore[assignment]  # nothing was tested
        run = Run(model, superb, chosen, family, task, nothing, plan, "", [None], [], [], [], TIMING)
        return caveats(run, [], LayerScores(layer=None, scores=[]), [])

    assert not any("Not SUPERB" in one for one in said(own))
    assert any("Not SUPERB" in one for one in said(other))


# ---------------------------------------------------------------- where states come from


def test_several_processes_refuse_to_share_nothing(corpus: Path, tmp_path: Path) -> None:
    model, two = upstream.load("wavlm_nano", random_init=True), Ranks(1, 2, 1)
    with pytest.raises(UserError, match="start one alone, or make room"):
        experiment.run(model, recipe("store.mode=off"), options(corpus, tmp_path), two)
    finished = run(corpus, tmp_path, "wavlm_nano")
    assert not finished.was_finished
    assert experiment.run(model, recipe(), options(corpus, tmp_path), two) is None  # the first one shows it


def test_memory_that_ran_out_once_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    class Small:
        """Takes two utterances at a time."""

        name, device, tried = "small", torch.device("cpu"), []

        def means(self, waveforms: list[torch.Tensor]) -> torch.Tensor:
            self.tried.append(len(waveforms))
            if len(waveforms) > 2:
                raise torch.OutOfMemoryError("out of memory")
            return torch.zeros(len(waveforms), 1, 1)

    class Silence:
        def load(self) -> torch.Tensor:
            return torch.zeros(1_000)

    items = [Item(str(index), Silence(), str(index), 1 / 16) for index in range(8)]
    source = Computed(Small(), items, "means")
    list(source.batches([torch.arange(8), torch.arange(8)]))
    assert Small.tried == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16", "int8"])
def test_frames_from_the_store_give_the_score_of_means(corpus: Path, tmp_path: Path, codec: str) -> None:
    means = run(corpus, tmp_path, "wavlm_nano").result
    frames = run(corpus, tmp_path, "wavlm_nano", "store.mode=frames", f"store.codec={codec}").result
    assert frames.states.mode == "frames"
    assert frames.states.codec == codec
    assert frames.primary.value == pytest.approx(means.primary.value, abs=0.03)
    if codec == "float32":
        assert frames.primary.value == means.primary.value


@pytest.mark.parametrize("layer", [None, 1])
def test_without_a_store_the_score_is_the_same(corpus: Path, tmp_path: Path, layer: int | None) -> None:
    stored = run(corpus, tmp_path, "wavlm_nano", layer=layer)
    computed = run(corpus, tmp_path / "off", "wavlm_nano", "store.mode=off", layer=layer)
    assert computed.result.states.mode == "off"
    assert not (tmp_path / "off" / "store" / "states").exists()
    assert computed.result.primary.value == stored.result.primary.value
    assert computed.result.timing.extracted_audio_seconds > 2 * computed.result.timing.audio_seconds
    one, other = (load_file(outcome.folder / "head.safetensors") for outcome in (stored, computed))
    assert all(torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-4) for name in one)


def test_the_estimate_decides_and_is_said_before_anything_is_written(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(corpus, tmp_path, "wavlm_nano", store_limit=10_000, progress=True).result
    assert result.states.mode == "off"
    said = capsys.readouterr().err
    assert "Means of 72 utterances" in said
    assert "(--store-limit): so the upstream runs while heads learn" in said
    assert not (tmp_path / "store" / "states").exists()
    with pytest.raises(UserError, match=r"raise --store-limit, or choose -o store\.mode=off"):
        run(corpus, tmp_path, "wavlm_nano", "store.mode=means", store_limit=10_000)
    again = run(corpus, tmp_path, "wavlm_nano", store_limit=0)
    assert again.was_finished  # what is finished is shown, whatever room there is now
    fresh = run(corpus, tmp_path, "wavlm_nano", store_limit=1_000_000, fresh=True, progress=True)
    assert fresh.result.states.mode == "means"
    assert "would be written, 1 MB is the limit" in capsys.readouterr().err


def test_caveats_are_said(corpus: Path, tmp_path: Path) -> None:
    assert any("untrained" in caveat for caveat in run(corpus, tmp_path, "wavlm_nano").result.caveats)
    standardised = run(corpus, tmp_path, "fbank").result
    assert any("standardised over its utterance" in note for note in standardised.upstream.notes)
    assert not run(corpus, tmp_path).result.upstream.notes


def test_missing_classes_and_columns_are_sentences(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no utterance of class happy.*high, low, middle"):
        run(corpus, tmp_path, "fbank", "corpus.classes=[happy, low]")
    with pytest.raises(UserError, match="no label column mood; found emotion"):
        run(corpus, tmp_path, "fbank", "corpus.label=mood")


def test_a_manifests_plain_label_column_serves(corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "plain"
    other.mkdir()
    text = (corpus / "manifest.csv").read_text().replace("path,speaker,emotion", "path,speaker,label")
    rows = [line if i == 0 else f"{corpus}/{line}" for i, line in enumerate(text.splitlines())]
    (other / "manifest.csv").write_text("\n".join(rows))
    assert run(other, tmp_path).result.primary.value > 0.9


def test_sessions_are_the_folds_whatever_their_number(corpus: Path, tmp_path: Path) -> None:
    """A part of a corpus of sessions has as many folds as sessions."""
    other = tmp_path / "sessions"
    other.mkdir()
    header, *rows = (corpus / "manifest.csv").read_text().splitlines()
    grouped = [f"{corpus}/{row},Session{int(row.split(',')[1][1:]) // 2}" for row in rows]
    (other / "manifest.csv").write_text("\n".join([f"{header},group", *grouped]))
    folds = run(other, tmp_path, "fbank_no_cmvn", "split.folds=5").result.folds
    assert [fold.test.utterances for fold in folds] == [24, 24, 24]


def test_superb_er_runs_on_any_corpus_of_five_speakers(corpus: Path, tmp_path: Path) -> None:
    overrides = ["corpus.name=manifest", "corpus.classes=null", "training.steps=40", "training.evaluate_every=20"]
    superb = load_recipe("superb/er", overrides)
    chosen = options(corpus, tmp_path, overrides=tuple(overrides))
    outcome = experiment.run(upstream.load("fbank_no_cmvn"), superb, chosen)
    assert len(outcome.result.folds) == 5
    assert any("published session lists" in note for note in outcome.result.corpus.notes)
    assert any("batch-mates" in caveat for caveat in outcome.result.caveats)
    assert outcome.result.recipe.overrides == overrides
    assert outcome.result.caveats[0].startswith("Not SUPERB's recipe: corpus.name=manifest")


def test_the_same_recipe_on_another_draw_is_another_run(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folds are part of the question: a finished run of one draw must not answer for another."""
    first = run(corpus, tmp_path)
    real = datasets.divide

    def other_draw(choice: object, recipe: Recipe) -> tuple[object, splits.Split]:
        choice, split = real(choice, recipe)
        return choice, replace(split, folds=(*split.folds[1:], split.folds[0]))

    monkeypatch.setattr(datasets, "divide", other_draw)
    second = run(corpus, tmp_path)
    assert not second.was_finished
    assert second.folder != first.folder


def test_states_that_are_not_finite_name_their_utterance(corpus: Path, tmp_path: Path) -> None:
    """A log of zero in a user's model, met on one silent recording."""
    (tmp_path / "model.py").write_text(LOGARITHM)
    silent = tmp_path / "silent"
    silent.mkdir()
    soundfile.write(silent / "silence.wav", np.zeros(6_000), 16_000)
    header, *rows = (corpus / "manifest.csv").read_text().splitlines()
    rows = [f"{corpus}/{row}" for row in rows]
    (silent / "manifest.csv").write_text("\n".join([header, *rows, "silence.wav,s0,low"]))
    with pytest.raises(UserError, match=r"NaN or infinite states for .*silence\.wav"):
        experiment.run(upstream.load(f"{tmp_path}/model.py:build"), recipe(), options(silent, tmp_path))


def test_labels_are_shown_as_they_are(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a label are no markup."""
    odd = tmp_path / "odd"
    odd.mkdir()
    text = (corpus / "manifest.csv").read_text().replace(",low", ",[/low]").replace(",high", ",[laugh]")
    rows = [line if i == 0 else f"{corpus}/{line}" for i, line in enumerate(text.splitlines())]
    (odd / "manifest.csv").write_text("\n".join(rows))
    outcome = run(odd, tmp_path)
    report.show(outcome.result, outcome.folder, Console(width=120))
    shown = capsys.readouterr().out
    assert "[/low]" in shown
    assert shown.count("[laugh]") >= 3


def test_one_test_speaker_has_no_interval(corpus: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    header, *rows = (corpus / "manifest.csv").read_text().splitlines()
    parts = {"s0": "test", "s1": "dev"}
    rows = [f"{corpus}/{row},{parts.get(row.split(',')[1], 'train')}" for row in rows]
    (alone / "manifest.csv").write_text("\n".join([f"{header},split", *rows]))
    outcome = run(alone, tmp_path, "fbank_no_cmvn", "split.rule=published")
    assert (outcome.result.primary.low, outcome.result.primary.high) == (None, None)
    assert "no interval, 1 test speaker, and it takes two or more" in report.score_line(outcome.result)


def test_a_class_that_training_lacks_is_said(corpus: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    header, *rows = (corpus / "manifest.csv").read_text().splitlines()
    kept = [f"{corpus}/{row}" for row in rows if not row.endswith(",low") or ",s0," in row]
    (lacking / "manifest.csv").write_text("\n".join([header, *kept]))
    caveats = run(lacking, tmp_path).result.caveats
    assert any("is tested on low, of which its training part has nothing" in caveat for caveat in caveats)


def test_a_layer_that_is_not_there_is_refused_before_anything_is_computed(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no layer 9"):
        run(corpus, tmp_path, layer=9)
    assert not (tmp_path / "store").exists()


def test_files_are_as_readable_as_the_user_wants_and_name_no_host(corpus: Path, tmp_path: Path) -> None:
    folder = run(corpus, tmp_path).folder
    mask = os.umask(0)
    os.umask(mask)
    for name in ("result.json", "head.safetensors"):
        assert (folder / name).stat().st_mode & 0o777 == 0o666 & ~mask
    assert not [path for path in tmp_path.rglob("*") if socket.gethostname() in path.name]


def test_an_unwritable_results_folder_is_a_sentence(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="--results"):
        run(corpus, tmp_path, results=tmp_path / "file")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("wavlm_base", "wavlm_base"), ("hf:org/name@main", "hf__org__name__main"), ("../up/x.pt", "up__x.pt")],
)
def test_slugs_stay_inside_the_results(name: str, folder: str) -> None:
    assert slug(name) == folder
