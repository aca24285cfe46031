"""Runs of s3prl, built of its own modules with random weights, and their checkpoints as its runner writes them.

Of s3prl 0.4.18, these import beside torchaudio 2.11: upstream.wavlm, upstream.interfaces (Featurizer), downstream.model
(UtteranceLevel), and the models of sv_voxceleb1, diarization and asr. Their experts want packages that are not here
(sox, h5py, editdistance, catalyst), and are rebuilt: a linear layer before the model, and its names.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from peers import KINDS, microsoft_cfg, microsoft_model, shaken
from torch import Tensor, nn

WIDTH = 16  # of projections
POOLED = 24  # of x-vectors' last frame-level layer
SPEAKERS = 5


class Run(nn.Module):
    """Upstream, featurizer and downstream of one run of s3prl."""

    def __init__(self, folder: Path, task: str, kind: str = "large", **arguments: Any) -> None:
        """kind: of the small encoder. arguments: of the command line, beside -u and -d."""
        super().__init__()
        expert = pytest.importorskip("s3prl.upstream.wavlm.expert")
        interfaces = pytest.importorskip("s3prl.upstream.interfaces")
        cfg = microsoft_cfg(KINDS[kind], normalize=kind == "large")
        self.microsoft = folder / "wavlm_small.pt"
        torch.save({"cfg": cfg, "model": microsoft_model(KINDS[kind]).state_dict()}, self.microsoft)
        self.arguments = {"upstream": "wavlm_local", "downstream": task, "upstream_ckpt": str(self.microsoft)}
        self.arguments |= {"upstream_feature_selection": "hidden_states", "seed": 1337} | arguments
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.upstream = expert.UpstreamExpert(self.microsoft).eval()
            self.featurizer = interfaces.Featurizer(
                self.upstream,
                self.arguments["upstream_feature_selection"],
                upstream_device="cpu",
                layer_selection=self.arguments.get("upstream_layer_selection"),
            )
            self.downstream = shaken(DOWNSTREAMS[task](self.featurizer.output_dim)).eval()
            if hasattr(self.featurizer, "weights"):
                self.featurizer.weights.data = torch.randn(self.featurizer.layer_num)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Return what the run computes of one utterance: logits, or its embedding."""
        (features,) = self.featurizer([waveform], self.upstream([waveform]))
        answer: Tensor = self.downstream(features[None])[0]
        return answer

    def save(self, path: Path, fine_tuned: bool = False, **replaced: Any) -> Path:
        """Write the checkpoint; replaced: keys of it with other values, None to leave one out."""
        content = {
            "Optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
            "Step": 30_000,
            "Epoch": 7,
            "Args": argparse.Namespace(**self.arguments),
            "Config": {"downstream_expert": self.downstream.config, "runner": {"total_steps": 30_000}},
            "Featurizer": self.featurizer.state_dict(),
            "Downstream": self.downstream.state_dict(),
        }
        if fine_tuned:
            content["Upstream"] = self.upstream.state_dict()
        content = {name: value for name, value in (content | replaced).items() if value is not None}
        torch.save(content, path)
        return path


class Utterance(nn.Module):
    """The expert of emotion, and of every task like it."""

    config: ClassVar[dict[str, Any]] = {
        "datarc": {"test_fold": "fold2"},
        "modelrc": {"projector_dim": WIDTH, "select": "UtteranceLevel", "UtteranceLevel": {"pooling": "MeanPooling"}},
    }

    def __init__(self, dim: int, outputs: int = 4, pooling: str = "MeanPooling") -> None:
        super().__init__()
        model = pytest.importorskip("s3prl.downstream.model")
        self.projector = nn.Linear(dim, WIDTH)
        self.model = model.UtteranceLevel(input_dim=WIDTH, output_dim=outputs, pooling=pooling)
        self.register_buffer("best_score", torch.tensor([0.61]))

    def forward(self, features: Tensor) -> Tensor:
        logits, _ = self.model(self.projector(features), torch.tensor([features.shape[1]]))
        return logits


class Verification(nn.Module):
    """The expert of sv_voxceleb1."""

    config: ClassVar[dict[str, Any]] = {
        "modelrc": {"module": "XVector", "LossConfig": {"AMSoftmaxLoss": {"s": 30.0, "m": 0.4}}}
    }

    def __init__(self, dim: int, width: int = WIDTH, pooled: int = POOLED) -> None:
        super().__init__()
        model = pytest.importorskip("s3prl.downstream.sv_voxceleb1.model")
        settings = {"agg_dim": pooled, "dropout_p": 0.0, "batch_norm": False}
        self.connector = nn.Linear(dim, width)
        self.model = model.Model(width, pooled, "SP", "XVector", "UtteranceExtractor", settings)
        self.objective = model.AMSoftmaxLoss(width, SPEAKERS, s=30.0, m=0.4)
        self.register_buffer("best_score", torch.tensor([0.2]))

    def forward(self, features: Tensor) -> Tensor:
        embedding: Tensor = self.model.inference(self.connector(features), torch.zeros(1, features.shape[1] - 14))
        return embedding


class Diarization(nn.Module):
    """The expert of diarization."""

    config: ClassVar[dict[str, Any]] = {"datarc": {"num_speakers": 2}, "modelrc": {"rnn_layers": 0, "hidden_size": 8}}

    def __init__(self, dim: int, rnn_layers: int = 0) -> None:
        super().__init__()
        model = pytest.importorskip("s3prl.downstream.diarization.model")
        self.model = model.Model(input_dim=dim, output_class_num=2, rnn_layers=rnn_layers, hidden_size=8)
        self.register_buffer("best_score", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model(features)
        return logits


class Recognition(nn.Module):
    """The expert of asr."""

    config: ClassVar[dict[str, Any]] = {"modelrc": {"select": "RNNs", "RNNs": {"sample_rate": [1, 1]}}}

    def __init__(self, dim: int) -> None:
        super().__init__()
        model = pytest.importorskip("s3prl.downstream.asr.model")
        rnns = {"module": "LSTM", "bidirection": True, "dim": [12, 12], "dropout": [0.2, 0.2], "sample_rate": [1, 1]}
        plain = {"layer_norm": [False] * 2, "proj": [False] * 2, "sample_style": "concat"}
        self.projector = nn.Linear(dim, WIDTH)
        self.model = model.RNNs(WIDTH, 32, 320, **rnns, **plain)
        self.register_buffer("best_score", torch.tensor([7.1]))

    def forward(self, features: Tensor) -> Tensor:
        logits, _ = self.model(self.projector(features), torch.tensor([features.shape[1]]))
        return logits.log_softmax(dim=-1)


DOWNSTREAMS: dict[str, Any] = {
    "emotion": Utterance,
    "speech_commands": lambda dim: Utterance(dim, 12),
    "fluent_commands": lambda dim: Utterance(dim, 24),
    "voxceleb1": lambda dim: Utterance(dim, 6),
    "sv_voxceleb1": Verification,
    "diarization": Diarization,
    "asr": Recognition,
}
