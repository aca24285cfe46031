"""SUPERB's emotion task as s3prl carries it out, in s3prl's own code, on the weights of one of our WavLMs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module  # s3prl and the tests' peers carry no types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from downstream.tasks.classification import ClassificationRecipe
from downstream.tasks.classification.heads import PROJECTION
from upstream.errors import UserError
from upstream.named_tensors import Tensors
from upstream.wavlm import names
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.model import untrained
from upstream.wavlm.upstream import WavLMUpstream

SEED = 0  # of the weights of the upstreams that are compared


class S3prlEmotion:
    """Its upstream with Microsoft's WavLM, its featurizer, and the projector and head of its emotion task.

    The upstream is frozen and runs without gradients for every micro-batch, padded with zeros to the longest
    utterance; all hidden states are stacked and mixed; the head sees every frame.
    """

    def __init__(self, ours: WavLMUpstream, num_classes: int, recipe: ClassificationRecipe, folder: Path) -> None:
        """ours: whose weights to take: untrained ones, drawn from SEED; folder: for the checkpoint that s3prl reads.

        Raises UserError where s3prl is not installed.
        """
        try:
            self._upstream = import_module("s3prl.upstream.wavlm.expert").UpstreamExpert(
                str(microsoft_checkpoint(ours, folder))
            )
            featurizer = import_module("s3prl.upstream.interfaces").Featurizer
            head = import_module("s3prl.downstream.model").UtteranceLevel
        except ImportError as error:
            raise UserError(f"s3prl cannot be imported ({error}); type: pip install -e '.[test]'") from error
        self._device, self._clip = ours.device, recipe.training.clip
        self._upstream.to(self._device).eval()
        self._featurizer: nn.Module = featurizer(self._upstream, upstream_device=str(self._device)).to(self._device)
        width = recipe.head.projection or PROJECTION
        self._projector = nn.Linear(ours.dim, width).to(self._device)
        self._head: nn.Module = head(input_dim=width, output_dim=num_classes, pooling="MeanPooling").to(self._device)
        self._learned = [
            weight for module in (self._featurizer, self._projector, self._head) for weight in module.parameters()
        ]
        self._optimizer = torch.optim.Adam(self._learned, lr=recipe.optimizer.lr)

    def hidden_states(self, waveform: Tensor) -> Tensor:
        """All states of one utterance, (L, T, D)."""
        with torch.no_grad():
            return torch.stack([state[0] for state in self._upstream([waveform.to(self._device)])["hidden_states"]])

    def step(self, micro_batches: Sequence[Sequence[Tensor]], targets: Sequence[Tensor]) -> float:
        """One update of the head; return the seconds of it that went into the upstream.

        micro_batches: waveforms; targets: the class of each.
        """
        in_upstream = 0.0
        for waveforms, truth in zip(micro_batches, targets, strict=True):
            here = [waveform.to(self._device) for waveform in waveforms]
            began = time.perf_counter()
            with torch.no_grad():
                states = self._upstream(here)
            synchronize(self._device)
            in_upstream += time.perf_counter() - began
            features: list[Tensor] = self._featurizer(here, states)
            lengths = torch.tensor([len(frames) for frames in features], device=self._device)
            padded = nn.utils.rnn.pad_sequence(features, batch_first=True)
            logits, _ = self._head(self._projector(padded), lengths)
            loss = nn.functional.cross_entropy(logits, truth.to(self._device)) / len(micro_batches)
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._learned, self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        synchronize(self._device)
        return in_upstream


def microsoft_checkpoint(ours: WavLMUpstream, folder: Path) -> Path:
    """Our weights in a file as Microsoft publishes them, which is what s3prl reads.

    They are drawn again: those of an upstream may be packed for this machine's processor.
    """
    tensors = names.from_native(untrained(ours.config, SEED).state_dict(), ours.config)
    cfg, model = microsoft_wavlm(ours.config, tensors)
    path = folder / "wavlm.pt"
    torch.save({"cfg": cfg, "model": model.state_dict()}, path)
    return path


def microsoft_wavlm(config: WavLMConfig, tensors: Tensors) -> tuple[dict[str, Any], Any]:
    """Microsoft's WavLM, in the copy that s3prl ships, with these weights, and its `cfg`.

    tensors: by Hugging Face's names. Raises ImportError where s3prl is not installed.
    """
    module = import_module("s3prl.upstream.wavlm.WavLM")
    cfg = import_module("tests.peers").microsoft_cfg(asdict(config), config.normalize_waveform)
    model = module.WavLM(module.WavLMConfig(cfg))
    state = {}
    for name, tensor in model.state_dict().items():
        (common,) = names.from_microsoft({name: tensor})  # the name they have in common is Hugging Face's
        state[name] = tensors[common]
    model.load_state_dict(state)
    return cfg, model


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given, so that the clock says the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
