"""`wavprobe pretrain`: what it says of mistakes, what it prints, and where its recipes are listed and checked."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from places import REPOSITORY
from small_pretraining import CONTENT, CONTRASTIVE, MASKED, SECOND, write_tones

from downstream.cli.main import main
from downstream.pretraining import load_pretraining
from downstream.pretraining.first_model import config_of
from downstream.pretraining.learner import StageLearner
from downstream.recipes import pretraining_names, recipe_names
from upstream.wavlm.model import untrained


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the sentence with which the command refuses its arguments."""
    assert main(["pretrain", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wavprobe pretrain: ")
    assert printed.err.count("\n") == 1
    return printed.err


LAYER_SEVEN = {"features": "layer", "layer": 7, "clusters": 6}


def in_stages(*stages: dict[str, Any]) -> str:
    return f"stages={yaml.safe_dump(list(stages), default_flow_style=True, width=1_000).strip()}"


def with_stage(**changes: Any) -> str:
    return in_stages(MASKED | changes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wavlm_tinny"], "There is no pre-training or YAML file called 'wavlm_tinny'. Did you mean wavlm_tiny?"),
        (["nothing_like_it"], "Known: wavlm_tiny."),
        (["emotion"], "It is the recipe of a task, which `wavprobe run -u UPSTREAM -d emotion` carries out."),
        (["recipes/emotion.yaml"], "Recipe recipes/emotion.yaml: "),
        (["wavlm_tiny", "-o", "batch.secunds=3"], "has no key 'batch.secunds'. Did you mean batch.seconds?"),
        (["wavlm_tiny", "-o", "batch"], "-o takes key=value"),
        (["wavlm_tiny", "-o", "batch=3"], "That is a section; its keys are batch.seconds"),
        (["wavlm_tiny", "-o", "batch.seconds=no"], "batch.seconds"),
        (["wavlm_tiny", "-o", "batch.seconds=4"], "a window of 4.8 s is longer than a batch of 4 s"),
        (["wavlm_tiny", "-o", "batch.windows=[]"], "batch.windows"),
        (["wavlm_tiny", "-o", "stages.0.steps=3"], "`stages` is a list, which is set as a whole: -o 'stages=[…]'"),
        (["wavlm_tiny", "-o", "name=other"], "identifies the recipe"),
        (["wavlm_tiny", "-o", with_stage(objective={"kind": "contrastive"})], "contrastive learning has none"),
        (["wavlm_tiny", "-o", with_stage(targets=[])], "masked_prediction needs `targets`"),
        (["wavlm_tiny", "-o", with_stage(targets=MASKED["targets"][:1] * 2)], "the target mfcc-8 is listed twice"),
        (["wavlm_tiny", "-o", with_stage(objective={"kind": "guessing"})], "'contrastive'"),
        (
            ["wavlm_tiny", "-o", with_stage(objective={"kind": "masked_prediction", "unmaskd": 1})],
            "did you mean unmasked?",
        ),
        (["wavlm_tiny", "-o", with_stage(targets=[{"features": "mfc", "clusters": 3}])], "'mfcc'"),
        (["wavlm_tiny", "-o", with_stage(targets=[{"features": "layer", "clusters": 3}])], "`layer` goes with"),
        (["wavlm_tiny", "-o", with_stage(targets=SECOND["targets"])], "no stage goes before it; name a `model`"),
        (
            ["wavlm_tiny", "-o", with_stage(targets=[{"features": "layer", "layer": 1, "clusters": 9, "model": "x"}])],
            "'x'",
        ),
        (["wavlm_tiny", "-o", "stages=[]"], "stages"),
        (["wavlm_tiny", "-o", "model.hidden_sise=64"], "has a key 'hidden_sise', and a WavLM none. Did you mean"),
        (["wavlm_tiny", "-o", "model.hidden_size=65"], "hidden_size"),
        (["wavlm_tiny", "-o", "model.hidden_size=many"], "hidden_size"),
        (["wavlm_tiny", "-o", "model.conv_stride=[5, 2, 2, 2, 2, 2, 4]"], "640 apart; a model is pre-trained with"),
        (
            ["wavlm_tiny", "-o", in_stages(MASKED, SECOND | {"targets": [LAYER_SEVEN]})],
            "made of layer 7, and the model has layers 0 to 6",
        ),
        (["wavlm_tiny", "-o", "model.mask_time_prob=0"], "a checkpoint of such a model has no mask vector"),
        (["wavlm_tiny", "-o", "held_back.sources=[hibary]"], "there is no speech called hibary"),
        (["wavlm_tiny", "-o", "speech=[{corpus: librispeech}, {corpus: librispeech}]"], "give each one a `name`"),
        (["wavlm_tiny", "-o", "speech=[{corpus: librispeach}]", "-o", "held_back.sources=[]"], "librispeech"),
        (["wavlm_tiny", "-o", "watch.probe={recipe: emotoin, every: 2}"], "Did you mean"),
        (["wavlm_tiny", "--probe-data", "."], "--probe-data is the corpus of a recipe that is scored on the way"),
        (["wavlm_tiny", "--data", "somewhere"], "--data takes NAME=DIR"),
        (["wavlm_tiny", "--data", "hibari="], "--data takes NAME=DIR"),
        (["wavlm_tiny", "--data", "hibari=a", "--data", "hibari=b"], "--data hibari= is given twice"),
        (["wavlm_tiny", "--data", "hibary=a"], "no speech called 'hibary', which --data names. Did you mean hibari?"),
        (["wavlm_tiny", "--data", "librispeech=/not/there"], "names no folder"),
        (["wavlm_tiny", "--seed", "-1"], "seed"),
        (["wavlm_tiny", "--device", "abacus"], "abacus"),
        (["wavlm_tiny", "-n", "../up"], "The name of a run (-n), '../up', is a path"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert said in refusal(capsys, *arguments)


def test_settings_of_sections_and_of_the_model_are_changed_one_by_one() -> None:
    changes = ["batch.seconds=12", "model.hidden_size=96", "held_back.sources=[espeak]"]
    recipe = load_pretraining("wavlm_tiny", changes, 7)
    assert (recipe.batch.seconds, recipe.model["hidden_size"], recipe.seed) == (12.0, 96, 7)
    assert recipe.model["num_hidden_layers"] == 6  # the recipe's own
    assert (recipe.held_back.sources, recipe.held_back.window) == (("espeak",), 4.0)


@pytest.mark.parametrize("name", ["wavlm_tiny", "pretrain/WavLM-tiny", "recipes/pretrain/wavlm_tiny.yaml"])
def test_the_shipped_recipe_has_a_small_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    recipe = load_pretraining(name)
    assert recipe.name == "pretrain/wavlm_tiny"
    parameters = sum(parameter.numel() for parameter in untrained(config_of(recipe), 0).parameters())
    assert 4_510_000 < parameters < 4_520_000


def test_pretrainings_are_no_tasks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert pretraining_names() == ["wavlm_tiny"]
    assert not [name for name in recipe_names() if "pretrain" in name]
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "pre-trainings (wavprobe pretrain)" in shown
    assert "A small WavLM, about two hours of two CPU cores" in shown
    assert main(["run", "-u", "fbank", "-d", "pretrain/wavlm_tiny"]) == 2
    assert "`wavprobe pretrain pretrain/wavlm_tiny` carries out" in capsys.readouterr().err


def test_they_are_validated(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validate", str(REPOSITORY / "recipes" / "pretrain" / "wavlm_tiny.yaml"), "--show"]) == 0
    shown = capsys.readouterr().out
    assert "valid (a pre-training of 7500 updates)" in shown
    assert "temperature: 0.1" in shown
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(CONTENT | {"mask": {"lenght": 3}}))
    assert main(["validate", str(own)]) == 2
    assert "There is no key 'mask.lenght'; did you mean length?" in capsys.readouterr().err
    own.write_text(yaml.safe_dump(CONTENT | {"model": {"hidden_sise": 3}}))
    assert main(["validate", str(own)]) == 2
    assert "Did you mean hidden_size?" in capsys.readouterr().err


@contextmanager
def ctrl_c_heard() -> Iterator[None]:
    """Let SIGINT interrupt as in a terminal: what runs in the background of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_interrupted_and_goes_on_by_the_same_command(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a user has it: Ctrl-C, the same command again, and -u of what came out."""
    (tmp_path / "tones").mkdir()
    recipe, corpus = tmp_path / "small.yaml", write_tones(tmp_path / "tones")
    recipe.write_text(yaml.safe_dump(CONTENT | {"stages": [CONTRASTIVE]}))
    folders = ["--results", str(tmp_path / "r"), "--store", str(tmp_path / "s"), "--data", f"tones={corpus}"]
    command = ["pretrain", str(recipe), *folders, "-n", "one", "--device", "cpu", "--snapshot-seconds", "0"]
    learn = StageLearner.learn

    def interrupted(self: StageLearner, step: int, place: int) -> Any:
        if step == 3:
            signal.raise_signal(signal.SIGINT)
        return learn(self, step, place)

    with pytest.MonkeyPatch.context() as patched, ctrl_c_heard():
        patched.setattr("downstream.training.snapshot.SNAPSHOT_SHARE", 1e9)
        patched.setattr(StageLearner, "learn", interrupted)
        assert main(command) == 130
    said = capsys.readouterr().err
    assert said.endswith("\nInterrupted; what was computed is kept, and the same command goes on from here.\n")
    with caplog.at_level("INFO"):
        assert main(command) == 0
    assert "The training goes on at update 2 of stage 1." in caplog.text
    shown = capsys.readouterr().out
    assert f"The model is {tmp_path / 'r'}/pretrain/small/one: wavprobe run -u {tmp_path / 'r'}" in shown
    assert "     4 updates" in shown
    assert "     0 updates" not in shown
    assert main(command) == 0
    assert "This training was finished before. The model is" in capsys.readouterr().out
