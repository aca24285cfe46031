"""The untrained control of a user's model: drawn by its function or its modules, or refused with the reason."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import upstream
from upstream import custom
from upstream.custom import CustomUpstream
from upstream.errors import UserError

# Trained weights are 0.05 everywhere; {signature} and {build} complete it.
MODEL = """\
import numpy, random, torch
from torch import nn
from upstream import HiddenStates

class Model(nn.Module):
    num_layers, dim, stride = 2, 16, 320

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(1, 16, 400, stride=320)
        self.norm = nn.BatchNorm1d(16)
        self.attention = nn.MultiheadAttention(16, 2)
        self.recurrent = nn.LSTM(16, 16)
        self.register_buffer("window", torch.hann_window(400))
        self.extra()

    def extra(self):
        pass

    def forward(self, waveforms):
        return HiddenStates.from_utterances([self.states(waveform) for waveform in waveforms])

    def states(self, waveform):
        first = self.norm(self.first(waveform.view(1, 1, -1)))[0].T
        return torch.stack([first, self.recurrent(first)[0]])

def trained():
    model = Model()
    with torch.no_grad():
        [tensor.fill_(0.05) for tensor in [*model.parameters(), model.norm.running_var]]
    return model
"""
BY_MODULES = "def build():\n    return trained()\n"
BY_FUNCTION = "def build(random_init=False, seed=0):\n    return Model() if random_init else trained()\n"


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(folder: Path, code: str, *, random_init: bool = True, seed: int = 0) -> CustomUpstream:
    (folder / "own.py").write_text(code)
    return custom.load(f"{folder}/own.py:build", random_init=random_init, seed=seed)


def parameters(model: CustomUpstream) -> dict[str, Tensor]:
    return dict(model.model.named_parameters())


WAYS = {
    "modules": BY_MODULES,
    "function": BY_FUNCTION,
    "function without a seed": BY_FUNCTION.replace(", seed=0", ""),
    "function that seeds": BY_FUNCTION.replace("    return", "    torch.manual_seed(seed)\n    return"),
    "seed alone": BY_FUNCTION.replace("random_init=False, ", "*, ").replace("if random_init", "if seed is not None"),
    "no defaults": BY_FUNCTION.replace("=False", "").replace("=0", ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_depend_on_the_seed_alone(way: str, tmp_path: Path) -> None:
    generator, other_generator = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    code = MODEL + WAYS[way]
    first, again, other = (load(tmp_path, code, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(generator, torch.random.get_rng_state())
    assert np.array_equal(other_generator, np.random.get_state()[1])
    trained = parameters(load(tmp_path, code, random_init=False)) if way != "seed alone" else {}
    assert len({model.fingerprint for model in (first, again, other)}) == 2
    assert first.fingerprint == again.fingerprint
    for name, drawn in parameters(first).items():
        assert torch.equal(drawn, parameters(again)[name])
        assert not trained or not torch.equal(drawn, trained[name]), name
        is_constant = bool((drawn == drawn.flatten()[0]).all())
        assert is_constant or not torch.equal(drawn, parameters(other)[name]), name
        assert is_constant == (name.startswith("norm") or name in ("attention.in_proj_bias", "attention.out_proj.bias"))
    assert torch.equal(first.model.norm.running_var, torch.ones(16))
    assert first.provenance.random_init


def test_the_fingerprint_is_that_of_no_trained_model(tmp_path: Path) -> None:
    """Weights that a file holds and weights that are drawn to the same numbers are stored apart."""
    drawn = load(tmp_path, MODEL + BY_FUNCTION)
    assert drawn.fingerprint != load(tmp_path, MODEL + BY_FUNCTION, random_init=False).fingerprint
    assert not load(tmp_path, MODEL + BY_FUNCTION, random_init=False).provenance.random_init


def test_the_fingerprint_covers_what_is_not_drawn(tmp_path: Path) -> None:
    """A part that stays trained, such as a front end, comes from elsewhere than the file."""
    scale = tmp_path / "scale.pt"
    code = MODEL.replace(
        "def extra(self):\n        pass", f"def extra(self):\n        self.scale = torch.load({str(scale)!r})"
    )
    prints = []
    for value in (1.0, 1.0, 2.0):
        torch.save(torch.full((3,), value), scale)
        prints.append(load(tmp_path, code + BY_MODULES).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_the_record_says_how_it_was_drawn(tmp_path: Path) -> None:
    by_modules, by_function = (load(tmp_path, MODEL + code, seed=3).provenance.notes[-1] for code in WAYS_SHOWN)
    assert by_modules == (
        "Untrained: its parameters were drawn by reset_parameters from seed 3. 1 buffer keeps its values: window."
    )
    assert by_function == "Untrained: built by build(random_init=True, seed=3)."


WAYS_SHOWN = (BY_MODULES, BY_FUNCTION)


def test_the_names_of_the_catalogue_pass_it_on(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODEL + BY_MODULES)
    model = upstream.load(f"{tmp_path}/own.py:build", random_init=True, seed=1)
    assert model.provenance.random_init
    assert model.fingerprint == load(tmp_path, MODEL + BY_MODULES, seed=1).fingerprint


OBJECT = (
    MODEL
    + """
class Filters:
    num_layers, dim, stride = 1, 8, 400

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, waveforms):
        states = [w[: len(w) // 400 * 400].view(-1, 400) @ torch.from_numpy(self.weights).float() for w in waveforms]
        return HiddenStates.from_utterances([each[None] for each in states])
"""
)


def test_an_object_that_is_no_module_draws_by_its_function(tmp_path: Path) -> None:
    code = OBJECT + "def build(random_init=False):\n    return Filters(numpy.random.randn(400, 8))\n"
    first, again, other = (load(tmp_path, code, seed=seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


EXTRA = "    def extra(self):\n        pass"
LOADS = "    model = Model()\n    model.load_state_dict(trained().state_dict())\n"
# Code, and the expected message.
REFUSED = {
    "a parameter of its own": (
        MODEL.replace(EXTRA, "    def extra(self):\n        self.token = nn.Parameter(torch.ones(16))") + BY_MODULES,
        r"no reset_parameters sets them: those of the model itself \(Model\)\. Write def build\(random_init=False",
    ),
    "weight norm": (
        MODEL.replace(EXTRA, "    def extra(self):\n        nn.utils.parametrizations.weight_norm(self.first)")
        + BY_MODULES,
        r"those of first\.parametrizations\.weight \(ParametrizationList\)",
    ),
    "old weight norm": (
        MODEL.replace(EXTRA, "    def extra(self):\n        nn.utils.weight_norm(self.first)") + BY_MODULES,
        r"those of first \(Conv1d\)",
    ),
    "no parameters": (
        MODEL + "class Still(nn.Module): num_layers, dim, stride = 1, 1, 1\ndef build():\n    return Still()\n",
        "has no parameters to draw",
    ),
    "no module": (
        OBJECT + "def build():\n    return Filters(numpy.ones((400, 8)))\n",
        r"is no torch module, so .* Write def build\(random_init=False, seed=0\)",
    ),
    "ignored": (
        MODEL + "def build(random_init=False, seed=0):\n    return trained()\n",
        r"has the same weights for seed 0 and seed 1, so that build\(\) does not draw them",
    ),
    "ignored, but for a part": (
        MODEL.replace(EXTRA, "    def extra(self):\n        self.head = nn.Linear(16, 4)")
        + "BASE = Model().state_dict()\ndef build(random_init=False, seed=0):\n    model = Model()\n"
        + "    model.load_state_dict({n: t for n, t in BASE.items() if 'head' not in n}, strict=False)\n"
        + "    return model\n",
        r"has the same weights for seed 0 and seed 1 \(model\.first\.weight, for one\)",
    ),
    "another one each time": (
        MODEL.replace("import numpy", "import os, numpy")
        + "def build(random_init=False, seed=0):\n    torch.manual_seed(int.from_bytes(os.urandom(4)))\n"
        + "    return Model()\n",
        r"other weights each time although build\(\) got the same seed \(model\.attention\.out_proj\.weight, for one",
    ),
    "one for all": (
        MODEL + "from functools import cache\n@cache\ndef build(seed=0):\n    return MODEL\nMODEL = trained()\n",
        "has the same weights for seed 0 and seed 1",
    ),
    "fails": (
        MODEL + "def build(random_init=False, seed=0):\n    raise ValueError('no sizes')\n",
        r"build\(random_init=True, seed=0\) of .*own\.py failed at line \d+ of .*ValueError: no sizes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_a_user_error(case: str, tmp_path: Path) -> None:
    code, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        load(tmp_path, code)
