"""WavLM as other implementations build it, with random weights, small enough for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": [32] * 7,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
}
BASE_LIKE = SMALL | {"feat_extract_norm": "group", "do_stable_layer_norm": False}
LARGE_LIKE = SMALL | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
KINDS = {"base": BASE_LIKE, "large": LARGE_LIKE}


def transformers_model(settings: dict[str, Any], seed: int = 0) -> Any:
    """transformers' WavLMModel with every parameter random, also those that are born zero or one."""
    from transformers import WavLMConfig, WavLMModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = WavLMModel(WavLMConfig(**settings)).eval()
        return shaken(model)


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Move every parameter off its initial value: a bias that stays zero would hide that it is not read."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 0.5 if "gru_rel_pos" in name or "rel_attn_embed" in name or "grep" in name else 0.05
            parameter.add_(torch.randn_like(parameter) * spread)
    return model


def save_transformers(model: Any, folder: Path, do_normalize: bool) -> Path:
    """A Hugging Face directory as transformers writes it."""
    from transformers import Wav2Vec2FeatureExtractor

    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=do_normalize, return_attention_mask=True).save_pretrained(folder)
    return folder


def transformers_states(model: Any, waveform: Tensor) -> list[Tensor]:
    """All hidden states of one utterance by transformers, SUPERB's last one in the last place: (T, D) each."""
    with torch.no_grad():
        output = model(waveform[None], output_hidden_states=True)
    return [state[0] for state in (*output.hidden_states[:-1], output.last_hidden_state)]


def microsoft_cfg(settings: dict[str, Any], normalize: bool) -> dict[str, Any]:
    """The `cfg` of one of Microsoft's checkpoints with these sizes."""
    width = settings["conv_dim"][0]
    return {
        "extractor_mode": "layer_norm" if settings["feat_extract_norm"] == "layer" else "default",
        "encoder_layers": settings["num_hidden_layers"],
        "encoder_embed_dim": settings["hidden_size"],
        "encoder_ffn_embed_dim": settings["intermediate_size"],
        "encoder_attention_heads": settings["num_attention_heads"],
        "activation_fn": "gelu",
        "layer_norm_first": settings["do_stable_layer_norm"],
        "conv_feature_layers": f"[({width},10,5)] + [({width},3,2)] * 4 + [({width},2,2)] * 2",
        "conv_bias": False,
        "conv_pos": settings["num_conv_pos_embeddings"],
        "conv_pos_groups": settings["num_conv_pos_embedding_groups"],
        "relative_position_embedding": True,
        "num_buckets": 320,
        "max_distance": 800,
        "gru_rel_pos": True,
        "normalize": normalize,
        "encoder_layerdrop": 0.0,
    }


def microsoft_model(settings: dict[str, Any], normalize: bool = False, seed: int = 0) -> Any:
    """Microsoft's own WavLM, from the copy that s3prl ships."""
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = WavLM(WavLMConfig(microsoft_cfg(settings, normalize))).eval()
        return shaken(model)


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Norm of the difference over the norm of the reference."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())
