"""The WavLMs that are compared, all on the same weights, and the audio that they are given.

Ours are drawn from a seed and handed to the others under the names that each knows them by. Every peer returns the
hidden states of all layers, which is what a harness needs.
"""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module  # s3prl, transformers and torchaudio carry no types
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import upstream
from upstream.base import SAMPLE_RATE
from upstream.encode import Item, padded
from upstream.extract import plan
from upstream.named_tensors import Tensors
from upstream.wavlm import names
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.model import untrained
from upstream.wavlm.standardisation import standardise
from upstream.wavlm.upstream import WavLMUpstream

from . import common
from .s3prl_loop import SEED, microsoft_wavlm

SIZES = {"base": "wavlm_base", "large": "wavlm_large", "tiny": "wavlm_nano"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LARGEST_ERROR = 1e-3  # relative, in float32; beyond it a peer computes something else and is not timed
CHECKED_SECONDS = 1.0  # of each of the two utterances on which the peers are compared
ATTENTIONS = ("sdpa", "flex_attention", "eager")  # of transformers, the fastest first

MIX, SMALL_MIX = "mix 1-20 s", "mix 0.1-0.5 s"
MIXED = 16  # utterances


# ---------------------------------------------------------------- the audio


@dataclass(frozen=True)
class Audio:
    """What is computed between two looks at the clock.

    parts: batches, one after another, each of 1-D waveforms in [-1, 1].
    """

    name: str
    parts: list[list[Tensor]]

    @property
    def seconds(self) -> float:
        """Of all utterances, without padding."""
        return sum(len(waveform) for part in self.parts for waveform in part) / SAMPLE_RATE

    @property
    def padded_seconds(self) -> float:
        """The same where each batch is filled up to its longest."""
        return sum(padded(part) for part in self.parts) / SAMPLE_RATE

    @property
    def is_mix(self) -> bool:
        """Whether any batch has utterances of several lengths."""
        return self.padded_seconds > self.seconds

    def largest_part(self) -> Audio:
        """The batch with the most padded samples alone: the one that needs the most memory."""
        return Audio(self.name, [max(self.parts, key=padded)])

    def each_alone(self) -> Audio:
        """The same utterances, each a batch by itself."""
        return Audio(self.name, [[waveform] for part in self.parts for waveform in part])

    def of_equal_lengths(self) -> Audio:
        """Batches of as many utterances and as many samples as these, each utterance as long as their mean."""
        return Audio(self.name, [equal_lengths(part) for part in self.parts])


def equal_lengths(part: Sequence[Tensor]) -> list[Tensor]:
    """As many waveforms of the same samples, cut anew so that all are as long as their mean."""
    samples = torch.cat(list(part))
    each = len(samples) // len(part)
    return list(samples[: each * len(part)].view(len(part), each))


def mixed(shortest: float, longest: float) -> list[float]:
    """Seconds of the utterances of a mix, uniform between two durations."""
    drawn = torch.rand(MIXED, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    seconds: list[float] = (shortest + (longest - shortest) * drawn).tolist()
    return seconds


DURATIONS: Mapping[str, list[float]] = {
    "1 x 2 s": [2.0],
    "1 x 5 s": [5.0],
    "8 x 5 s": [5.0] * 8,
    "16 x 15 s": [15.0] * 16,
    MIX: mixed(1.0, 20.0),
    "2 x 0.2 s": [0.2] * 2,
    SMALL_MIX: mixed(0.1, 0.5),
}
STANDARD = ["1 x 2 s", "1 x 5 s", "8 x 5 s", "16 x 15 s", MIX]
SMALL = ["2 x 0.2 s", SMALL_MIX]


def audio(name: str) -> Audio:
    """Noise of one of the DURATIONS, in the batches that extraction makes: sorted by length, bounded when padded.

    A batch of equal lengths is kept whole, however long it lasts. Beside them there is "1 x S s" for any S.
    """
    seconds = DURATIONS.get(name) or [float(name.removeprefix("1 x ").removesuffix(" s"))]
    items = common.noise_items(seconds)
    batches: list[list[Item]] = plan(items) if name in (MIX, SMALL_MIX) else [items]
    return Audio(name, [[item.audio.load() for item in batch] for batch in batches])


# ---------------------------------------------------------------- the peers


@dataclass(frozen=True)
class Peer:
    """One way to compute the hidden states of a batch.

    state: "as loaded", with weights that require gradients though none are computed, or "frozen".
    model: whose weights the state is of; two peers may share one.
    states: waveforms, 1-D each, to the states of all layers; the last element is the encoder's output, (B, T, D), or
        (B, D) where frames are averaged.
    prepare: what a waveform goes through before the clock starts.
    """

    name: str
    state: str
    model: nn.Module
    states: Callable[[list[Tensor]], Sequence[Tensor] | Tensor]
    prepare: Callable[[Tensor], Tensor]

    def prepared(self, parts: Sequence[Sequence[Tensor]]) -> list[list[Tensor]]:
        """Batches as `states` takes them."""
        return [[self.prepare(waveform) for waveform in part] for part in parts]

    def put_in_state(self) -> None:
        """Freeze the weights, or have them require gradients."""
        self.model.requires_grad_(self.state == "as loaded")

    def compute(self, parts: Sequence[list[Tensor]]) -> None:
        """The states of these batches, one after another, each let go before the next."""
        with torch.inference_mode():
            for part in parts:
                self.states(part)


@dataclass(frozen=True)
class Others:
    """A model of somebody else: how it was made, and what is to be known of it."""

    model: nn.Module
    states: Callable[[nn.Module, list[Tensor]], Sequence[Tensor]]
    notes: tuple[str, ...] = ()


OURS, OUR_MEANS = "ours", "ours, means"
AS_LOADED, FROZEN = "as loaded", "frozen"


def load_ours(size: str, device: str = "cpu", dtype: str = "float32") -> WavLMUpstream:
    """This harness's WavLM of a size, with weights drawn from SEED."""
    loaded = upstream.load(SIZES[size], device=device, dtype=dtype, random_init=True, seed=SEED)
    assert isinstance(loaded, WavLMUpstream), f"{SIZES[size]} is no WavLM"
    return loaded


def our_peers(encoder: WavLMUpstream) -> list[Peer]:
    """This harness as it is called: waveforms in, standardised inside of the clock; and means."""

    def to_device(waveform: Tensor) -> Tensor:
        return waveform.to(encoder.device)

    return [
        Peer(OURS, FROZEN, encoder.model, lambda waveforms: encoder(waveforms).layers, to_device),
        Peer(OUR_MEANS, FROZEN, encoder.model, lambda waveforms: encoder.means(waveforms).movedim(1, 0), to_device),
    ]


def build(
    size: str, device: str, dtype: str, wanted: Sequence[str], checked: bool = True
) -> tuple[list[Peer], list[str]]:
    """The peers in one precision, ours first; and notes: what was left out and why, and what to know of the rest.

    wanted: which of OTHERS.
    checked: whether those that disagree with ours in float32 are left out. They are compared on the CPU, where no
        product is rounded further.
    """
    reference = load_ours(size)
    config = reference.config
    tensors = names.from_native(untrained(config, SEED).state_dict(), config)
    peers, notes = our_peers(load_ours(size, device, dtype)), []
    prepare = partial(prepared_for_others, config, torch.device(device), DTYPES[dtype])
    for name in wanted:
        try:
            others = OTHERS[name](config, tensors)
        except ImportError as error:
            notes.append(f"{name} is left out: it cannot be imported ({error}); type: pip install -e '.[test]'")
            continue
        others.model.eval()
        distance = disagreement(reference, others) if checked else 0.0
        if not distance <= LARGEST_ERROR:  # NaN is no agreement
            notes.append(f"{name} is left out: its last state differs from ours by {distance:.1e} in float32.")
            continue
        notes += others.notes
        others.model.to(device=torch.device(device), dtype=DTYPES[dtype])
        states = partial(others.states, others.model)
        peers += [Peer(name, state, others.model, states, prepare) for state in STATES[name]]
    return peers, notes


def prepared_for_others(config: WavLMConfig, device: torch.device, dtype: torch.dtype, waveform: Tensor) -> Tensor:
    """The waveform as the others' models take it: standardised where the model asks for it, in their precision."""
    if config.normalize_waveform:
        waveform = standardise(waveform, config.normalize_epsilon)
    return waveform.to(device, dtype)


def disagreement(reference: WavLMUpstream, others: Others) -> float:
    """Relative error of their last state against ours, on an unpadded batch, on the CPU in float32."""
    waveforms = checked_waveforms()
    with torch.inference_mode():
        theirs = others.states(others.model, [reference.prepare(waveform) for waveform in waveforms])[-1]
    return relative_error(theirs, reference(waveforms).layers[-1])


def errors(peers: Sequence[Peer], reference: WavLMUpstream) -> list[float]:
    """Relative error of each peer's last state, in the precision that it runs in, against ours in float32."""
    expected = reference(checked_waveforms()).layers[-1]
    found = []
    for peer in peers:
        with torch.inference_mode():
            (part,) = peer.prepared([checked_waveforms()])
            last = peer.states(part)[-1].float().cpu()
        found.append(relative_error(last, expected if last.ndim == expected.ndim else expected.mean(dim=1)))
    return found


def checked_waveforms() -> list[Tensor]:
    return [item.audio.load() for item in common.noise_items([CHECKED_SECONDS] * 2)]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """As the tests measure it."""
    return float(import_module("tests.peers").relative_error(found, expected))


# ---------------------------------------------------------------- how the others are made


def transformers_model(config: WavLMConfig, tensors: Tensors) -> Others:
    """transformers' WavLMModel with the fastest attention that it accepts."""
    module = import_module("transformers")
    settings = config.to_hugging_face()
    refused = []
    for attention in ATTENTIONS:
        try:
            model: Any = module.WavLMModel._from_config(module.WavLMConfig(**settings), attn_implementation=attention)
        except ValueError as error:
            refused.append(f'attn_implementation="{attention}" ("{str(error).split(". ")[0]}")')
            continue
        break
    model.load_state_dict(tensors)
    note = f"transformers {module.__version__} runs its {attention} attention"
    return Others(model, transformers_states, (f"{note}; it refused {' and '.join(refused)}." if refused else note,))


def transformers_states(model: Any, waveforms: list[Tensor]) -> list[Tensor]:
    """A mask is given where there is padding."""
    padded_waveforms = pad_sequence(waveforms, batch_first=True)
    output = model(padded_waveforms, attention_mask=sample_mask(waveforms), output_hidden_states=True)
    return [*output.hidden_states[:-1], output.last_hidden_state]


def torchaudio_model(config: WavLMConfig, tensors: Tensors) -> Others:
    """torchaudio's wavlm_model with weights by way of transformers."""
    convert = import_module("torchaudio.models.wav2vec2.utils").import_huggingface_model
    logger = logging.getLogger("torchaudio.models.wav2vec2.utils.import_huggingface")
    logger.setLevel(logging.ERROR)  # it warns that there is no lm_head, which there is not
    model = convert(transformers_model(config, tensors).model)
    note = (
        "torchaudio's WavLM refuses lengths: in batches of several lengths it computes padded frames as if they were "
        "speech, and attends to them. It returns no input of the first block."
    )
    return Others(model, torchaudio_states, (note,))


def torchaudio_states(model: Any, waveforms: list[Tensor]) -> list[Tensor]:
    """The last block's output is normed where the model is pre-norm, which extract_features leaves out."""
    states, _ = model.extract_features(pad_sequence(waveforms, batch_first=True))
    transformer = model.encoder.transformer
    if not transformer.layer_norm_first:  # there it says whether the norm stands before the first block
        states[-1] = transformer.layer_norm(states[-1])
    result: list[Tensor] = states
    return result


def microsoft_model(config: WavLMConfig, tensors: Tensors) -> Others:
    """Microsoft's WavLM, in the copy that s3prl ships."""
    _, model = microsoft_wavlm(config, tensors)
    model.feature_grad_mult = 0.0  # as s3prl sets it
    return Others(model, microsoft_states)


def microsoft_states(model: Any, waveforms: list[Tensor]) -> list[Tensor]:
    """Its states are (T, B, D) inside; the last is normed where the model is pre-norm, as s3prl's hooks see it."""
    mask = sample_mask(waveforms)
    (_, results), _ = model.extract_features(
        pad_sequence(waveforms, batch_first=True),
        padding_mask=None if mask is None else ~mask,
        output_layer=len(model.encoder.layers),
        ret_layer_results=True,
    )
    states = [state.transpose(0, 1) for state, _ in results]
    if model.encoder.layer_norm_first:
        states[-1] = model.encoder.layer_norm(states[-1])
    return states


def sample_mask(waveforms: Sequence[Tensor]) -> Tensor | None:
    """Which samples of a padded batch are an utterance's own, (B, S); None where all are."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms], device=waveforms[0].device)
    longest = max(map(len, waveforms))
    if min(map(len, waveforms)) == longest:
        return None
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


OTHERS: Mapping[str, Callable[[WavLMConfig, Tensors], Others]] = {
    "transformers": transformers_model,
    "torchaudio": torchaudio_model,
    "microsoft": microsoft_model,
}
# States that are measured. Freezing slows all three, since PyTorch then computes a product with a transposed batch one
# utterance at a time: transformers' projections of attention, of the other two only the gate and, in Microsoft's, one
# product more. Those are shown at their best.
STATES: Mapping[str, tuple[str, ...]] = {
    "transformers": (AS_LOADED, FROZEN),
    "torchaudio": (AS_LOADED,),
    "microsoft": (AS_LOADED,),
}


def let_go() -> None:
    """Give memory that is no longer used back to the system, so that what is measured next does not find it."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps freed memory for itself
    if trim:
        trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
