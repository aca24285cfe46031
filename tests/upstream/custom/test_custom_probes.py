"""What depends on the batch, on earlier calls or on the level is found when a model is loaded; what is right passes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from places import SHARED_DATA
from small_encoders import KINDS, Kind
from torch import Tensor

import upstream
from upstream import HiddenStates, Upstream, UserError, custom
from upstream.custom.probes import BATCH_TOLERANCE, BATCHES, PROBES, check_contract, deviations, noise

# {batch} prepares a batch of waveforms, `waves`; each is then filtered by itself.
MODEL = """\
import torch
from torch import nn
from upstream import HiddenStates

class Model(nn.Module):
    num_layers, dim, stride = 2, 16, 320
    loudest = 0.0

    def __init__(self):
        super().__init__()
        self.filters = nn.Conv1d(1, 16, 400, stride=320)
        with torch.no_grad():
            self.filters.weight.copy_(torch.linspace(-1, 1, 6400).cos().view(16, 1, 400))

    def forward(self, waves):
        {batch}

    def states(self, wave):
        first = self.filters(wave.view(1, 1, -1))[0].T
        return torch.stack([first, first.tanh()])

def build():
    return Model()
"""
EACH = "return HiddenStates.from_utterances([self.states(w) for w in waves])"
PADDED = "padded = nn.utils.rnn.pad_sequence(waves, batch_first=True); "
OVER_ALL = "Look for a mean, a peak or a normalisation over the whole batch"
MASK = "Mask the padding in attention"

# How a batch is prepared, and the message.
BREACHES = {
    "level of the padded batch": (
        f"{PADDED}rms = padded.square().mean().sqrt(); waves = [w / rms for w in waves]; {EACH}",
        OVER_ALL,
    ),
    "a faint trace of that level": (
        f"{PADDED}rms = padded.square().mean().sqrt(); waves = [w / rms**0.001 for w in waves]; {EACH}",
        OVER_ALL,
    ),
    "peak of the batch": (f"p = max(w.abs().max() for w in waves); waves = [w / p for w in waves]; {EACH}", OVER_ALL),
    "level of the first": (
        f"rms = waves[0].square().mean().sqrt(); waves = [w / rms for w in waves]; {EACH}",
        OVER_ALL,
    ),
    "normalised over the batch": (
        "s = HiddenStates.from_utterances([self.states(w) for w in waves]); "
        "return nn.functional.layer_norm(s.layers, s.layers.shape), s.lengths",
        OVER_ALL,
    ),
    "mean over the padding": (
        "s = HiddenStates.from_utterances([self.states(w) for w in waves]); "
        "return s.layers - s.layers.mean(2, keepdim=True), s.lengths",
        MASK,
    ),
    "attention without a mask": (
        "s = HiddenStates.from_utterances([self.states(w) for w in waves]); x = s.layers; "
        "return nn.functional.scaled_dot_product_attention(x, x, x), s.lengths",
        MASK,
    ),
    "sorted by length": (f"waves = sorted(waves, key=len); {EACH}", "in another order; return them as they came"),
    "sorted by level": (f"waves = sorted(waves, key=lambda w: float(w.std())); {EACH}", "in another order"),
    "written one after another into a buffer": (
        "self.sum = getattr(self, 'sum', 0) + sum(float(w.abs().sum()) for w in waves); "
        f"waves = [w * self.sum for w in waves]; {EACH}",
        "different states for the same waveform",
    ),
    "the loudest so far": (
        "self.loudest = max(self.loudest, *(float(w.abs().max()) for w in waves), 0.7); "
        f"waves = [w / self.loudest for w in waves]; {EACH}",
        "differs|different states for the same waveform",
    ),
    "dropout": (f"waves = [nn.functional.dropout(w, 0.1) for w in waves]; {EACH}", "different states for the same"),
    "too few bits for quiet noise": (
        f"waves = [(w * 31).round() / (w * 31).round().abs().max() for w in waves]; {EACH}",
        r"NaN or infinite states for 0\.75 s of noise at 0\.001 of full scale",
    ),
}


@pytest.fixture(autouse=True)
def restore_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def load(folder: Path, batch: str, dtype: torch.dtype = torch.float32) -> Upstream:
    (folder / "own.py").write_text(MODEL.replace("{batch}", batch))
    return custom.load(f"{folder}/own.py:build", dtype=dtype)


@pytest.mark.parametrize("breach", BREACHES)
def test_what_depends_on_more_than_the_utterance_is_refused(breach: str, tmp_path: Path) -> None:
    batch, sentence = BREACHES[breach]
    with pytest.raises(UserError, match=sentence):
        load(tmp_path, batch)


IN_A_BATCH = (
    "lengths = torch.tensor([(len(w) - 400) // 320 + 1 for w in waves]); "
    + PADDED
    + "y = self.filters(padded[:, None])"
    ".mT; y = y - torch.stack([o[:n].mean(0) for o, n in zip(y, lengths)])[:, None]; "
    "return torch.stack([y, y.tanh()]), lengths"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("batch", [EACH, IN_A_BATCH], ids=["each alone", "in a batch"])
def test_right_models_pass(batch: str, dtype: torch.dtype, tmp_path: Path) -> None:
    assert load(tmp_path, batch, dtype)([torch.zeros(800)]).lengths.tolist() == [2]


def test_steps_are_told(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODEL.replace("{batch}", EACH))
    told: dict[str, str] = {}
    custom.load(f"{tmp_path}/own.py:build", told=told.__setitem__)
    assert list(told) == ["import", "build", "sizes", "lengths", "finite", "batches", "two calls", "frozen"]
    assert told["sizes"] == "2 x 16, a frame every 320 samples (50 frames a second)"
    assert told["lengths"].startswith("12,000 samples give 37 frames, 16,000 samples give 49 frames")
    assert told["batches"].startswith("states differ by 0 of a layer's norm")


# ---------------------------------------------------------------- what real encoders show


class Batched(Upstream):
    """A transformers encoder as a user would wrap it: waveforms padded and masked."""

    def __init__(self, kind: Kind, dtype: torch.dtype) -> None:
        model = kind.build()
        self.model: Any = getattr(model, "wav2vec2", model).to(dtype)
        self.name, self.dtype = kind.family, dtype
        self.num_layers, self.dim, self.stride = 3, 32, kind.stride

    def encode(self, waveforms: list[Tensor]) -> HiddenStates:
        samples = torch.tensor([len(waveform) for waveform in waveforms])
        padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(self.dtype)
        mask = torch.arange(padded.shape[1]) < samples[:, None]
        output = self.model(padded, attention_mask=mask.long(), output_hidden_states=True)
        lengths = self.model._get_feat_extract_output_lengths(samples)
        return HiddenStates(torch.stack([*output.hidden_states[:-1], output.last_hidden_state]), lengths)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["wav2vec2-pre-norm", "wavlm-pre-norm"])
def test_masked_encoders_are_far_below_the_tolerance(name: str, dtype: torch.dtype) -> None:
    check_well_below(Batched(KINDS[name], dtype))


def test_an_encoder_with_group_norm_is_far_above_it() -> None:
    """Its statistics include the padding, whatever the mask says."""
    with pytest.raises(UserError, match=MASK):
        check_contract(Batched(KINDS["hubert"], torch.float32), None)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trained_encoder_is_far_below_the_tolerance(dtype: str) -> None:
    folder = SHARED_DATA.parent / "models" / "small_wavlm_trial"
    if not folder.is_dir():
        pytest.skip("the small trained WavLM is not here")
    check_well_below(upstream.load(str(folder), dtype=dtype))


def check_well_below(encoder: Upstream) -> None:
    check_contract(encoder, None)
    waveforms = noise(PROBES)
    call: Callable[[list[Tensor]], HiddenStates] = encoder
    for batch in BATCHES:
        together = call([waveforms[index] for index in batch])
        for place, index in enumerate(batch):
            found = deviations(call([waveforms[index]]).utterance(0), together.utterance(place))
            assert float(found.max()) < BATCH_TOLERANCE[encoder.dtype] / 10
