"""The flags and keys of s3prl: what works, and what is a sentence."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
from pathlib import Path

import pytest
import torch
from places import REPOSITORY
from tones import write_emotions

import run_downstream
from downstream.cli.run_arguments import add_arguments
from downstream.cli.s3prl_flags import REFUSED
from downstream.cli.s3prl_keys import ALWAYS, HERE, NOT_HERE, WORDS, translated
from downstream.recipes.files import all_keys
from downstream.results.record import Result, read_result
from downstream.tasks.registry import FAMILIES, find_family
from upstream.errors import UserError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def common(corpus: Path, tmp_path: Path) -> list[str]:
    """Everything but what is tried."""
    places = ["--results", str(tmp_path / "r"), "--store", str(tmp_path / "s"), "--device", "cpu"]
    return ["-d", "emotion", "-c", "manifest", "--data", str(corpus), "-o", "split.folds=3", *places]


SHORT = ["-o", "config.runner.total_steps=20,,config.runner.eval_step=10"]


def scored(arguments: list[str], tmp_path: Path) -> Result:
    """The record of the one run that there is afterwards."""
    assert run_downstream.main(arguments) == 0
    (record,) = (tmp_path / "r").rglob("result.json")
    return read_result(record)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run_downstream.main(arguments) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


# ---------------------------------------------------------------- flags that work


def test_a_command_of_s3prl_is_the_same_run_as_ours(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = ["-m", "train", "-n", "ExpName", "-u", "fbank_no_cmvn", "-a", "-s", "hidden_states", "-t", "test"]
    lr = "config.optimizer.lr=2.0e-3,, config.optimizer.name='TorchOptim',,config.optimizer.torch_optim_name='AdamW'"
    first = scored([*theirs, *SHORT, "-o", lr, *common], tmp_path)
    assert first.folder == tmp_path / "r" / "emotion" / "fbank_no_cmvn" / "ExpName"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]
    assert [line.split()[1] for line in said] == ["-o", "-m", "-a:", "-s", "-t"]
    assert (first.recipe.resolved["optimizer"]["lr"], first.recipe.resolved["optimizer"]["name"]) == (2e-3, "adamw")
    ours = ["-o", "training.steps=20", "-o", "training.evaluate_every=10", "-o", "optimizer.lr=2e-3"]
    again = ["-m", "evaluate", "-n", "ExpName", "-u", "fbank_no_cmvn", *ours, "-o", "optimizer.name=adamw", *common]
    assert run_downstream.main(again) == 0
    assert "This run was finished before" in capsys.readouterr().out
    assert f"that run was made by `{first.command}`" in refused(["-m", "evaluate", "-e", str(first.folder)], capsys)
    assert f"that run was made by `{first.command}`" in refused(["-e", str(first.folder / "head.safetensors")], capsys)


def test_evaluate_learns_nothing(common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["-m", "evaluate", "-u", "fbank_no_cmvn", *SHORT, *common], capsys)
    assert "No finished run of this command" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("selection", "layer"), [("last_hidden_state", 3), ("hidden_state_1", 1), ("hidden_states", "chosen")]
)
def test_a_selected_feature_is_a_layer(selection: str, layer: int | str, common: list[str], tmp_path: Path) -> None:
    found = scored(["-u", "wavlm_nano", "--random-init", "-s", selection, *SHORT, *common], tmp_path)
    assert [scores.layer for scores in found.layers] == [layer]


def test_arguments_and_data_may_be_overridden(common: list[str], corpus: Path, tmp_path: Path) -> None:
    without_data = [word for word in common if word not in ("--data", str(corpus))]
    more = f"args.seed=4,,args.expdir='{tmp_path / 'r' / 'mine'}',,args.verbose=False,,"
    data = f"config.downstream_expert.datarc.root='{corpus}'"
    more += "args.upstream_layer_selection=0"
    found = scored(["-u", "fbank_no_cmvn", *SHORT, "-o", f"{data},,{more}", *without_data], tmp_path)
    assert found.layers[0].layer == 0
    assert (found.seeds["head"], found.folder) == ([4], tmp_path / "r" / "mine")
    assert found.corpus.source.endswith(corpus.name)


def test_a_checkpoint_is_loaded_for_its_kind(
    common: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peers import KINDS, save_transformers, transformers_model

    model = save_transformers(transformers_model(KINDS["base"]), tmp_path / "model", do_normalize=False)
    found = scored(["-u", "wavlm_local", "-k", str(model), *SHORT, *common], tmp_path)
    assert found.upstream.file_sha256 is not None
    said = refused(["-u", "wavlm_base", "-k", str(model), *SHORT, *common], capsys)
    assert "has 4 layers of width" in said
    assert "wavlm_base has 13 of 768" in said


def test_the_machine_does_what_was_said(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    monkeypatch.setenv("HF_HUB_CACHE", "elsewhere")
    flags = ["--disable_cudnn", "--cache_dir", str(tmp_path), "-r", "--hub", "torch"]
    scored(["-u", "fbank_no_cmvn", *flags, *SHORT, *common], tmp_path)
    assert not torch.backends.cudnn.enabled
    assert os.environ["HF_HUB_CACHE"] == str(tmp_path)
    shown = capsys.readouterr().err
    assert "note: -r:" in shown
    assert "note: --hub torch:" in shown


# ---------------------------------------------------------------- flags that are a sentence


WRONG = {
    "-m inference": "the modes are train and evaluate",
    "-m evaluate -e result/downstream/ExpName/dev-best.ckpt": "--head-from head.safetensors tests that",
    "-m evaluate -i best.ckpt -u fbank -d emotion": "-i best.ckpt: the head in a checkpoint of s3prl",
    "-m evaluate -e result/downstream/ExpName": "typing its command again",
    "-u fbank -d emotion -c downstream/emotion/config.yaml": "-c names a corpus here",
    "-u fbank -d emotion -s paper": "hidden_states (all layers, as without)",
    "-u fbank -d emotion -s hidden_state_": "hidden_states (all layers, as without)",
    "-u fbank -d emotion -s last_hidden_state -l 1": "both name a layer",
    "-u fbank -d emotion -k x.pt": "fbank has no weights",
    "-u wavlm_local -d emotion": "add -k PATH",
    "-u wavlm_local -d emotion -k nowhere.pt": "no such file or folder",
    "-u wavlm_url -d emotion -k https://a.b/c.pt": "curl -LO 'https://a.b/c.pt'",
    "-u fbank -d emotion --hub mine": "s3prl's hubs are torch and huggingface",
    "-u hf:a/b@main -d emotion --upstream_revision 1a2b": "both name a revision",
    "-u fbank -d emotion -n a/b": "type a-b, or -p",
    "-u fbank -d emotion -n a -p b": "leave one of them out",
    "-u fbank -d emotion -m evaluate --fresh": "leave one of them out",
    "-u fbank -d emotion -o args.nothing=1": "unrecognized arguments: --nothing",
    "-u fbank -d emotion -o args.seed=x": "'x' is not a whole number",
    "-u fbank -d emotion -o config.optimzer.lr=1": "did you mean config.optimizer.lr",
    "-u fbank -d emotion -o config.runner.total_steps=abc": "'training.steps' is 'abc'",
    "-u fbank -d emotion -o config.runner.total_steps=5,,training.step=6": "Did you mean training.steps?",
}


@pytest.mark.parametrize(("typed", "words"), WRONG.items(), ids=WRONG)
def test_what_has_no_meaning_is_a_sentence(
    typed: str, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert words in refused(typed.split(), capsys)


def test_a_configuration_of_s3prl_is_no_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("runner:\n  total_steps: 3\ndownstream_expert:\n  datarc:\n    root: /x\n")
    said = refused(["-u", "fbank", "-d", str(tmp_path / "config.yaml")], capsys)
    assert "is a configuration of s3prl and no recipe" in said


@pytest.mark.parametrize("flag", [(name, one.takes_value) for one in REFUSED for name in one.names], ids=str)
def test_every_refused_flag_says_what_to_type(flag: tuple[str, bool], capsys: pytest.CaptureFixture[str]) -> None:
    name, takes_value = flag
    said = refused(["-u", "fbank", "-d", "emotion", name, *(["value"] if takes_value else [])], capsys)
    assert f"{name}" in said
    assert len(said.split()) > 10


def flags_of_s3prl() -> list[str]:
    """Every flag of the installed s3prl's run_downstream.py."""
    spec = importlib.util.find_spec("s3prl")
    if spec is None or spec.origin is None:
        pytest.skip("s3prl is not installed")
    text = (Path(spec.origin).parent / "run_downstream.py").read_text(encoding="utf-8")
    return re.findall(r"'(--?[a-z_]+)'", "".join(re.findall(r"add_argument\((.*?),\s*[a-z]+=", text, flags=re.DOTALL)))


def test_every_flag_of_s3prl_is_known_and_on_the_page() -> None:
    page = (REPOSITORY / "docs" / "coming_from_s3prl.md").read_text(encoding="utf-8")
    found = flags_of_s3prl()
    assert {"-m", "--mode", "--hub", "--disable_cudnn", "-a"} <= set(found)
    for flag in found:
        assert flag in parser_of_run()._option_string_actions, flag
        if not flag.startswith("--"):
            assert f"`{flag}" in page, flag


def parser_of_run() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    add_arguments(made)
    return made


def test_processes_are_those_of_torchrun(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert "torchrun" in refused(["-u", "fbank", "-d", "emotion", "--local_rank", "0"], capsys)


# ---------------------------------------------------------------- the table of keys


def test_every_translation_is_a_key_or_a_flag_here() -> None:
    known = {key for name in FAMILIES for key in all_keys(find_family(name).recipe_type)}
    for theirs, here in HERE.items():
        assert here == "--data" or here in known, theirs
    assert WORDS.keys() <= set(HERE.values())
    assert not HERE.keys() & NOT_HERE.keys()


@pytest.mark.parametrize(
    ("given", "here"),
    [
        ("config.optimizer.lr=1e-3", ["optimizer.lr=1e-3"]),
        ("optimizer.lr=1e-3,,training.steps=5,, ", ["optimizer.lr=1e-3", "training.steps=5"]),
        ("sweep.lr=[1e-3,1e-4]", ["sweep.lr=[1e-3,1e-4]"]),
        ("config.scheduler.name=linear_schedule_with_warmup", ["optimizer.schedule=linear"]),
        ("config.downstream_expert.datarc.max_timestep=128000", ["training.crop.seconds=8.0"]),
        ("config.specaug.time_mask_width_range=[0, 40]", ["head.spec_augment.time_width=40"]),
        ("config.downstream_expert.datarc.train=['a', 'b']", ["split.train=['a', 'b']"]),
        ("config.downstream_expert.datarc.decoder_args.decoder_type='kenlm'", ["decoding.method=beam"]),
        ("config.downstream_expert.datarc.decoder_args.decoder_type='None'", ["decoding.method=greedy"]),
        ("config.downstream_expert.datarc.decoder_args.lexicon=None", ["decoding.lexicon=null"]),
        ("config.downstream_expert.modelrc.UtteranceLevel.pooling=AttentivePooling", ["head.pooling=attention"]),
        ("", [""]),
        ("config", ["config"]),
    ],
)
def test_keys_and_values_are_translated(given: str, here: list[str]) -> None:
    assert translated([given]).overrides == here


def test_a_value_that_s3prl_does_not_have_is_refused() -> None:
    for given in (
        "config.optimizer.name=Lamb_with_schedule",
        "config.downstream_expert.datarc.max_timestep=long",
        "config.specaug.freq_mask_width_range=[]",
        *(f"config.{key}=1" for key in NOT_HERE),
        *(f"config.{key}=Other" for key, _ in ALWAYS if key not in HERE),
    ):
        with pytest.raises(UserError, match=r"-o config\."):
            translated([given])
