"""What is computed on a GPU is what is computed on a CPU; skipped where there is no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_pretraining import CONTRASTIVE, MASKED, NOTHING_DROPPED, SECOND, pretrained, recipe_of, write_tones
from small_runs import FAMILIES, write_words
from tuned_runs import TUNED, run_on

import upstream
from downstream.pretraining.flow import Outcome
from downstream.pretraining.learner import StageLearner
from downstream.recipes import PretrainingRecipe

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU.")

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LEARNED = {"model": NOTHING_DROPPED, "mixing": {"probability": 0.5}}


@pytest.fixture(autouse=True)
def _convolutions_in_float32() -> Iterator[None]:
    """PyTorch's default on a GPU is TF32, whose products are right to three digits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.mark.parametrize(("dtype", "near"), [("float32", 2e-4), ("bfloat16", 6e-2)])
def test_hidden_states_are_those_of_a_cpu(dtype: str, near: float, waveforms: list[torch.Tensor]) -> None:
    expected = upstream.load("wavlm_tiny", device="cpu", dtype="float32")(waveforms).layers
    found = upstream.load("wavlm_tiny", device="cuda", dtype=dtype)(waveforms).layers.float().cpu()
    assert float((found - expected).abs().mean() / expected.abs().mean()) < near


def losses_of(outcome: Outcome) -> torch.Tensor:
    """Return the losses on held-back speech, one after the other."""
    predictions = [one for measured in outcome.record["history"] for one in measured["predictions"]]
    return torch.tensor([one["masked_loss"] for one in predictions])


@pytest.mark.parametrize(("stages", "near"), [([MASKED], 2e-3), ([MASKED, SECOND], 2e-2), ([CONTRASTIVE], 0.1)])
def test_pre_training_learns_the_same(
    stages: list[dict[str, object]], near: float, tones: Path, tmp_path: Path
) -> None:
    """Codebooks of a layer may differ in a few frames; the contrastive objective draws on its device."""
    recipe = recipe_of(**LEARNED, stages=stages)
    expected, found = (pretrained(recipe, tones, tmp_path / device.type, device=device) for device in (CPU, GPU))
    torch.testing.assert_close(losses_of(found), losses_of(expected), rtol=near, atol=0.0)


@pytest.mark.parametrize("changes", [{}, {"precision": "bfloat16"}, {"model": {"hidden_dropout": 0.1}}])
def test_pre_training_goes_on(
    changes: dict[str, object], tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe: PretrainingRecipe = recipe_of(**changes)
    monkeypatch.setattr("downstream.training.snapshot.SNAPSHOT_SHARE", 1e9)  # one after every update
    whole = pretrained(recipe, tones, tmp_path / "whole", device=GPU)
    learn, learned = StageLearner.learn, list[int]()

    def interrupted(self: StageLearner, step: int, place: int) -> object:
        if step == 3:
            raise KeyboardInterrupt
        return learn(self, step, place)

    def noted(self: StageLearner, step: int, place: int) -> object:
        learned.append(step)
        return learn(self, step, place)

    with monkeypatch.context() as patched:
        patched.setattr(StageLearner, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrained(recipe, tones, tmp_path / "resumed", device=GPU)
    monkeypatch.setattr(StageLearner, "learn", noted)
    resumed = pretrained(recipe, tones, tmp_path / "resumed", device=GPU)
    assert learned == [3, 4]
    torch.testing.assert_close(losses_of(resumed), losses_of(whole), rtol=1e-4, atol=0.0)


def test_compiled_blocks_learn_the_same(tones: Path, tmp_path: Path) -> None:
    plain, compiled = (
        pretrained(recipe_of(model=NOTHING_DROPPED, compile=on), tones, tmp_path / str(on), device=GPU)
        for on in (False, True)
    )
    torch.testing.assert_close(losses_of(compiled), losses_of(plain), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_frozen_runs(family: str, words: Path, tmp_path: Path) -> None:
    """Of every family; heads learn on the GPU too. A score is a share: one answer of ten may differ."""
    recipe, *own = FAMILIES[family]
    results = [
        run_on(
            upstream.load("wavlm_nano", random_init=True, seed=3, device=device.type, dtype="float32"),
            recipe,
            [*own, *(["training.steps=8"] if family == "text" else [])],
            words,
            tmp_path / device.type,
        )
        for device in (CPU, GPU)
    ]
    expected, found = (one.layers[0].scores[0].value for one in results if one is not None)
    assert found == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", TUNED)
def test_fine_tuned_runs(family: str, precision: str, words: Path, tmp_path: Path) -> None:
    recipe, *own = TUNED[family]
    model = upstream.load("wavlm_nano", random_init=True, seed=3, device="cuda", dtype="float32")
    result = run_on(model, recipe, [*own, f"finetune.precision={precision}"], words, tmp_path)
    assert result is not None
    assert result.finetuning is not None
    (encoder,) = result.finetuning.encoders.values()
    assert encoder.fingerprint != model.fingerprint
