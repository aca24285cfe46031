"""A user's model: the documented example works, and every breach of the contract is a UserError."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from upstream import custom
from upstream.custom import probes
from upstream.custom.source import source_files
from upstream.encode import Item, encode
from upstream.errors import UserError

# A good model; the tests break it in one place at a time.
GOOD = """\
import torch
from torch import nn
from upstream.base import HiddenStates

class Model(nn.Module):
    num_layers, dim, stride = 2, 16, 320

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 16, 400, stride=320)
        self.second = nn.Linear(16, 16)
        self.register_buffer("calls", torch.zeros(()))
        for parameter in self.parameters():
            nn.init.constant_(parameter, 0.05)

    def forward(self, waveforms):
        return HiddenStates.from_utterances([self.states(waveform) for waveform in waveforms])

    def states(self, waveform):
        first = self.first(waveform.view(1, 1, -1))[0].T
        return torch.stack([first, self.second(first)])

def build():
    return Model()
"""


def write(folder: Path, code: str, name: str = "my_model.py") -> str:
    file = folder / name
    file.write_text(textwrap.dedent(code))
    return f"{file}:build"


def change(old: str, new: str) -> str:
    """The good model with one piece of code replaced."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


class TestGood:
    def test_the_documented_example(self, tmp_path: Path) -> None:
        assert custom.__doc__ is not None
        example = textwrap.dedent("\n".join(re.findall(r"^(?:    .*)?$", custom.__doc__, flags=re.MULTILINE)))
        assert 10 < len([line for line in example.splitlines() if line.strip()]) <= 20
        model = custom.load(write(tmp_path, example))
        waveform = noise(16_000)
        states = model([waveform, waveform[:800]])
        assert (model.num_layers, model.dim, model.stride) == (2, 201, 320)
        assert states.layers.shape == (2, 2, 49, 201)
        assert states.lengths.tolist() == [49, 2]
        spectrum = torch.fft.rfft(waveform[:400] * torch.hann_window(400)).abs()
        torch.testing.assert_close(states.layers[0, 0, 0], spectrum)

    def test_a_module_is_frozen_and_cast(self, tmp_path: Path) -> None:
        model = custom.load(write(tmp_path, GOOD), dtype=torch.bfloat16)
        assert model([noise(8_000)]).layers.dtype == torch.bfloat16
        assert not model.model.training
        assert not any(parameter.requires_grad for parameter in model.model.parameters())

    def test_a_pair_of_tensors_is_accepted(self, tmp_path: Path) -> None:
        pair = change(
            "return HiddenStates.from_utterances([self.states(waveform) for waveform in waveforms])",
            "s = HiddenStates.from_utterances([self.states(w) for w in waveforms]); return s.layers, s.lengths.int()",
        )
        states = custom.load(write(tmp_path, pair))([noise(8_000)])
        expected = custom.load(write(tmp_path, GOOD, "good.py"))([noise(8_000)])
        assert torch.equal(states.layers, expected.layers)
        assert states.lengths.dtype == torch.int64

    def test_an_object_that_is_no_module(self, tmp_path: Path) -> None:
        spec = write(tmp_path, PLAIN)
        model = custom.load(spec)
        assert model([noise(3_200)]).layers.shape == (1, 1, 20, 1)
        with pytest.raises(UserError, match=r"not a torch module, so it cannot be cast to torch\.bfloat16"):
            custom.load(spec, dtype=torch.bfloat16)

    def test_neighbouring_files_can_be_imported(self, tmp_path: Path) -> None:
        write(tmp_path, GOOD, "neighbour_of_my_model.py")
        model = custom.load(write(tmp_path, "from neighbour_of_my_model import build"))
        assert model([noise(8_000)]).layers.shape == (2, 1, 24, 16)

    def test_the_callers_audio_and_generator_are_left_alone(self, tmp_path: Path) -> None:
        in_place = change("first = self.first", "waveform.mul_(2.0); first = self.first")
        spec = write(tmp_path, in_place.replace("return Model()", "torch.rand(3); return Model()"))
        before = torch.random.get_rng_state()
        model = custom.load(spec)
        assert torch.equal(before, torch.random.get_rng_state())
        waveform = noise(8_000)
        model([waveform])
        assert torch.equal(waveform, noise(8_000))


PLAIN = """
import torch

class Energy:
    num_layers, dim, stride = 1, 1, 160
    gain = 1.0

    def __call__(self, waveforms):
        frames = [w[: len(w) // 160 * 160].view(-1, 160).square().mean(1) * self.gain for w in waveforms]
        lengths = torch.tensor([len(f) for f in frames])
        return torch.nn.utils.rnn.pad_sequence(frames, batch_first=True)[None, :, :, None], lengths

def build():
    return Energy()
"""

NUMBERS = "2, 16, 320"
FIRST = "first = self.first"
SECOND = "self.second(first)]"
STACK = "torch.stack([first, self.second(first)])"
RETURN = "return HiddenStates.from_utterances"
EACH = "[self.states(waveform) for waveform in waveforms]"
PADDED = "[self.states(nn.functional.pad(w, (0, 320 * len(waveforms) - 320))) for w in waveforms]"
FORWARD = "    def forward(self, waveforms):"
WITH_GRADIENTS = f"    @torch.enable_grad()\n{FORWARD}\n        [w.requires_grad_() for w in waveforms]"

# Text to replace in the good model, its replacement, and the expected message.
BREACHES = {
    "no attribute": (NUMBERS, "2, 16, 320; del dim", "no attribute dim; expected a positive int"),
    "attribute of another type": (NUMBERS, "2.0, 16, 320", r"num_layers = 2\.0; expected a positive int"),
    "not callable": ("return Model()", "m = Model(); return m.dim", "of type int, which cannot be called"),
    "wrong number of layers": (NUMBERS, "3, 16, 320", "with num_layers = 2; expected 3"),
    "wrong width": (NUMBERS, "2, 8, 320", "with dim = 16; expected 8"),
    "wrong stride": (NUMBERS, "2, 16, 160", "49 frames for 16000 samples; expected about 100"),
    "utterances lost": (EACH, "[self.states(waveforms[0])]", "with utterances = 1; expected 2"),
    "three dimensions": (
        RETURN,
        "return torch.ones(2, 5, 16), torch.ones(1) #",
        r"shape \(2, 5, 16\); expected \(L, B",
    ),
    "a lone tensor": (RETURN, "return torch.ones(2, 1, 49, 16) #", "returned Tensor; expected HiddenStates or a tuple"),
    "three tensors": (RETURN, "x = torch.ones(2); return x, x, x #", "returned a tuple of 3; expected HiddenStates"),
    "whole-number states": (STACK, "torch.stack([first, first]).long()", r"layers of torch\.int64"),
    "fractional lengths": (RETURN, "return torch.ones(2, 1, 49, 16), torch.ones(1) #", r"lengths of .* torch\.float32"),
    "lengths beyond the padding": (
        RETURN,
        "return torch.ones(2, 1, 49, 16), torch.tensor([50]) #",
        "49 padded frames, but a length of 50 for an utterance of 16000 samples",
    ),
    "not finite": (SECOND, "(first - first).log()]", r"NaN or infinite states .*\(layer 1\)"),
    "random": (SECOND, "first + torch.rand(())]", "different states for the same waveform"),
    "remembers": (
        FIRST,
        "self.n = getattr(self, 'n', 0) + 1; first = self.n * self.first",
        "different states for the same",
    ),
    "the batch matters": (
        EACH,
        "[self.states(w) * len(waveforms) for w in waveforms]",
        "layer 0 of 1 s of noise .* differs by 1 of its norm",
    ),
    "padding counts as audio": (EACH, PADDED, "49 frames alone and 50 in a batch"),
    "statistics go on": (FIRST, f"self.calls += 1; {FIRST}", "changes its parameters"),
    "training mode": (FIRST, f"self.train(); {FIRST}", "back to training mode"),
    "thawed": (FIRST, f"self.requires_grad_(True); {FIRST}", r"made first\.weight require gradients again"),
    "gradients": (FORWARD, WITH_GRADIENTS, "carry gradients"),
    "fails when built": ("return Model()", "return Model().missing", "failed at line 24 of .*AttributeError"),
    "fails when called": (FIRST, "first = self.absent", "failed at line 20 of .*absent"),
    "fails when imported": ("import torch\n", "import no_such_package\n", "failed at line 1 of .*no_such_package"),
    "is no Python": ("def build()", "def build(", "SyntaxError"),
    "another name": ("def build", "def built", r"no function 'build'\. Did you mean built\?"),
    "quite another name": ("def build", "def xyz", r"no function 'build'\. It defines: Model, xyz"),
}


@pytest.mark.parametrize("breach", BREACHES)
def test_breaches_of_the_contract_are_user_errors(breach: str, tmp_path: Path) -> None:
    old, new, sentence = BREACHES[breach]
    with pytest.raises(UserError, match=sentence):
        custom.load(write(tmp_path, change(old, new)))


def test_truncated_long_utterances_are_refused_at_the_call(tmp_path: Path) -> None:
    model = custom.load(write(tmp_path, change("waveform.view(1, 1, -1)", "waveform[:32000].view(1, 1, -1)")))
    with pytest.raises(UserError, match="99 frames for 48000 samples; expected about 150"):
        model([noise(48_000)])


@pytest.mark.parametrize("spec", ["my_model.py", "my_model:build", "my_model.py:", "my_model.txt:build", "m.py:a b"])
def test_malformed_names(spec: str) -> None:
    with pytest.raises(UserError, match=r"is not of the form module\.py:function"):
        custom.load(spec)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        custom.load(f"{tmp_path}/absent.py:build")


OTHER_PROBES = tuple(probes.Probe(probe.samples // 2, probe.level) for probe in probes.PROBES)


class TestFingerprint:
    def test_repeats_wherever_the_file_lies(self, tmp_path: Path) -> None:
        first = custom.load(write(tmp_path, GOOD, "here.py")).fingerprint
        assert first == custom.load(write(tmp_path, GOOD, "there.py")).fingerprint

    def test_covers_weights_that_come_from_elsewhere(self, tmp_path: Path) -> None:
        weights = tmp_path / "bias.pt"
        code = change("return Model()", f"m = Model(); m.second.bias.data = torch.load({str(weights)!r}); return m")
        prints = set()
        for value in (0.0, 1.0):
            torch.save(torch.full((16,), value), weights)
            prints.add(custom.load(write(tmp_path, code)).fingerprint)
        assert len(prints) == 2

    def test_covers_the_file_even_if_edited_within_a_second(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Same length, same time: a stale .pyc would run the old code under the new digest."""
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        loaded = []
        for code in (GOOD, change("[first, self", "[-first,self")):
            spec = write(tmp_path, code)
            os.utime(tmp_path / "my_model.py", (1_000_000_000, 1_000_000_000))
            loaded.append(custom.load(spec))
        first, second = loaded
        assert first.fingerprint != second.fingerprint
        waveform = noise(8_000)
        assert torch.equal(second([waveform]).layers[0], -first([waveform]).layers[0])

    def test_covers_the_files_of_its_classes(self, tmp_path: Path) -> None:
        prints = set()
        for name, code in (("neighbour_one", GOOD), ("neighbour_two", GOOD + "# changed\n")):
            (tmp_path / name).mkdir()
            write(tmp_path / name, code, f"{name}.py")
            spec = write(tmp_path / name, f"import {name} as neighbour\nbuild = neighbour.build\n")
            prints.add(custom.load(spec).fingerprint)
            files = source_files(tmp_path / name / "my_model.py", custom.load(spec).model)
            assert {file.name for file in files} == {f"{name}.py", "my_model.py"}
        assert len(prints) == 2

    def test_covers_the_states_of_an_object_that_is_no_module(self, tmp_path: Path) -> None:
        gain = tmp_path / "gain.txt"
        code = PLAIN.replace("return Energy()", f"e = Energy(); e.gain = float(open({str(gain)!r}).read()); return e")
        prints = set()
        for value in ("1.0", "2.0"):
            gain.write_text(value)
            prints.add(custom.load(write(tmp_path, code)).fingerprint)
        assert len(prints) == 2

    def test_depends_on_functions_of_neighbouring_files(self, tmp_path: Path) -> None:
        prints = set()
        for factor in ("1.0", "-2.0"):
            (tmp_path / "neighbour.py").write_text(f"def scale():\n    return {factor}\n")
            sys.modules.pop("neighbour", None)
            code = "import neighbour\n" + change(
                "return torch.stack([first,", "return neighbour.scale() * torch.stack([first,"
            )
            prints.add(custom.load(write(tmp_path, code)).fingerprint)
        sys.modules.pop("neighbour", None)
        assert len(prints) == 2

    def test_covers_global_variables(self, tmp_path: Path) -> None:
        """A function may use what the file has loaded, without an attribute of the model."""
        weights = tmp_path / "gain.pt"
        code = change("return torch.stack([first,", "return GAIN * torch.stack([first,")
        prints = set()
        for value in (1.0, 2.0):
            torch.save({"gain": torch.tensor(value)}, weights)
            prints.add(
                custom.load(write(tmp_path, f"{code}\nGAIN = torch.load({str(weights)!r})['gain']\n")).fingerprint
            )
        assert len(prints) == 2

    @pytest.mark.parametrize("late", [False, True])
    def test_covers_what_a_neighbouring_file_has_loaded(self, late: bool, tmp_path: Path) -> None:
        weights = tmp_path / "gain.pt"
        (tmp_path / "neighbour.py").write_text(f"import torch\nGAIN = torch.load({str(weights)!r})['gain']\n")
        code = change("return torch.stack([first,", "import neighbour; return neighbour.GAIN * torch.stack([first,")
        prints = []
        for value in (1.0, 1.0, 2.0):
            sys.modules.pop("neighbour", None)
            torch.save({"gain": torch.tensor(value)}, weights)
            prints.append(custom.load(write(tmp_path, code if late else f"import neighbour\n{code}")).fingerprint)
        sys.modules.pop("neighbour", None)
        assert prints[0] == prints[1] != prints[2]

    def test_does_not_depend_on_computed_states(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = custom.load(write(tmp_path, GOOD)).fingerprint
        monkeypatch.setattr(probes, "PROBES", OTHER_PROBES)
        assert custom.load(write(tmp_path, GOOD)).fingerprint == expected

    def test_states_are_part_of_it_where_a_model_cannot_be_looked_into(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = change("return Model()", "m = Model(); m.session = (i for i in ()); return m")
        expected = custom.load(write(tmp_path, code)).fingerprint
        assert custom.load(write(tmp_path, code)).fingerprint == expected
        monkeypatch.setattr(probes, "PROBES", OTHER_PROBES)
        assert custom.load(write(tmp_path, code)).fingerprint != expected


MUTE = "class Mute(BaseException):\n    def __str__(self):\n        raise ValueError\n"


@pytest.mark.parametrize("raised", ["SystemExit(0)", "GeneratorExit", "Mute"])
def test_a_model_that_exits_or_raises_anything_is_a_user_error(tmp_path: Path, raised: str) -> None:
    with pytest.raises(UserError, match=f"failed at line .*{raised.partition('(')[0]}"):
        custom.load(write(tmp_path, MUTE + change("    return Model()", f"    raise {raised}")))


def test_an_interruption_stays_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        custom.load(write(tmp_path, change("    return Model()", "    raise KeyboardInterrupt")))


@dataclass(frozen=True)
class Noise:
    """The audio of an utterance: noise of that many samples."""

    samples: int

    def load(self) -> Tensor:
        return noise(self.samples)

    def item(self) -> Item:
        return Item(f"utterance of {self.samples}", self, str(self.samples), self.samples / 16_000)


def encode_all(code: str, folder: Path, *lengths: int) -> list[Tensor]:
    model = custom.load(write(folder, code))
    return encode(model, [Noise(n).item() for n in lengths], [noise(n) for n in lengths], "means")


class TestFailures:
    """Whatever a model raises while a corpus is encoded names the utterance."""

    LONG = "if len(waveform) > 40000:"

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ("raise IndexError('position 99')", "IndexError: position 99"),
            ("raise RuntimeError('size mismatch')", "RuntimeError: size mismatch"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("assert False", "AssertionError"),
            ("return {}['x']", "KeyError: 'x'"),
        ],
    )
    def test_one_longer_utterance(self, error: str, words: str, tmp_path: Path) -> None:
        code = change(FIRST, f"\n        {self.LONG} {error}\n        {FIRST}")
        with pytest.raises(UserError, match=rf"^utterance of 48000: The model of .* failed at line \d+ of .*: {words}"):
            encode_all(code, tmp_path, 8_000, 48_000, 16_000)

    def test_a_batch_fails_whose_utterances_alone_do_not(self, tmp_path: Path) -> None:
        code = change(RETURN, f"\n        if len(waveforms) > 4: raise ValueError('too many')\n        {RETURN}")
        with pytest.raises(UserError, match="^utterance of 8000 and 4 more in one batch: .*ValueError: too many"):
            encode_all(code, tmp_path, 8_000, 9_000, 10_000, 11_000, 12_000)

    def test_a_message_that_fails_itself_and_one_without_end(self, tmp_path: Path) -> None:
        broken = "class Odd(Exception):\n    def __str__(self): raise ValueError\n"
        with pytest.raises(UserError, match=r"build\(\) of .* failed at line .*: Odd\. Fix it"):
            custom.load(write(tmp_path, broken + change("return Model()", "raise Odd")))
        with pytest.raises(UserError, match=r"ValueError: x{300}…\. Fix it"):
            custom.load(write(tmp_path, change("return Model()", "raise ValueError('x' * 10000)")))

    def test_running_out_of_memory_still_halves_the_batch(self, tmp_path: Path) -> None:
        code = change(RETURN, f"\n        if len(waveforms) > 4: raise MemoryError\n        {RETURN}")
        states = encode_all(code, tmp_path, 8_000, 9_000, 10_000, 11_000, 12_000)
        assert [state.shape for state in states] == [(2, 16)] * 5

    def test_a_model_that_cannot_be_moved(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"The model of .* failed: NotImplementedError: Cannot copy out of meta"):
            custom.load(write(tmp_path, change("return Model()", "return Model().to('meta')")))

    @pytest.mark.parametrize("property_", ["num_layers", "stride"])
    def test_attributes_may_fail_too(self, property_: str, tmp_path: Path) -> None:
        code = GOOD.replace(
            "    def forward", f"    @property\n    def {property_}(self): return 1 / 0\n\n    def forward"
        )
        with pytest.raises(UserError, match=r"failed at line \d+ .*ZeroDivisionError"):
            custom.load(write(tmp_path, code))

    @pytest.mark.parametrize(
        "tensor", ["torch.ones(2, 1, 49, 16).to_sparse()", "torch.ones(2, 1, 49, 16, device='meta')"]
    )
    def test_tensors_without_plain_numbers(self, tensor: str, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="sparse, nested, quantised or without data"):
            custom.load(write(tmp_path, change(RETURN, f"return {tensor}, torch.tensor([49]) #")))


def test_what_a_file_sets_for_everyone_is_set_back(tmp_path: Path) -> None:
    """Scripts for inference switch gradients off at their top; heads that are learned afterwards need them."""
    code = "import torch\ntorch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)\n" + GOOD
    custom.load(write(tmp_path, code))
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


SETTINGS = {
    "precision": "torch.set_default_dtype(torch.float64)",
    "automatic precision": "torch.set_autocast_enabled('cpu', True)",
    "output": "import os, sys; sys.stdout = open(os.devnull, 'w')",
    "device": "torch.set_default_device('meta')",
}


def settings() -> tuple[object, ...]:
    return torch.get_default_dtype(), torch.is_autocast_enabled("cpu"), sys.stdout, torch.ones(1).device


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_what_a_function_sets_for_everyone_is_set_back(tmp_path: Path, setting: str) -> None:
    """Heads would be learned in other numbers afterwards, or elsewhere, or the result would be printed to nobody."""
    before = settings()
    custom.load(write(tmp_path, change("    return Model()", f"    model = Model(); {setting}; return model")))
    assert settings() == before


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "device"])
def test_what_a_call_sets_for_everyone_is_set_back(tmp_path: Path, name: str) -> None:
    before = settings()
    custom.load(write(tmp_path, change(RETURN, f"{SETTINGS[name]}; {RETURN}")))
    assert settings() == before


def test_complex_tensors_keep_their_imaginary_parts(tmp_path: Path) -> None:
    code = change('"calls", torch.zeros(())', '"turn", torch.tensor([0, 1j])').replace(
        "return torch.stack([first,", "first = first * self.turn[1].imag; return torch.stack([first,"
    )
    states = custom.load(write(tmp_path, code))([noise(8_000)]).layers
    expected = custom.load(write(tmp_path, GOOD, "good.py"))([noise(8_000)]).layers
    assert torch.equal(states[0], expected[0])


@pytest.mark.parametrize("call", ["[:, :, : s.layers.shape[2]]", "[:, :, : s.layers.shape[2]].data"])
def test_states_outlive_the_next_call(call: str, tmp_path: Path) -> None:
    """A model may write all its states to one place, to save allocations; those of the call before are kept."""
    code = change("return HiddenStates", "s = HiddenStates").replace(
        "for waveform in waveforms])",
        f"for waveform in waveforms])\n        self.out = getattr(self, 'out', torch.zeros(2, 4, 999, 16))\n"
        f"        out = self.out[:, : len(waveforms)]{call}\n"
        "        out.copy_(s.layers)\n        return out, s.lengths",
    )
    model = custom.load(write(tmp_path, code))
    first = model([noise(8_000)]).layers
    kept = first.clone()
    model([noise(9_000, seed=1)])
    assert torch.equal(first, kept)


def test_states_of_inference_mode_can_be_learned_from(tmp_path: Path) -> None:
    code = change("    def forward", "    @torch.inference_mode()\n    def forward")
    states = custom.load(write(tmp_path, code))([noise(8_000)]).layers
    weight = torch.ones(16, requires_grad=True)
    (states * weight).sum().backward()
    assert weight.grad is not None


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 reach Python as lone surrogates, which no record can hold."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    model = custom.load(write(folder, GOOD, os.fsdecode(b"m\xfcdel.py")))
    for text in (model.name, model.provenance.source, *model.provenance.notes):
        assert r"m\xfcdel.py" in text.encode().decode()
