"""The settings of a Hugging Face directory: config.json, and how the waveform is prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upstream.errors import UserError
from upstream.json_file import read_json_object
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.config_formats import from_hugging_face
from upstream.weight_files import is_there, require_model_folder


@dataclass(frozen=True)
class Settings:
    """A configuration and what was inferred for it, in sentences."""

    config: WavLMConfig
    notes: tuple[str, ...] = ()


def settings_of(folder: Path) -> Settings:
    """Return the settings of a Hugging Face directory; raises UserError if it has none, or none of a WavLM."""
    require_model_folder(folder)
    content = read_json_object(folder / "config.json")
    preprocessor, notes = _preprocessor(folder)
    config = from_hugging_face(content, preprocessor)
    if preprocessor is None:
        does = "standardised" if config.normalize_waveform else "not standardised"
        notes = (f"No preprocessor_config.json: waveforms are {does}, as published for this kind of front end.",)
    return Settings(config, notes)


def settings_beside(file: Path) -> Settings | None:
    """Return the settings beside a weight file, None if there is no config.json of a WavLM.

    Raises UserError for the config.json of another model beside a file as transformers writes them.
    """
    content = _if_there(file.parent / "config.json") or {}
    belongs = content.get("model_type") == "wavlm" or ("model_type" in content and is_hugging_face(file))
    return settings_of(file.parent) if belongs else None


def is_hugging_face(path: Path) -> bool:
    """Return True for a directory, or for a file as transformers writes them: what lies beside others says nothing."""
    return path.is_dir() or path.suffix in (".safetensors", ".bin", ".json")


def is_of_another_model(path: Path) -> bool:
    """Return True for a Hugging Face directory, or a file of one, whose config.json names another model than WavLM."""
    if not is_hugging_face(path):
        return False
    content = _if_there((path if path.is_dir() else path.parent) / "config.json")
    return content is not None and content.get("model_type", "wavlm") != "wavlm"


def _preprocessor(folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the settings of the feature extractor, if there are any, and a note where two files disagree.

    transformers 5 writes them into processor_config.json, and reads them there first.
    """
    processor = _if_there(folder / "processor_config.json") or {}
    nested = processor.get("feature_extractor", processor.get("audio_processor"))
    own = _if_there(folder / "preprocessor_config.json")
    if nested is None:
        return own, ()
    if not isinstance(nested, dict):
        found = repr(nested)[:100]
        raise UserError(f"{folder / 'processor_config.json'} has feature_extractor {found}; expected an object.")
    if own is not None and own.get("do_normalize", True) != nested.get("do_normalize", True):
        return nested, (
            "processor_config.json and preprocessor_config.json disagree on do_normalize; the first holds.",
        )
    return nested, ()


def _if_there(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, None if there is none; a link to nothing is an error."""
    return read_json_object(path) if is_there(path) else None
