"""What a model declares: fractional strides, frames a second, the shortest waveform; layers of different widths."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from upstream import HiddenStates, Upstream, UserError, custom
from upstream.base import exact, frames_of
from upstream.custom.contract import Sizes, declared_sizes
from upstream.store import StoreKey, estimate_bytes

# 75 frames a second, each the energy of the samples that are nearest to it; frame t begins at t * 640 / 3.
MODEL = """\
import torch
from fractions import Fraction
from upstream import HiddenStates

class Model(torch.nn.Module):
    num_layers, dim = 2, 3
    {declared}

    def forward(self, waveforms):
        return HiddenStates.from_utterances([self.states(w) for w in waveforms])

    def states(self, w):
        count = (len(w) - 400) * 3 // 640 + 1
        starts = torch.arange(count) * 640 // 3
        energy = w[starts[:, None] + torch.arange(400)].square().mean(1, keepdim=True)
        return {returned}

def build():
    return Model()
"""
EQUAL = "torch.stack([energy.repeat(1, 3), energy.sqrt().repeat(1, 3)])"
OF_THEIR_OWN = "[energy, torch.cat([energy, energy.sqrt(), energy], 1)]"


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(folder: Path, declared: str, returned: str = EQUAL) -> Upstream:
    (folder / "own.py").write_text(MODEL.replace("{declared}", declared).replace("{returned}", returned))
    return custom.load(f"{folder}/own.py:build")


def sizes(**attributes: object) -> Sizes:
    class Model(SimpleNamespace):
        def __call__(self) -> None: ...

    return declared_sizes(Model(**{"num_layers": 1, "dim": 1, **attributes}), "The model")


@pytest.mark.parametrize(
    "declared", ["stride = 16000 / 75", "stride = Fraction(640, 3)", "frames_per_second = 75", "stride = 213.3333"]
)
def test_a_fractional_stride_adds_up_over_ten_minutes(declared: str, tmp_path: Path) -> None:
    model = load(tmp_path, declared)
    seconds = 600.0
    states = model([torch.full((int(seconds * 16_000),), 0.1)])
    assert model.frames(seconds) == int(states.lengths[0]) == 44_999
    times = model.frame_times(44_999)
    assert times[0] == 200 / 16_000
    assert times[-1] == pytest.approx((44_998 * 640 / 3 + 200) / 16_000, abs=1e-9)
    bytes_of_a_frame = 2 * 3 * 4
    key = StoreKey.of(model, "frames", "float32")
    more = estimate_bytes(key, model.stride, [seconds]) - estimate_bytes(key, model.stride, [0.025])
    assert more == 44_998 * bytes_of_a_frame


@pytest.mark.parametrize("stride", [320, 16_000 / 75, 160, 16_000 / 49, 256 * 16_000 / 22_050])
def test_frames_end_where_the_last_fits(stride: float) -> None:
    """Exactly at the sample where one more frame fits, and not one before, after hours as after seconds."""
    for frames in (1, 2, 74, 75, 4_500, 270_000, 1_000_001):
        enough = -((-(frames - 1) * exact(stride)) // 1) + 400  # rounded up
        assert frames_of(int(enough), 400, stride) == frames
        assert frames_of(int(enough) - 1, 400, stride) == max(1, frames - 1)
    assert frames_of(10, 400, stride) == 1


def test_what_is_declared() -> None:
    assert sizes(stride=320) == Sizes(1, 1, 320, 400, 200)
    assert type(sizes(stride=320.0).stride) is int
    assert type(sizes(stride=np.int64(320)).stride) is int
    assert sizes(frames_per_second=50).stride == 320
    assert sizes(frames_per_second=75.0, stride=213.33333).stride == 640 / 3
    assert sizes(stride=Fraction(640, 3), shortest=1_024) == Sizes(1, 1, 640 / 3, 1_024, 512)
    assert sizes(stride=160, first_centre=0) == Sizes(1, 1, 160, 400, 0.0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, r"no attribute stride; expected .* such as 320, or frames_per_second, such as 75"),
    "disagree": (
        {"stride": 320, "frames_per_second": 75},
        "stride = 320 and frames_per_second = 75, which do not agree",
    ),
    "zero": ({"stride": 0}, "stride = 0; expected a positive number"),
    "text": ({"stride": "320"}, "stride = '320'; expected a positive number"),
    "not a number": ({"frames_per_second": float("nan")}, "frames_per_second = nan; expected a positive"),
    "true": ({"stride": True}, "stride = True"),
    "centre": ({"stride": 320, "first_centre": "middle"}, "first_centre = 'middle'; expected the samples from"),
    "short": ({"stride": 320, "shortest": 25e-3}, r"shortest = 0\.025; expected a positive int"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_declared(case: str) -> None:
    attributes, sentence = REFUSED[case]
    with pytest.raises(UserError, match=sentence):
        sizes(**attributes)


def test_a_rounded_stride_is_refused_with_the_right_one(tmp_path: Path) -> None:
    model = load(tmp_path, "stride = 213")
    with pytest.raises(
        UserError, match=r"stride of 213\. Correct `stride` \(these frames are about 213\.4 samples apart\)"
    ):
        model([torch.zeros(16_000 * 60)])


def test_short_utterances_are_padded_to_what_a_model_takes(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        MODEL.replace("{declared}", "stride, shortest = 640 / 3, 1024").replace(
            "{returned}", f"{EQUAL} if len(w) >= 1024 else 1 / 0"
        )
    )
    assert custom.load(f"{tmp_path}/own.py:build")([torch.ones(100)]).lengths.tolist() == [3]


# ---------------------------------------------------------------- layers of different widths


def test_narrower_layers_are_padded_with_zeros(tmp_path: Path) -> None:
    model = load(tmp_path, "frames_per_second = 75", OF_THEIR_OWN)
    states = model([torch.full((800,), 0.5), torch.full((1_600,), 0.5)])
    assert states.layers.shape == (2, 2, 6, 3)
    assert states.utterance(0)[0].tolist() == [[0.25, 0.0, 0.0]] * 2
    assert states.utterance(0)[1].tolist() == [[0.25, 0.5, 0.25]] * 2


def test_layers_of_a_batch() -> None:
    lengths = torch.tensor([3, 2])
    states = HiddenStates.from_layers([torch.ones(2, 3, 4), torch.ones(2, 3, 8)], lengths)
    assert states.layers.shape == (2, 2, 3, 8)
    assert states.layers[0].sum() == 2 * 3 * 4
    assert states.layers[1].sum() == 2 * 3 * 8
    with pytest.raises(UserError, match="only their last dimension, the width, may differ.*one frame rate first"):
        HiddenStates.from_layers([torch.ones(2, 3, 4), torch.ones(2, 6, 4)], lengths)


RETURNED = {
    "a list of layers": (
        "([x, x[..., :1]], n)",
        r"returned its layers as a list, of width 1, 3\. Stack them with Hidden",
    ),
    "a dictionary": ("{'hidden_states': [x]}", r"returned a dict; expected .*HiddenStates\.from_layers"),
    "layers alone": ("[x, x]", r"returned a list; expected .*HiddenStates\.from_layers"),
}


@pytest.mark.parametrize("form", RETURNED)
def test_other_forms_of_layers_are_told_how(form: str, tmp_path: Path) -> None:
    expression, sentence = RETURNED[form]
    code = MODEL.replace("{declared}", "frames_per_second = 75").replace("{returned}", EQUAL)
    returned = f"s = [self.states(w) for w in waveforms]; x, n = s[0][:1], torch.tensor([75]); return {expression} #"
    (tmp_path / "own.py").write_text(code.replace("return HiddenStates", f"{returned}"))
    with pytest.raises(UserError, match=sentence):
        custom.load(f"{tmp_path}/own.py:build")
