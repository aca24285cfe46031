"""What comes out of a pre-training: an upstream, a Hugging Face directory, and a record; and that it has learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_pretraining import CONTRASTIVE, MASKED, NOTHING_DROPPED, SECOND, pretrained, recipe_of, write_tones

import upstream
from downstream.pretraining.flow import Outcome
from downstream.pretraining.folder import OBJECTIVE, STAGES
from downstream.pretraining.learner import SKIPPED_AT_MOST, StageLearner, rate
from downstream.pretraining.masked_prediction import PredictsCodes
from downstream.pretraining.watch import Measured
from downstream.recipes import DescentSettings
from upstream.errors import UserError

MORE = {"corpus": "manifest", "name": "more", "optional": True}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = write_tones(tmp_path_factory.mktemp("tones"))
    (corpus / "LICENSE").write_text("CC0 1.0\n")
    return corpus


@pytest.fixture(scope="module")
def half(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    speech = [{"corpus": "manifest", "name": "tones", "speeds": [1.0, 1.25]}, MORE]
    recipe = recipe_of(
        stages=[MASKED, SECOND],
        saved="float16",
        precision="bfloat16",
        speech=speech,
        model={"feat_extract_norm": "layer"},
    )
    return pretrained(recipe, corpus, tmp_path_factory.mktemp("half"), command="wavprobe pretrain small")


def test_it_is_an_upstream_with_the_weights_of_the_last_stage(half: Outcome) -> None:
    saved, stage = (load_file(folder / "model.safetensors") for folder in (half.folder, half.folder / "stages" / "2"))
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    assert {tensor.dtype for tensor in stage.values()} == {torch.float32}
    assert saved.keys() == stage.keys()
    assert all(torch.equal(saved[name], stage[name].half()) for name in saved)
    assert "masked_spec_embed" in saved  # fine-tuning masks with it
    model = upstream.load(str(half.folder))
    assert (model.num_layers, model.dim) == (3, 32)
    assert half.record["parameters"] == sum(tensor.numel() for tensor in saved.values())


def test_transformers_computes_the_same_states(half: Outcome, waveforms: list[torch.Tensor]) -> None:
    transformers = pytest.importorskip("transformers")
    peer = transformers.WavLMModel.from_pretrained(half.folder, dtype=torch.float32).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(half.folder)
    assert extractor.do_normalize is False  # waveforms are learned from as they are
    ours = upstream.load(str(half.folder))([waveforms[0]])
    with torch.no_grad():
        theirs = peer(waveforms[0][None], output_hidden_states=True).hidden_states
    for mine, other in zip(ours.layers[:, 0], theirs, strict=True):
        torch.testing.assert_close(mine, other[0], rtol=1e-4, atol=1e-4)


def test_the_record_says_what_it_was_made_of(half: Outcome, corpus: Path) -> None:
    record = half.record
    (source,) = record["speech"]
    assert source["licence"] == "as its LICENSE states"
    assert (source["utterances"], source["speakers"]) == (12, 6)
    assert source["hours"] == pytest.approx(24 / 3600)
    assert source["held_back_hours"] == pytest.approx(record["held_back_seconds"] / 3600)
    assert record["hours_of_speech"] == source["hours_at_all_speeds"] == pytest.approx(5 * 4 * 1.8 / 3600, rel=0.02)
    assert record["notes"] == ["more was left out: no --data more=DIR was given."]
    assert [[one["features"] for one in stage] for stage in record["targets"]] == [
        ["mfcc", "pitch"],
        ["layer", "pitch"],
    ]
    assert all(1.0 <= one["perplexity"] <= one["clusters"] for stage in record["targets"] for one in stage)
    assert (record["updates"], record["processes"]) == (7, 1)
    assert record["hours_learned_from"] == record["history"][-1]["hours"] > 0
    assert {"torch", "torchaudio", "device", "python"} <= record["environment"].keys()
    assert record["recipe"]["stages"][0]["optimizer"]["betas"] == [0.9, 0.98]  # defaults too
    assert record["command"] == "wavprobe pretrain small"


def test_no_path_of_the_machine_is_in_what_comes_out(half: Outcome, corpus: Path) -> None:
    for file in half.folder.glob("*.json"):
        text = file.read_text()
        json.loads(text)
        for place in (corpus, half.folder, Path.home()):
            assert str(place) not in text, file


def test_it_learns_notes_that_follow_each_other(corpus: Path, tmp_path: Path) -> None:
    stage = MASKED | {"steps": 30, "targets": [{"features": "mfcc", "clusters": 8}], "optimizer": {"lr": 1e-2}}
    recipe = recipe_of(
        stages=[stage], model=NOTHING_DROPPED, mixing={"probability": 0.0}, batch={"seconds": 3.5, "windows": [1.0]},
        watch={"every": 30},
    )  # fmt: skip
    first, last = (Measured.of(one).predictions[0] for one in pretrained(recipe, corpus, tmp_path).record["history"])
    assert first.masked_loss > first.ignorant  # nothing is known
    assert last.masked_loss < last.ignorant - 0.3
    assert last.masked_accuracy > first.masked_accuracy + 10
    assert last.unmasked_loss is not None
    assert last.unmasked_loss < last.masked_loss


def test_a_stage_may_begin_with_weights_drawn_anew(corpus: Path, tmp_path: Path) -> None:
    """As the iterations of HuBERT do: what goes on is the targets alone."""
    second = SECOND | {"steps": 1, "seed_weights": True}
    recipe = recipe_of(stages=[MASKED, second], mixing={"probability": 0.0})
    goes_on = recipe_of(stages=[MASKED, SECOND | {"steps": 1}], mixing={"probability": 0.0})
    anew, on = (pretrained(one, corpus, tmp_path, name=name) for one, name in ((recipe, "anew"), (goes_on, "on")))
    assert anew.record["history"][0]["spread"] == anew.record["history"][3]["spread"]
    assert on.record["history"][2]["spread"] == on.record["history"][3]["spread"]
    before, after = (
        next(p for p in on.record["history"][at]["predictions"] if p["name"] == "pitch-4") for at in (2, 3)
    )
    assert before["masked_loss"] != after["masked_loss"]  # a linear head does not go on as one of cosines


def test_the_head_of_a_target_that_stays_goes_on(corpus: Path, tmp_path: Path) -> None:
    stays = MASKED | {"steps": 1, "targets": [{"features": "pitch", "clusters": 4}]}
    outcome = pretrained(recipe_of(stages=[MASKED, stays]), corpus, tmp_path)
    before, after = (outcome.record["history"][at]["predictions"][-1] for at in (2, 3))
    assert before == after


def test_inner_layers_learn_to_predict_too(corpus: Path, tmp_path: Path) -> None:
    deep = MASKED | {"objective": MASKED["objective"] | {"inner": [0, 1]}, "steps": 6}
    outcome = pretrained(recipe_of(stages=[deep, deep | {"steps": 1}]), corpus, tmp_path, name="deep")
    plain = pretrained(recipe_of(stages=[MASKED | {"steps": 6}]), corpus, tmp_path, name="plain")
    begun, gone_on = (load_file(outcome.folder / STAGES / stage / OBJECTIVE) for stage in ("1", "2"))
    heads = {f"inner.{layer}.projections.{name}.weight" for layer in (0, 1) for name in ("mfcc-8", "pitch-4")}
    assert heads < begun.keys()
    assert not any(torch.equal(begun[name], begun[name.split(".", 2)[2]]) for name in heads)
    assert all(float((gone_on[name] - begun[name]).abs().max()) < 0.01 for name in heads)  # they went on
    assert not any("inner" in name for name in load_file(plain.folder / STAGES / "1" / OBJECTIVE))
    assert outcome.record["history"][0] == plain.record["history"][0]  # the last layer is what is measured
    assert outcome.record["history"][1] != plain.record["history"][1]


def test_a_layer_that_is_no_inner_one_is_refused(corpus: Path, tmp_path: Path) -> None:
    objective = {"kind": "masked_prediction", "inner": [2]}
    with pytest.raises(UserError, match=r"stages\.0: layer 2 of objective\.inner .* last layer is 2"):
        pretrained(recipe_of(stages=[MASKED | {"objective": objective}]), corpus, tmp_path)
    with pytest.raises(ValueError, match=r"a layer is listed twice: \[1, 1\]"):
        recipe_of(stages=[MASKED | {"objective": objective | {"inner": [1, 1]}}])


@pytest.mark.parametrize("objective", [MASKED, CONTRASTIVE], ids=["masked", "contrastive"])
def test_nothing_is_drawn_from_the_global_generator(objective: dict[str, Any], corpus: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one = pretrained(recipe_of(stages=[objective]), corpus, tmp_path, name="one")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    other = pretrained(recipe_of(stages=[objective]), corpus, tmp_path, name="other")
    assert one.record["history"] == other.record["history"]


def test_accumulated_micro_batches_learn(corpus: Path, tmp_path: Path) -> None:
    recipe = recipe_of(batch={"seconds": 1.5, "windows": [0.5], "accumulate": 2})
    outcome = pretrained(recipe, corpus, tmp_path)
    assert outcome.record["hours_learned_from"] == pytest.approx(4 * 2 * 2 * 0.505 / 3600)


def test_a_loss_that_is_not_finite_is_skipped_and_ends_a_training_in_time(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward: Callable[..., torch.Tensor] = PredictsCodes.forward
    recipe = recipe_of(stages=[MASKED | {"steps": SKIPPED_AT_MOST + 5}], watch={"every": 50})
    places = []

    def diverged(self: PredictsCodes, *given: Any) -> torch.Tensor:
        places.append(given[2].place)
        return forward(self, *given) * (float("nan") if given[2].place > 2 else 1.0)

    monkeypatch.setattr(PredictsCodes, "forward", diverged)
    with pytest.raises(UserError, match=f"not finite in {SKIPPED_AT_MOST} updates in a row, the last one update 22"):
        pretrained(recipe, corpus, tmp_path)
    assert places[-1] == 22
    weights = []
    learn = StageLearner.learn

    def noted(self: StageLearner, step: int, place: int) -> Any:
        learned = learn(self, step, place)
        weights.append({name: tensor.clone() for name, tensor in self.state().items() if name.startswith("model.")})
        return learned

    monkeypatch.setattr(StageLearner, "learn", noted)
    short = recipe_of(stages=[MASKED])
    pretrained(short, corpus, tmp_path, name="short")
    assert not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert all(torch.equal(weights[1][name], weights[3][name]) for name in weights[0])


def test_the_learning_rate_rises_and_falls() -> None:
    settings = DescentSettings(lr=1.0, last=0.2, warmup=0.4)
    rates = [rate(settings, step, 10) for step in range(1, 11)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates == sorted(rates[:4]) + sorted(rates[4:], reverse=True)
    assert 0.2 < rates[-1] < 0.4
    assert rate(DescentSettings(lr=1.0, warmup=0.0), 1, 1) == 1.0
