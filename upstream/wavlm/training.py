"""WavLM in training: what learns, what is random, and where memory is saved.

The network is that of `model.py`. In training mode, dropouts, masks and dropped blocks are those of transformers'
WavLMModel, at the same places and with the same probabilities; they are drawn otherwise (see `dropout.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint as computed_again

from upstream.base import HiddenStates, Provenance
from upstream.trainable import Learned, TrainableEncoder
from upstream.wavlm import checkpoint, names, products
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.compiled import compile_blocks, require_compilable
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.dropout import Dropouts, generator_of
from upstream.wavlm.front_end import FrontEnd, valid_rows
from upstream.wavlm.masking import Masks, drawn_masks
from upstream.wavlm.model import Block, WavLM
from upstream.wavlm.standardisation import as_trained
from upstream.wavlm.training_memory import kept_bytes
from upstream.wavlm.upstream import EXTRACTOR_VERSION, WavLMUpstream

IN_MEMORY = "the weights of a training"  # format of the frozen copies


class TrainableWavLM(TrainableEncoder):
    """A WavLM that learns.

    The weight norm of the positional convolution is not folded: its magnitude and its direction learn, as in the
    reference implementations.
    """

    def __init__(self, weights: Checkpoint, settings: Learned, device: torch.device) -> None:
        """Raises UserError for settings that do not fit the model."""
        super().__init__()
        config = self.config = weights.config
        settings.check(config.num_hidden_layers)
        self.settings = settings
        self.num_layers, self.dim = config.num_hidden_layers + 1, config.hidden_size
        self.stride, self.shortest = config.stride, config.receptive_field
        self.model = with_weight_norm(weights).to(device)
        self._freeze()
        self._packed: list[FrontEnd] = []  # a list is no part of the module: its weights are the model's
        self.register_load_state_dict_post_hook(lambda *_: self._packed.clear())  # type: ignore[no-untyped-call]

    def _freeze(self) -> None:
        """Let those parameters learn that `settings` names."""
        self.model.requires_grad_(self.settings.from_layer == 0)
        self.model.front_end.requires_grad_(self.settings.front_end)
        self.model.blocks[self.settings.from_layer :].requires_grad_(True)
        if self.config.do_stable_layer_norm:  # the norm lies behind the last block
            self.model.norm.requires_grad_(True)

    def _apply(self, fn: Any, recurse: bool = True) -> TrainableWavLM:
        """Move the weights as every module does, and pack them again where they are then."""
        self._packed.clear()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def compile_blocks(self) -> None:
        """Let the blocks learn with code of torch.compile; raises UserError where that is impossible."""
        require_compilable(self.config, self.device)
        compile_blocks(cast(Iterable[Block], self.model.blocks))

    def prepare(self, waveform: Tensor) -> Tensor:
        """Standardise the waveform (S,) if the model was trained on standardised waveforms."""
        return as_trained(waveform, self.config)

    def encode(self, waveforms: list[Tensor], seeds: Sequence[int], masks: Masks | None = None) -> HiddenStates:
        """Return all layers, (num_hidden_layers + 1, B, T, D).

        masks: used instead of those that are drawn in training mode; in evaluation mode too.
        """
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        dropouts = None
        if self.training:
            dropouts = Dropouts(seeds, lengths)
            if masks is None and self.settings.masked:
                masks = drawn_masks(self.config, seeds, lengths, self.device)
        learns = torch.is_grad_enabled() and self.settings.from_layer == 0
        with torch.set_grad_enabled(learns):
            features = self.features(waveforms)
        return padded(self._encoded(features, lengths, masks, dropouts), lengths)

    def states_of(self, features: Tensor, masks: Masks, seeds: Sequence[int]) -> Tensor:
        """Return all layers of a packed batch, (num_hidden_layers + 1, N, D), from its `features`.

        masks: of the frames, and the lengths of the utterances. seeds: as in `encode`.
        """
        dropouts = Dropouts(seeds, masks.lengths) if self.training else None
        return torch.stack(self._encoded(features, list(masks.lengths), masks, dropouts))

    def _encoded(
        self, features: Tensor, lengths: list[int], masks: Masks | None, dropouts: Dropouts | None
    ) -> list[Tensor]:
        """Return the layers of a packed batch, (N, D) each."""
        learns = torch.is_grad_enabled() and self.settings.from_layer == 0
        with torch.set_grad_enabled(learns), parametrize.cached():  # one weight norm for all utterances
            x, _ = self.model.embed(features, lengths, masks, dropouts)
        return self._layers(x, lengths, dropouts)

    def features(self, waveforms: list[Tensor]) -> Tensor:
        """Return the layer-normed output of the front end, (N, C): what is embedded, and what a quantizer reads."""
        normed: Tensor = self.model.feature_norm(self._front_end_output(waveforms))
        return normed

    def _front_end_output(self, waveforms: list[Tensor]) -> Tensor:
        """Return the output of the front end, (N, C); without gradients where it is frozen."""
        if not self.settings.front_end:
            self._packed = self._packed or [packed_front_end(self.model.front_end, self.config)]
            with torch.no_grad():
                frozen: Tensor = self._packed[0](waveforms)[0]
            return frozen
        with torch.autocast(self.device.type, enabled=self._front_end_in_half()):
            features: Tensor = self.model.front_end(waveforms)[0]
        if features.requires_grad and self.settings.front_end_scale != 1.0:
            scaled = partial(torch.mul, other=self.settings.front_end_scale)
            features.register_hook(scaled)  # type: ignore[no-untyped-call]
        return features

    def _front_end_in_half(self) -> bool:
        """Return True if a learning front end follows autocast: in bfloat16, and on a GPU behind a group norm.

        In float16 layer norms do not: where a waveform is silent or padded, its frames have no variance, and each layer
        norm multiplies their gradient by 1 / √ε = 316. Two of them are beyond float16's 65,504, and then gradients are
        NaN. A CPU has no convolutions in float16 worth the name: they take ten times as long as in float32.
        """
        kind = self.device.type
        if not torch.is_autocast_enabled(kind) or torch.get_autocast_dtype(kind) == torch.bfloat16:
            return torch.is_autocast_enabled(kind)
        return kind != "cpu" and self.config.feat_extract_norm == "group"

    def _layers(self, x: Tensor, lengths: list[int], dropouts: Dropouts | None) -> list[Tensor]:
        """Return the input of every block and the encoder's output, (N, D) each."""
        layers, dropped = [], self._dropped()
        by_distance = self.model.relative_positions()
        for index, block in enumerate(self.model.blocks):
            layers.append(x)
            if index in dropped:
                continue
            learns = torch.is_grad_enabled() and index >= self.settings.from_layer
            arguments = x, lengths, by_distance, None if dropouts is None else dropouts.of_block(index)
            with torch.set_grad_enabled(learns):
                x = self._again(block, *arguments) if learns and self.settings.checkpointing else block(*arguments)
        return [*layers, self.model.output(x)]

    def _again(self, block: torch.nn.Module, *arguments: Any) -> Tensor:
        """Compute a block whose inside is computed again in the backward pass.

        The reentrant way would recurse without end, because all blocks share the position bias. PyTorch's generators
        need not be restored: nothing is drawn from them.
        """
        x: Tensor = computed_again(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return x

    def _dropped(self) -> set[int]:
        """Return the blocks that are left out of this update. The first never is, as in transformers."""
        if not self.training or self.config.layerdrop == 0.0:
            return set()
        seed = int(torch.randint(2**62, ())) if self.step_seed is None else self.step_seed
        blocks = self.config.num_hidden_layers
        drawn = torch.rand(blocks, generator=generator_of(seed, "dropped blocks", torch.device("cpu")))
        return {index for index in range(1, blocks) if float(drawn[index]) < self.config.layerdrop}

    def _weights(self) -> Checkpoint:
        """Return a copy of the present weights, on the CPU."""
        native = {name: tensor.detach().cpu().clone() for name, tensor in self.model.state_dict().items()}
        return Checkpoint(self.config, names.from_native(native, self.config), IN_MEMORY, "")

    def upstream(self, name: str, device: torch.device, dtype: torch.dtype) -> WavLMUpstream:
        """Return a frozen copy of the present weights."""
        weights = self._weights()
        provenance = Provenance(name, IN_MEMORY)
        return WavLMUpstream(name, weights.build(), weights.fingerprint(EXTRACTOR_VERSION), provenance, device, dtype)

    def save(self, folder: Path, objective: Mapping[str, Tensor] | None = None) -> None:
        """Write the present weights as a Hugging Face directory; raises UserError if it cannot be written.

        objective: tensors of a pre-training objective, written beside the encoder.
        """
        architecture = "WavLMModel" if objective is None else "WavLMForPreTraining"
        checkpoint.write(folder, self.config, self._weights().tensors, architecture, objective)

    def activation_bytes(self, samples: Sequence[int]) -> int:
        """Estimate the memory of one training batch; see `TrainableEncoder`."""
        return kept_bytes(self.config, self.settings, samples)


def with_weight_norm(weights: Checkpoint) -> WavLM:
    """Return the model of a checkpoint in float32, its weight norm as two parameters; it shares no memory with it."""
    model = weights.build()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    parametrizations.weight_norm(model.positional_conv, dim=2)
    stored = names.with_weight_norm(weights.tensors)
    with torch.no_grad():
        for ours, theirs in names.NATIVE_WEIGHT_NORM.items():
            model.get_parameter(ours).copy_(stored[theirs])
    return model


def packed_front_end(front_end: FrontEnd, config: WavLMConfig) -> FrontEnd:
    """Return a copy of a frozen front end that is as fast as that of a frozen upstream, and computes the same.

    It has 17 MB of weights in the published models. On a GPU nothing is packed, and nothing is copied.
    """
    if next(front_end.parameters()).device.type != "cpu":
        return front_end
    copy = FrontEnd(config)
    copy.load_state_dict(front_end.state_dict())
    products.pack(copy.requires_grad_(False))
    return copy


def padded(layers: list[Tensor], lengths: list[int]) -> HiddenStates:
    """Return packed layers, (N, D) each, as one padded batch."""
    longest, dim = max(lengths), layers[0].shape[1]
    packed = torch.stack(layers)
    states = packed.new_zeros(len(layers), len(lengths) * longest, dim)
    states[:, valid_rows(lengths, longest).to(packed.device)] = packed  # index_copy would keep `packed`, too
    return HiddenStates(states.view(len(layers), len(lengths), longest, dim), torch.tensor(lengths))
