"""Runs whose encoder learns: every family, what is kept, how they are resumed, and what is said of them."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from places import REPOSITORY
from small_runs import FAMILIES, write_words
from tuned_runs import TUNED, live_digest, live_weights, run_on, small_wavlm, tuned_run

import upstream
from downstream.cli.export import needed
from downstream.comparison import compare_runs
from downstream.comparison.words import notes
from downstream.conversion import convert
from downstream.exports.latex_table import latex_table
from downstream.exports.superb_submission import refuse_departures
from downstream.finetuning import learner, room
from downstream.finetuning.learner import FineTuning
from downstream.leaderboards import write_leaderboard
from downstream.prediction import export, predict
from downstream.report.comparable import why_incomparable
from downstream.results import HEADS, Result, checked, read_result
from downstream.results.folder import LEARNED, SNAPSHOT
from downstream.training import Update
from upstream.errors import UserError
from upstream.wavlm import checkpoint


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def tuned(corpus: Path, place: Path) -> Result:
    return tuned_run("class", corpus, place)


def folder_of(result: Result) -> Path:
    assert result.folder is not None
    return result.folder


def encoders_of(result: Result) -> list[Path]:
    assert result.finetuning is not None
    return [folder_of(result) / one.folder for one in result.finetuning.encoders.values()]


# ---------------------------------------------------------------- every family


@pytest.mark.parametrize("family", TUNED)
def test_every_family_learns_its_encoder(family: str, corpus: Path, place: Path) -> None:
    result = tuned_run(family, corpus, place)
    before = small_wavlm()
    assert result.recipe.protocol == "fine-tuned"
    assert result.upstream.fingerprint == before.fingerprint
    assert result.finetuning is not None
    (encoder,) = result.finetuning.encoders.values()
    (folder,) = encoders_of(result)
    kept = upstream.load(str(folder))
    assert encoder.fingerprint == kept.fingerprint != before.fingerprint
    assert [path for path in folder.parent.iterdir() if path != folder] == []  # of a sweep the chosen one alone
    assert not {LEARNED, SNAPSHOT} & set(os.listdir(folder_of(result)))
    assert checked(folder_of(result)).unchecked == ()


@pytest.mark.parametrize("family", ["class", "text", "speaker", "fitted"])
def test_a_frozen_encoder_stays_as_it_is(family: str, corpus: Path, place: Path) -> None:
    recipe, *own = FAMILIES[family]
    shorter = ["training.steps=4", "training.evaluate_every=2", "store.mode=off"]
    model = small_wavlm()
    before = live_digest(model)
    result = run_on(model, recipe, [*own, *(shorter if family != "fitted" else [])], corpus, place / "frozen")
    assert result is not None
    assert result.finetuning is None
    assert live_digest(model) == before


def test_what_does_not_learn_stays_as_it_is(corpus: Path, place: Path) -> None:
    (folder,) = encoders_of(tuned_run("class", corpus, place, "finetune.from_layer=2"))
    before, after = live_weights(small_wavlm()), live_weights(upstream.load(str(folder)))
    changed = [name for name in before if not torch.allclose(before[name], after[name], rtol=1e-5, atol=1e-7)]
    assert changed
    assert all(name.startswith("blocks.2.") for name in changed)


def test_transformers_reads_the_encoder_that_came_out(tuned: Result) -> None:
    transformers = pytest.importorskip("transformers")
    (folder,) = encoders_of(tuned)
    model, report = transformers.WavLMModel.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    waveform = 0.1 * torch.randn(8_000, generator=torch.Generator().manual_seed(0))
    kept = upstream.load(str(folder))
    with torch.no_grad():
        theirs = model.eval()(kept.prepare(waveform)[None]).last_hidden_state[0]
    torch.testing.assert_close(kept([waveform]).utterance(0)[-1], theirs, rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- interrupted, shared, smaller


TOO_LARGE = 2.0**20  # scale of a loss at which the gradients of the first updates are not finite in float16


class KilledError(Exception):
    """Stands for a killed process."""


def test_an_interrupted_run_ends_in_the_same_bits(
    corpus: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed within the second of two seeds, and goes on there, with a scale that skipped updates have halved."""
    asked = ("sweep.seed=[0, 1]", "finetune.precision=float16")
    monkeypatch.setattr(learner, "GradScaler", partial(learner.GradScaler, init_scale=TOO_LARGE))
    whole, learn, updates, scales = tuned_run("class", corpus, place, *asked), FineTuning.learn, [], []

    def until_killed(self: FineTuning, some: Sequence[Update]) -> torch.Tensor:
        if len(updates) >= 7:
            raise KilledError
        updates.extend(some)
        losses = learn(self, some)
        scales.append(self._scaler.get_scale())
        return losses

    monkeypatch.setattr(FineTuning, "learn", until_killed)
    monkeypatch.setattr("downstream.finetuning.learning.STRETCH_SECONDS", 0.0)
    monkeypatch.setattr("downstream.training.snapshot.SNAPSHOT_SHARE", 1e9)
    with pytest.raises(KilledError):
        tuned_run("class", corpus, tmp_path, *asked, snapshot_seconds=0.0)
    assert scales[-1] < TOO_LARGE
    monkeypatch.setattr(FineTuning, "learn", lambda self, some: (updates.extend(some), learn(self, some))[1])
    again = tuned_run("class", corpus, tmp_path, *asked)
    assert len(updates) == 8  # none twice
    assert [fit.curve for fit in again.grid] == [fit.curve for fit in whole.grid]
    assert (folder_of(again) / HEADS).read_bytes() == (folder_of(whole) / HEADS).read_bytes()
    for one, other in zip(encoders_of(again), encoders_of(whole), strict=True):
        assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_processes_take_the_step_of_one_and_none_waits_for_one_that_failed(
    tuned: Result, corpus: Path, tmp_path: Path
) -> None:
    """Micro-batches of five utterances are shared unevenly by two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = [sys.executable, str(REPOSITORY / "tests" / "tuned_runs.py"), str(corpus), str(tmp_path)]
    paths = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]), "OMP_NUM_THREADS": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    subprocess.run(program, env=os.environ | meeting | paths, timeout=120, check=True)
    shared = read_result(next((tmp_path / "results").rglob("result.json")))
    assert shared.finetuning is not None
    assert shared.finetuning.processes == 2
    for one, other in zip(tuned.grid, shared.grid, strict=True):
        for (step, loss, score), expected in zip(one.curve, other.curve, strict=True):
            assert (step, loss, score) == pytest.approx(expected, rel=1e-5)
    (alone,), (together,) = ([vars(upstream.load(str(p)))["model"] for p in encoders_of(r)] for r in (tuned, shared))
    for mine, theirs in zip(alone.parameters(), together.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    said = [(tmp_path / f"said-{rank}").read_text() for rank in "01"]
    assert "has lost the other processes" in said[0]
    assert "last snapshot of the training is kept" in said[0]
    assert said[1] == "It fails."


def test_accumulated_batches_are_one_batch(corpus: Path, place: Path) -> None:
    few = ("training.steps=2", "training.evaluate_every=1")
    of_eight = tuned_run("class", corpus, place, *few, "training.batch=8", "training.accumulate=1")
    of_four = tuned_run("class", corpus, place, *few, "training.batch=4", "training.accumulate=2")
    for one, other in zip(of_eight.grid[0].curve, of_four.grid[0].curve, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_it_learns_in_lower_precision(precision: str, tuned: Result, corpus: Path, place: Path) -> None:
    lower = tuned_run("class", corpus, place, f"finetune.precision={precision}", "finetune.checkpointing=true")
    losses = [[loss for _, loss, _ in result.grid[0].curve] for result in (lower, tuned)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_a_run_whose_first_fold_diverges_learns_no_other(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Training diverged: .* for example -o finetune.lr=1e\+29"):
        tuned_run("class", corpus, tmp_path, "split.rule=speaker_folds", "split.folds=3", "finetune.lr=1e30")
    assert os.listdir(next(tmp_path.rglob(LEARNED))) == ["fold1-seed3"]


def test_a_full_disk_costs_what_is_behind_the_last_snapshot(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"cannot be kept \(.*No space left on device\). Make room there, and run the"):
        tuned_run("class", corpus, tmp_path)
    assert not os.listdir(next(tmp_path.rglob("encoders")))


# ---------------------------------------------------------------- what is said of them


def test_scores_of_frozen_and_fine_tuned_encoders_are_kept_apart(
    tuned: Result, corpus: Path, place: Path, tmp_path: Path
) -> None:
    recipe, *own = TUNED["class"]
    frozen = run_on(small_wavlm(), recipe, [*own[:-1], "sweep.layer=mix"], corpus, place)
    assert frozen is not None
    board = write_leaderboard([str(place)], tmp_path).board
    assert {"clean", "fine-tuned"} <= {section.protocol for section in board.sections}
    for section in board.sections:
        kinds = {run.result.finetuning is None for cell in section.cells.values() for run in cell.runs}
        assert len(kinds) <= 1
    assert board.refused == ()

    compared = compare_runs([folder_of(tuned), folder_of(frozen)], progress=False)
    assert compared[0].labels[0].endswith("fine-tuned")
    assert "The protocols differ" in next(iter(notes(list(compared))))
    with pytest.raises(UserError, match="make a table of each"):
        latex_table([tuned, frozen])
    with pytest.raises(UserError, match="its encoder was fine-tuned"):
        refuse_departures(tuned)
    assert "fine-tuned" in (why_incomparable(tuned) or "")


def test_heads_answer_on_their_own_encoder(tuned: Result, corpus: Path, tmp_path: Path) -> None:
    lines = (folder_of(tuned) / "predictions.jsonl").read_text().splitlines()
    tested = {row["id"]: row for row in map(json.loads, lines)}
    (answer,) = predict(folder_of(tuned), [str(corpus / "f0-A.wav")], progress=False).rows
    assert list(answer["posteriors"].values()) == pytest.approx(tested["f0-A.wav"]["posteriors"], abs=1e-5)
    with pytest.raises(UserError, match="is not the encoder that the head"):
        predict(folder_of(tuned), [str(corpus / "f0-A.wav")], upstream=small_wavlm(), progress=False)


def test_an_exported_head_says_which_encoder_it_lacks(tuned: Result, tmp_path: Path) -> None:
    file, card = export(folder_of(tuned), tmp_path / "head.safetensors")
    assert "copy encoders/published-seed3 of the run beside it" in needed(file)
    assert "encoders/published-seed3" in card.read_text()
    with pytest.raises(UserError, match="encoders/published-seed3 is not there"):
        predict(file, [], progress=False)


def test_a_head_and_its_encoder_become_a_task_model(corpus: Path, place: Path, tmp_path: Path) -> None:
    plain = ("head.standardised=false", "corpus.effects.gain=0")  # a task model has neither
    run = folder_of(tuned_run("class", corpus, place, *plain))
    done = convert(run, tmp_path / "model")
    assert "WavLMForSequenceClassification" in done.sentence
    recording = [str(corpus / "f0-A.wav")]
    answers = [predict(one, recording, progress=False).rows[0]["posteriors"] for one in (run, tmp_path / "model")]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("recipe", "override", "said"),
    [
        ("sv", "finetune={}", "take -d sv_xvector or -d sv_linear"),
        ("emotion", "sweep.layer=all", "learns for one reading"),
        ("emotion", "finetune.from_layer=3", "Nothing would learn"),
        ("emotion", "finetune.front_end_scale=0.1", "add front_end=true"),
        ("emotion", "finetune.warmup=1000", "it is a share of training.steps"),
    ],
)
def test_what_cannot_learn_is_refused(recipe: str, override: str, said: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run_on(small_wavlm(), recipe, ["corpus.name=manifest", "finetune={}", override], corpus, tmp_path)
    assert not (tmp_path / "results").exists()


def test_other_encoders_and_options_are_refused(corpus: Path, tmp_path: Path) -> None:
    asked = ["corpus.name=manifest", "finetune={}"]
    with pytest.raises(UserError, match="only WavLM has a training mode"):
        run_on(upstream.load("fbank"), "emotion", asked, corpus, tmp_path)
    with pytest.raises(UserError, match="leave --dtype out"):
        run_on(upstream.load("wavlm_nano", random_init=True, dtype="bfloat16"), "emotion", asked, corpus, tmp_path)
    with pytest.raises(UserError, match="leave --final out"):
        run_on(small_wavlm(), "emotion", asked, corpus, tmp_path, final=True)
    with pytest.raises(UserError, match="The head reads layer 1"):
        run_on(small_wavlm(), "emotion", [*asked, "finetune.from_layer=2"], corpus, tmp_path, layer=1)


def test_memory_holds_a_snapshot_or_a_micro_batch() -> None:
    """On the CPU the snapshot has weights, two moments and the best step, which is in memory beside."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    small, large = (room.Sizes(parameters=100, learned=50, activations=own) for own in (10, 5_000))
    weights = 4 * (100 + 3 * 50)
    assert small.memory(cpu, processes=1) == weights + 4 * 5 * 50
    assert small.memory(gpu, processes=1) == weights + 10
    assert large.memory(cpu, processes=2) == 2 * weights + 2 * 5_000


def test_what_does_not_fit_is_said_with_what_to_change(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda: 1_000_000)
    with pytest.raises(UserError, match=r"training.batch=2 -o training.accumulate=4 or -o finetune.checkpointing=true"):
        tuned_run("class", corpus, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(room, "free_space", lambda _: 1_000_000)
    with pytest.raises(UserError, match="fewer folds or seeds"):
        tuned_run("class", corpus, tmp_path)
    assert not (tmp_path / "results").exists()
