"""The feature extractor of a transformers model: what becomes of the audio before the encoder gets it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from upstream.base import SAMPLE_RATE
from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.huggingface.config import own_code
from upstream.huggingface.files import ModelFiles
from upstream.huggingface.library import quiet_transformers, transformers_library
from upstream.json_file import read_json_object

LONG = 40 * SAMPLE_RATE  # samples of a long utterance; longer than every window
SETTINGS = ("processor_config.json", "preprocessor_config.json")  # the first may hold the extractor's settings, too


def read_extractor(files: ModelFiles, config: Any) -> tuple[Any, list[str]]:
    """Return the feature extractor and notes on what it does.

    It must be in the checkpoint: transformers' default would silently standardise for models that were trained without.

    Raises UserError if it is missing, damaged, in need of code of its own, for another sampling rate, or if it gives
    other features at each call.
    """
    contents = [read_json_object(files.folder / name) for name in SETTINGS if (files.folder / name).exists()]
    if not contents:
        native = " A WavLM without it is read if you leave out hf:." if config.model_type == "wavlm" else ""
        raise UserError(
            f"{files.origin} ({config.model_type}) has no preprocessor_config.json, which says how audio is prepared. "
            "If it is a speech encoder, save its feature extractor beside it: extractor.save_pretrained(directory)."
            f"{native}"
        )
    with (
        foreign_code(
            f"Reading the feature extractor of {files.origin} ({config.model_type}) from preprocessor_config.json",
            "If it is a speech encoder, save the extractor beside it: extractor.save_pretrained(directory).",
        ),
        quiet_transformers(),
    ):
        extractor = transformers_library().AutoFeatureExtractor.from_pretrained(
            files.folder, config=config, trust_remote_code=False
        )
    refuse_another_kind(extractor, contents, files)
    for rate in (getattr(extractor, "sampling_rate", None), getattr(config, "sampling_rate", SAMPLE_RATE)):
        if rate != SAMPLE_RATE:
            raise UserError(
                f"{files.origin} ({config.model_type}) takes audio at {rate} Hz; "
                f"expected a speech encoder for {SAMPLE_RATE} Hz. Choose another model."
            )
    return extractor, [*without_noise(extractor, files), *disagreement(contents), preparation_note(extractor)]


def refuse_another_kind(extractor: Any, contents: list[dict[str, Any]], files: ModelFiles) -> None:
    """Raise UserError if the files ask for another feature extractor than transformers found for the model."""
    asked = [*nested(contents), *contents]
    names = [part["feature_extractor_type"] for part in asked if part.get("feature_extractor_type")]
    code = next((code for part in asked if (code := own_code("AutoFeatureExtractor", part))), None)
    if (names or code) and type(extractor).__name__ not in names:
        raise UserError(
            f"{files.origin} prepares audio by {code or names[0]}, which transformers does not have and which is not "
            "run here; wrap the model with it as module.py:function."
        )


def nested(contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the extractor's settings within those of a processor, as transformers 5 saves them."""
    inner = [content.get("feature_extractor", content.get("audio_processor")) for content in contents]
    return [part for part in inner if isinstance(part, dict)]


def disagreement(contents: list[dict[str, Any]]) -> list[str]:
    """Return a note if both files have settings of the extractor, and they differ."""
    inner, own = nested(contents), contents[-1]
    names = [name for name, value in inner[0].items() if own.get(name, value) != value] if inner else []
    if not names:
        return []
    return [f"processor_config.json and preprocessor_config.json disagree on {', '.join(names)}; the first holds."]


def features_of(extractor: Any, waveform: Tensor) -> Mapping[str, Tensor]:
    """Return the features of one utterance (S,) on the CPU, by transformers' names, with a batch of one."""
    features: Mapping[str, Tensor] = extractor(waveform.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    return features


def without_noise(extractor: Any, files: ModelFiles) -> list[str]:
    """Switch dithering off if it gives other features at each call, and return a note if so.

    Raises UserError for an extractor that draws at random in another way.
    """
    if is_repeatable(extractor):
        return []
    dither = getattr(extractor, "dither", 0.0)
    extractor.dither = 0.0
    if not is_repeatable(extractor):
        raise UserError(
            f"The feature extractor of {files.origin}, {type(extractor).__name__}, gives other features at each call; "
            "switch off what is random in preprocessor_config.json, or wrap the model as module.py:function."
        )
    return [f"The dither of the feature extractor ({dither}) was switched off: it draws other noise at each call."]


def is_repeatable(extractor: Any) -> bool:
    """Return True if two calls on the same noise give the same features, for a short and a long utterance.

    Some extractors draw for long utterances alone: where to cut them.
    """
    noise = torch.from_numpy(np.random.default_rng(0).normal(0.0, 0.1, LONG).astype(np.float32))
    pairs = [[features_of(extractor, noise[:SAMPLE_RATE]) for _ in range(2)]]
    with suppress(Exception):  # foreign code; a long utterance that it refuses is named when it comes
        pairs.append([features_of(extractor, noise) for _ in range(2)])
    return all(torch.equal(first[name], second[name]) for first, second in pairs for name in first)


def preparation_note(extractor: Any) -> str:
    """Return a sentence on how the checkpoint's feature extractor preprocesses a waveform."""
    kind = type(extractor).__name__
    if not hasattr(extractor, "do_normalize"):
        return f"Input prepared by {kind}."
    verb = "standardises" if extractor.do_normalize else "does not standardise"
    return f"Input prepared by {kind}, which {verb} each utterance."
