"""What is said of a pre-training on the way: warnings, lines, curves, and the score of a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_pretraining import MASKED, SECOND, pretrained, recipe_of, write_tones
from tones import write_emotions

import upstream
from downstream import experiment
from downstream.pretraining import curves
from downstream.pretraining.curves import EVENTS, Curves
from downstream.pretraining.flow import Outcome
from downstream.pretraining.learner import Learned
from downstream.pretraining.model import Prediction, Spread
from downstream.pretraining.watch import Measured, line_of, warnings_of
from downstream.recipes import Options
from upstream.files import STATES
from upstream.unfinished import UNFINISHED

GOOD = Prediction("mfcc-100", 3.2, 21.0, 34.6, 4.4, unmasked_loss=2.9, unmasked_accuracy=28.4)
STUCK = replace(GOOD, masked_loss=4.37, codes=3.2)
SPREAD = (0.9, 0.8, 0.85)


def measured(step: int, prediction: Prediction = GOOD, spread: tuple[float, ...] = SPREAD, stage: int = 0) -> Measured:
    return Measured(step, stage, 0.5, (prediction,), spread, 0.42)


def test_a_healthy_history_gets_no_warning() -> None:
    falling = [measured(step, replace(GOOD, masked_loss=4.6 - step / 400)) for step in range(0, 1_000, 200)]
    for end in range(1, len(falling) + 1):
        assert warnings_of(falling[:end]) == []


def test_a_plateau_is_told_of_after_some_updates() -> None:
    stuck = [measured(step, STUCK) for step in (0, 200, 400)]
    assert warnings_of(stuck[:2]) == []
    (warning,) = warnings_of(stuck)
    assert warning.startswith("Plateau: mfcc-100 is predicted in masked frames hardly better than without seeing")
    assert "(4.37 against 4.40 nats), and 3 codes are in use. Raise objective.unmasked" in warning
    assert warnings_of([measured(step, replace(STUCK, codes=30.0)) for step in (0, 400)]) == []
    second = [measured(step, STUCK, stage=1) for step in (400, 500)]
    assert warnings_of([measured(0), *second]) == []  # its first updates


def test_a_collapse_is_told_of_at_once() -> None:
    (warning,) = warnings_of([measured(0), measured(200, spread=(0.9, 0.8, 0.1))])
    assert warning == (
        "Collapse: the states of layer 2 differ by 0.10 over frames, and by 0.85 at first. Lower optimizer.lr."
    )


def test_the_line_of_the_terminal() -> None:
    assert line_of(replace(measured(1_200), probe=51.25)) == (
        "  1200 updates, 0.5 h  mfcc-100 3.20 (21|28 %, 35 codes)  spread 0.80 to 0.90  gradient 0.42  probe 51.2"
    )
    contrastive = Prediction("contrastive", 1.5, 40.0, 12.0, 4.6)
    assert "contrastive 1.50 (40 %, 12 codes)  spread" in line_of(measured(0, contrastive))


def test_the_spread_is_that_of_unmasked_frames_over_all_windows() -> None:
    states = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0])[:, None, None]
    masked = torch.arange(50) % 5 == 0
    spread = Spread()
    for part in (slice(0, 20), slice(20, 50)):
        spread.add(states[:, part], masked[part])
    seen = states[:, ~masked]
    expected = seen.var(dim=1, correction=0).mean(dim=1).sqrt().tolist()
    assert spread.values() == pytest.approx(expected, rel=1e-5)


def points_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the points of every curve that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_curves_are_read_back_and_what_was_interrupted_is_hidden(tmp_path: Path) -> None:
    with Curves(tmp_path, 0) as written:
        for place in range(1, 41):
            written.update(place, Learned(5.0 - place / 10, 0.5, 1e-3, 24.0), 30.0)
        written.measurement(measured(40))
    with Curves(tmp_path, 20) as written:  # goes on from the snapshot of update 20
        written.update(30, Learned(1.0, 0.5, 1e-3, 24.0), 30.0)
    found = points_of(tmp_path / EVENTS)
    assert found["training/loss"] == [(10, 4.0), (20, 3.0), (30, 1.0)]
    assert found["training/speed"] == [(10, 30.0), (20, 30.0), (30, 30.0)]
    assert found.get("mfcc-100/masked_loss", []) == []


def test_other_processes_write_no_curves(tmp_path: Path) -> None:
    with Curves(tmp_path, 0, writes=False) as written:
        written.update(10, Learned(1.0, 0.5, 1e-3, 24.0), 30.0)
        written.measurement(measured(10))
    assert not (tmp_path / EVENTS).exists()


def test_it_learns_without_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with Curves(tmp_path, 0) as written:
        written.measurement(measured(10))
    assert "There are no curves for TensorBoard" in caplog.text


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """A pre-training in two stages whose encoder is scored on a recipe, and that recipe's corpus."""
    place = tmp_path_factory.mktemp("watched")
    (place / "emotions").mkdir()
    (place / "tones").mkdir()
    probe = {"recipe": "emotion", "every": 100, "overrides": PROBED}
    recipe = recipe_of(stages=[MASKED, SECOND], watch={"every": 2, "probe": probe})
    emotions = write_emotions(place / "emotions")
    return pretrained(recipe, write_tones(place / "tones"), place, probe_data=emotions), emotions


PROBED = ["corpus.name=manifest", "split.folds=3", "training.steps=6", "training.evaluate_every=6", "sweep.lr=[1e-2]"]


def test_the_score_on_the_way_is_that_of_a_run_of_what_comes_out(watched: tuple[Outcome, Path], tmp_path: Path) -> None:
    outcome, emotions = watched
    history = [Measured.of(one) for one in outcome.record["history"]]
    assert [one.step for one in history if one.probe is not None] == [0, 7]  # at first, and at the end
    recipe, changed = experiment.chosen_recipe("emotion", PROBED)
    options = Options(data=emotions, results=tmp_path, store=tmp_path / "s", overrides=changed, progress=False)
    run = experiment.run(upstream.load(str(outcome.folder)), recipe, options)
    assert run is not None
    assert history[-1].probe == pytest.approx(100 * run.result.primary.value, abs=1e-9)
    kept = [one.name for one in (outcome.folder.parents[3] / "store").iterdir()]
    assert not [name for name in kept if name.startswith(UNFINISHED) or name == STATES]


def test_every_measurement_is_in_the_curves(watched: tuple[Outcome, Path]) -> None:
    outcome, _ = watched
    found = points_of(outcome.folder / EVENTS)
    history = [Measured.of(one) for one in outcome.record["history"]]
    assert [one.step for one in history] == [0, 2, 4, 4, 6, 7]
    assert [step for step, _ in found["pitch-4/masked_loss"]] == [0, 2, 4, 4, 6, 7]
    for name in ("mfcc-8", "layer1-6", "pitch-4"):
        expected = [(one.step, p.masked_loss) for one in history for p in one.predictions if p.name == name]
        assert found[f"{name}/masked_loss"] == [(step, pytest.approx(value)) for step, value in expected]
    assert [step for step, _ in found["probe/score"]] == [0, 7]
    assert curves.EVERY == 10
    assert "spread/layer 2" in found
