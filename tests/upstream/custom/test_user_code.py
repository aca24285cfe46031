"""A user's file as scripts are: it parses a command line, prints, imports its neighbours, needs a GPU, or is lost."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import upstream
from upstream import UserError, custom
from upstream.custom.user_code import generators_kept

MODEL = """\
import torch
from upstream import HiddenStates

class Model(torch.nn.Module):
    num_layers, dim, stride = 1, 1, 400

    def forward(self, waveforms):
        return HiddenStates.from_utterances([w.unfold(0, 400, 400).mean(1)[None, :, None] for w in waveforms])

def build():
    return Model()
"""


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def spec(folder: Path, code: str) -> str:
    (folder / "own.py").write_text(code)
    return f"{folder}/own.py:build"


PARSES = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', default=8)\n"


@pytest.mark.parametrize("where", ["at once", "in the function"])
def test_a_file_that_parses_a_command_line_gets_an_empty_one(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["wavprobe", "run", "-u", "own.py:build"]
    monkeypatch.setattr(sys, "argv", given)
    code = PARSES + MODEL
    code = (
        code + "parser.parse_args()\n"
        if where == "at once"
        else code.replace("return Model", "parser.parse_args(); return Model")
    )
    assert custom.load(spec(tmp_path, code)).dim == 1
    assert sys.argv is given


# What is put before the model, or in place of its last line, and the sentence.
ERRORS = {
    "relative import": ("from .neighbour import x\n", "", r"line 1 .*write its imports without the dot"),
    "package that is missing": ("import no_such.part\n", "", r"Install no_such, or put its file beside own\.py"),
    "file that is missing": ("", "return torch.load('best.pt')", r"write Path\(__file__\)\.parent / 'best\.pt'"),
    "exit": ("import sys; sys.exit('usage: train.py')\n", "", r"SystemExit: usage: train\.py\. Keep .*__main__"),
    "argument": ("", "pass\ndef build(config):\n    pass", r"gets no arguments but random_init and seed"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_come_with_what_to_do(case: str, tmp_path: Path) -> None:
    before, last, sentence = ERRORS[case]
    code = before + (MODEL.replace("return Model()", last) if last else MODEL)
    with pytest.raises(UserError, match=sentence):
        custom.load(spec(tmp_path, code))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_model_that_wants_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 11 .*Leave \.cuda\(\) out: a model is moved to the device"):
        custom.load(spec(tmp_path, MODEL.replace("return Model()", "return torch.ones(1).cuda()")))


def test_the_form_of_other_tools_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    spec(Path("models"), MODEL)
    with pytest.raises(
        UserError, match=r"models\.own:build is not the form of a function; type models/own\.py:build\."
    ):
        upstream.load("models.own:build")


def test_all_generators_are_kept() -> None:
    def drawn() -> list[float]:
        return [torch.rand(()).item(), float(np.random.rand()), random.random()]

    with generators_kept(3):
        first = drawn()
        with generators_kept():
            drawn()
        rest = drawn()
        with generators_kept(3):
            assert drawn() == first
            assert drawn() == rest
