"""The configuration of a transformers model: config.json, which is untrusted.

No code of its choice is run: the attention is transformers' own, whatever config.json asks for, and classes that a
repository brings along are named, not loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upstream.errors import UserError
from upstream.foreign import foreign_code
from upstream.huggingface.files import CONFIG, ModelFiles
from upstream.huggingface.library import quiet_transformers, transformers_library
from upstream.huggingface.states import is_squeezed
from upstream.json_file import read_json_object
from upstream.weight_files import refuse_adapter, require_model_folder

MOST_BLOCKS = 1000  # so that a damaged or hostile file cannot request a million

# How to call a model and how to compute its products is chosen here; an attention with a slash is code from a hub.
ATTENTION = ("attn_implementation", "_attn_implementation")
CHOSEN_HERE = {
    *ATTENTION,
    "experts_implementation",
    "_experts_implementation",
    "return_dict",
    "use_return_dict",
    "transformers_weights",
}
QUANTISATION = ("quantization_config", "compression_config")
OWN_ATTENTION = ("eager", "sdpa")  # of transformers and PyTorch


@dataclass(frozen=True)
class Configuration:
    """What a model computes.

    transformers: the configuration as transformers reads it.
    attention: "eager" if config.json asks for it; None for transformers' default, "sdpa" where the model has it.
    notes: what of config.json was not followed.
    """

    transformers: Any
    attention: str | None
    notes: tuple[str, ...]


def read_configuration(files: ModelFiles) -> Configuration:
    """Return the configuration of a model.

    Raises UserError if it is missing, damaged, unknown to transformers, in need of code of its own or impossible, and
    for a quantised model.
    """
    content = read_content(files)
    with quiet_transformers():
        config = config_from(content, files)
    notes = list(not_followed(content, config))
    if getattr(config, "add_adapter", False):
        config.add_adapter = False
        notes.append("The adapter after the encoder was left out; its frames are longer than those of the blocks.")
    if is_squeezed(config):
        notes.append("The layers are at the rate of the blocks; the output after them, of more frames, was left out.")
    return Configuration(config, "eager" if "eager" in attentions_in(content) else None, tuple(notes))


def read_content(files: ModelFiles) -> dict[str, Any]:
    """Return the content of config.json; raises UserError for one that cannot be used, whatever the model."""
    path = files.folder / CONFIG
    if not path.exists():
        refuse_adapter(files.folder)  # it names a model, and has no configuration of its own
    require_model_folder(files.folder)
    content = read_json_object(path)
    for name in QUANTISATION:
        if content.get(name):
            method = content[name].get("quant_method") if isinstance(content[name], dict) else None
            raise UserError(
                f"{files.origin} is quantised ({method or name} in config.json), which is not read here. Take the "
                "model that it was made from, or load it where it was made and save it dequantised."
            )
    for name, value in content.items():
        if name.endswith("layers") and isinstance(value, int) and value > MOST_BLOCKS:
            raise UserError(f"{path} has {name} = {value}; expected at most {MOST_BLOCKS}. Get the file again.")
    if content.get("transformers_weights") and files.weights is None:
        raise UserError(
            f"{path} names a weight file of its own, transformers_weights = {content['transformers_weights']!r}; "
            f"name the file that is meant: {files.folder}/FILE"
        )
    return content


def config_from(content: Mapping[str, Any], files: ModelFiles) -> Any:
    """Return transformers' configuration; raises UserError for an unknown model or impossible settings."""
    library = transformers_library()
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in library.CONFIG_MAPPING:
        code = own_code("AutoModel", content) or own_code("AutoConfig", content)
        fix = (
            f"It brings code of its own ({code}), which is not run here; wrap the model as module.py:function."
            if code
            else "Correct config.json, install a transformers that has it, or wrap the model as module.py:function."
        )
        raise UserError(
            f"{files.origin} has no config.json that transformers {library.__version__} understands: "
            f"its model_type is {kind!r}. {fix}"
        )
    with foreign_code(
        f"Reading {files.folder / CONFIG} as {kind} of transformers {library.__version__}",
        "Correct it, or get it again from the model's repository.",
    ):
        return library.CONFIG_MAPPING[kind].from_dict(without_choices(content))


def without_choices(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of config.json, at all depths, without what is chosen here."""
    kept = {name: value for name, value in content.items() if name not in CHOSEN_HERE}
    return {name: without_choices(value) if isinstance(value, dict) else value for name, value in kept.items()}


def attentions_in(content: Mapping[str, Any]) -> set[str]:
    """Return the implementations of attention that config.json asks for, at all depths."""
    found: set[str] = set()
    for name, value in content.items():
        if name in ATTENTION:
            values = value.values() if isinstance(value, dict) else [value]
            found |= {str(implementation) for implementation in values if implementation is not None}
        elif isinstance(value, dict):
            found |= attentions_in(value)
    return found


def not_followed(content: Mapping[str, Any], config: Any) -> Iterator[str]:
    """Yield sentences on what config.json asks for and does not get."""
    for attention in sorted(attentions_in(content).difference(OWN_ATTENTION)):
        yield f"The attention is PyTorch's, not {attention!r} as config.json asks for; they differ by rounding."
    if code := own_code("AutoModel", content):
        yield f"The repository's own code ({code}) was not run; the model is {config.model_type} of transformers."


def own_code(kind: str, content: Mapping[str, Any]) -> str | None:
    """Return the class that a repository brings along as code, "modeling_x.Encoder"; None without one.

    kind: of transformers' automatic classes, "AutoModel".
    """
    classes = content.get("auto_map")
    named = classes.get(kind) if isinstance(classes, dict) else None
    return str(named) if named else None
