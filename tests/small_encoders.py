"""Encoders of the transformers library, cut down to two blocks of width 32, and directories of them to spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

BLOCKS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
CONVOLUTIONS = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
SQUEEZED = {"conv_dim": (16,) * 13, "squeeze_factor": 2}
PRE_NORM = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
DECODER = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
WHISPER = {
    "d_model": 32,
    "max_source_positions": 50,  # a window of one second
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}
MOONSHINE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "encoder_num_hidden_layers": 2,
    "decoder_num_hidden_layers": 1,
    "encoder_num_attention_heads": 2,
    "decoder_num_attention_heads": 2,
}


@dataclass(frozen=True)
class Kind:
    """A family of encoders, cut down to two blocks of width 32."""

    family: str
    settings: dict[str, Any]
    model: str = "Model"
    extractor: Callable[[], Any] = lambda: transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    stride: int = 320

    def build(self) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            config = getattr(transformers, f"{self.family}Config")(**self.settings)
            return getattr(transformers, f"{self.family}{self.model}")(config).eval()


KINDS = {
    "wav2vec2": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS),
    "wav2vec2-pre-norm": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS | PRE_NORM),
    "wav2vec2-ctc": Kind("Wav2Vec2", BLOCKS | CONVOLUTIONS, model="ForCTC"),
    "hubert": Kind("Hubert", BLOCKS | CONVOLUTIONS),
    "wavlm-pre-norm": Kind("WavLM", BLOCKS | CONVOLUTIONS | PRE_NORM),
    "unispeech": Kind("UniSpeech", BLOCKS | CONVOLUTIONS),
    "sew": Kind("SEW", BLOCKS | CONVOLUTIONS | SQUEEZED, stride=640),
    "sew-d": Kind("SEWD", BLOCKS | CONVOLUTIONS | SQUEEZED, stride=640),
    "unispeech-sat": Kind("UniSpeechSat", BLOCKS | CONVOLUTIONS),
    "data2vec-audio": Kind("Data2VecAudio", BLOCKS | CONVOLUTIONS | {"num_conv_pos_embeddings": 5}),
    "wav2vec2-conformer": Kind("Wav2Vec2Conformer", BLOCKS | CONVOLUTIONS),
    "wav2vec2-bert": Kind("Wav2Vec2Bert", BLOCKS, extractor=transformers.SeamlessM4TFeatureExtractor),
    "whisper": Kind(
        "Whisper",
        WHISPER | DECODER,
        model="ForConditionalGeneration",
        extractor=lambda: transformers.WhisperFeatureExtractor(chunk_length=1),
    ),
    "moonshine": Kind("Moonshine", MOONSHINE | DECODER, model="ForConditionalGeneration", stride=384),
}


def save(kind: Kind, folder: Path) -> Path:
    kind.build().save_pretrained(folder)
    kind.extractor().save_pretrained(folder)
    return folder


def alter_weights(folder: Path, alter: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the saved state dict in place by `alter`."""
    file = folder / "model.safetensors"
    tensors = safetensors_torch.load_file(file)
    alter(tensors)
    safetensors_torch.save_file(tensors, file, metadata={"format": "pt"})


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))
