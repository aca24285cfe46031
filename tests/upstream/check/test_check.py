"""`wavprobe check`: every step says what it found, and the first that fails ends it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from downstream.cli.main import main
from upstream import UserError, custom
from upstream.check import NOTE, OK, Candidate, Finding, examine
from upstream.check.layers import check_layers, check_unusual_audio
from upstream.check.loads import check_precisions, check_second_load, check_untrained
from upstream.check.speed import check_batches
from upstream.custom import CustomUpstream

# {states} makes the layers of padded waves, (B, S) -> L of (B, T, D).
MODEL = """\
import torch
from torch import nn
from upstream import HiddenStates

class Model(nn.Module):
    num_layers, dim, stride = 2, 8, 320

    def __init__(self):
        super().__init__()
        self.filters = nn.Conv1d(1, 8, 400, stride=320)
        torch.manual_seed(5)
        self.filters.reset_parameters()

    def forward(self, waves):
        lengths = torch.tensor([(len(w) - 400) // 320 + 1 for w in waves])
        x = self.filters(nn.utils.rnn.pad_sequence(waves, batch_first=True)[:, None]).mT
        return HiddenStates.from_layers([{layers}], lengths)

class Loop(Model):
    def forward(self, waves):
        return HiddenStates.from_utterances([super(Loop, self).forward([w]).utterance(0) for w in waves])

def build():
    return Model()

def loop():
    return Loop()
"""
STEPS = (
    "import build sizes lengths finite batches,two calls,frozen weights,odd audio,layers speed,batch speed,second load,"
    "bfloat16 float16 devices untrained next"
)


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def write(folder: Path, layers: str = "x, x.tanh()", function: str = "build", extra: str = "") -> str:
    (folder / "own.py").write_text(extra + MODEL.replace("{layers}", layers))
    return f"{folder}/own.py:{function}"


def load(folder: Path, layers: str = "x, x.tanh()", function: str = "build", extra: str = "") -> CustomUpstream:
    return custom.load(write(folder, layers, function, extra))


def lines_of(printed: str) -> dict[str, tuple[str, str]]:
    """Verdict and sentence of each step of the table."""
    rows = [line for line in printed.splitlines()[1:] if line]
    return {line[6:17].strip(): (line[:6].strip(), line[19:]) for line in rows}


def test_a_good_model_passes_all_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path)
    assert main(["check", spec]) == 0
    printed = capsys.readouterr().out
    found = lines_of(printed)
    assert list(found) == [
        part for words in STEPS.split(",") for part in ([words] if words in SPACED else words.split())
    ]
    assert printed.splitlines()[0] == spec
    assert found["sizes"] == ("ok", "2 x 8, a frame every 320 samples (50 frames a second)")
    assert found["weights"][1].startswith("3,208 numbers in 2 tensors, 12.8 KB; float32 on cpu")
    assert found["odd audio"][0] == "ok"
    assert "30 s in " in found["speed"][1]
    assert found["second load"][1].startswith("the same states and fingerprint (")
    assert found["bfloat16"][1].startswith("usable: states differ by 0.0")
    assert found["untrained"] == (
        "ok",
        "--random-init works (its parameters were drawn by reset_parameters from seed 0); its states are other ones",
    )
    assert found["next"][1] == f"wavprobe run -u {spec} -d demo/emotion"


SPACED = ("two calls", "odd audio", "batch speed", "second load")


def test_the_first_failure_ends_it_after_what_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path, "x, x - x.mean()")
    assert main(["check", spec]) == 2
    printed = capsys.readouterr()
    assert list(lines_of(printed.out)) == ["import", "build", "sizes", "lengths", "finite"]
    assert "gives an utterance other states in a batch than alone" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize("layers", ["x, x.tanh()", "x, x - x.mean()"])
def test_json_has_what_the_table_has(layers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = write(tmp_path, layers, extra="print('loading')\n")
    is_good = main(["check", spec, "--json"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert "loading" in printed.err
    assert content["usable"] == is_good == (layers == "x, x.tanh()")
    assert content["upstream"] == spec
    assert content["findings"][0]["step"] == "import"
    assert is_good == (content["error"] is None) == (content["findings"][-1]["step"] == "next")


def test_any_upstream_can_be_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-u", "wavlm_nano", "--random-init"]) == 0
    found = lines_of(capsys.readouterr().out)
    assert found["weights"][1].startswith("154,084 numbers")  # with those that are packed for this machine
    assert found["untrained"][1] == "this is one, drawn from seed 0"
    assert found["next"][1] == "wavprobe run -u wavlm_nano -d demo/emotion --random-init"


def test_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert "Name the upstream to check" in capsys.readouterr().err
    assert main(["check", "wavlm_bass"]) == 2
    assert "no upstream or file called 'wavlm_bass'" in capsys.readouterr().err


# ---------------------------------------------------------------- batches


def test_a_loop_is_told_from_a_batch_by_its_uses_of_weights(tmp_path: Path) -> None:
    looping, batching = (check_batches(load(tmp_path, function=name)) for name in ("loop", "build"))
    assert looping.verdict == NOTE
    assert looping.found.endswith("it does not batch, each utterance is computed by itself")
    assert f"a batch of 8 takes {looping.values['ratio']:.2g}"[:28] in looping.found
    assert batching.verdict == OK
    assert "it batches" in batching.found or "it does batch" in batching.found


def test_what_does_not_fit_into_memory_is_noted(tmp_path: Path) -> None:
    spec = write(tmp_path)
    file = tmp_path / "own.py"
    file.write_text(
        file.read_text().replace("        x = self", "        if len(waves) > 4: raise MemoryError\n        x = self")
    )
    found = check_batches(custom.load(spec))
    assert (found.verdict, found.found) == (
        NOTE,
        "a batch of 8, 4 s each, does not fit into memory; runs halve such batches",
    )


# ---------------------------------------------------------------- a second load


def second(folder: Path, extra: str, **replaced: str) -> Finding:
    spec = write(folder, extra=extra)
    code = Path(f"{folder}/own.py").read_text()
    for old, new in replaced.items():
        code = code.replace({"seed": "torch.manual_seed(5)", "end": "self.filters.reset_parameters()"}[old], new)
    (folder / "own.py").write_text(code)
    candidate = Candidate(spec, device="cpu")
    encoder = custom.load(spec)
    return check_second_load(encoder, encoder.model, candidate)


@pytest.mark.parametrize("draw", ["pass", "import numpy; torch.manual_seed(numpy.random.randint(1 << 30))"])
def test_weights_that_are_drawn_at_every_load_are_refused(draw: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"other states when it is loaded again \(filters\.bias, for one\)"):
        second(tmp_path, "", seed=draw)


@pytest.mark.parametrize(
    ("unused", "named"),
    [("self.head = nn.Linear(8, 4)", "head.bias"), ("import time; self.made = time.time_ns()", "model.made")],
)
def test_what_changes_without_effect_is_noted(unused: str, named: str, tmp_path: Path) -> None:
    found = second(
        tmp_path, "", seed="pass", end=f"{unused}; nn.init.ones_(self.filters.weight); nn.init.ones_(self.filters.bias)"
    )
    assert found.verdict == NOTE
    assert f"the same states, but another fingerprint ({named}, for one)" in found.found


def test_an_untrained_model_is_its_own_control(tmp_path: Path) -> None:
    spec = write(tmp_path)
    candidate = Candidate(spec, device="cpu", seed=5)
    found = check_untrained(custom.load(spec), candidate)
    assert (found.verdict, found.found.partition(":")[0]) == (NOTE, "--random-init gives the same states")


# ---------------------------------------------------------------- layers and audio

ODD_LAYERS = {
    "constant": ("x, torch.ones_like(x)", "layer 1 is the same at every frame"),
    "equal": ("x, x + 0", "layer 1 is equal to the layer before"),
    "zero channels": ("x, x * (torch.arange(8) > 4)", "5 of 8 channels of layer 1 are always zero"),
    "one channel": ("x, x * torch.tensor([1e3, *[1.0] * 7])", "one channel has 100% of layer 1's energy"),
    "uneven": ("x, x * 1e3", "the largest layers drown the others"),
}


@pytest.mark.parametrize("case", ODD_LAYERS)
def test_layers_that_carry_little_are_noted(case: str, tmp_path: Path) -> None:
    layers, words = ODD_LAYERS[case]
    found = check_layers(load(tmp_path, layers))
    assert found.verdict == NOTE
    assert words in found.found
    assert check_layers(load(tmp_path)).verdict == OK


def test_narrower_layers_are_no_oddity(tmp_path: Path) -> None:
    found = check_layers(load(tmp_path, "x, x[..., :3]"))
    assert found.verdict == OK
    assert "padded with zeros from a width of 3 (layer 1)" in found.found


def test_silence_and_short_utterances(tmp_path: Path) -> None:
    level = "x, torch.stack([o / o[:n].std(0) for o, n in zip(x, lengths)])"
    found = check_unusual_audio(load(tmp_path, level))
    assert found.verdict == NOTE
    assert "silence gives NaN or infinite states" in found.found
    assert "a square wave" not in found.found
    fails = "x, x if lengths.min() > 1 else x.absent"
    found = check_unusual_audio(load(tmp_path, fails))
    assert "400 samples fails: it failed at line 17 of" in found.found
    assert "one sample fails" in found.found


def test_precisions_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    spec = write(tmp_path, "x, torch.fft.rfft(x, n=14).abs()")
    found = {finding.step: finding for finding in check_precisions(custom.load(spec), Candidate(spec, device="cpu"))}
    assert found["bfloat16"].verdict == NOTE
    assert "not usable: it failed at line 17" in found["bfloat16"].found
    far = write(tmp_path, "x, x * (1 if x.dtype == torch.float32 else 2)")
    found = {finding.step: finding for finding in check_precisions(custom.load(far), Candidate(far, device="cpu"))}
    assert found["bfloat16"].found.startswith("not usable: states differ by ")


def test_examine_returns_the_upstream(tmp_path: Path) -> None:
    steps: list[Finding] = []
    encoder = examine(Candidate(write(tmp_path), device="cpu", random_init=True, seed=3), steps.append)
    assert encoder.provenance.random_init
    assert torch.isfinite(encoder([torch.zeros(800)]).layers).all()
    assert steps[-1].found.endswith("--random-init --seed 3")
