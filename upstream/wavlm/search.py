"""Find the encoder in a file, whatever lies around it.

Training code wraps models: tensors end up in nested dictionaries and below prefixes (`model.`, `module.`,
`state_dict`, `wavlm.`, `feature_extract.model.`), beside heads, counters and optimisers. A WavLM has tensors that no
other model has, the gate and the table of its position bias. What precedes their names is the prefix of the encoder;
whose spelling they have is the implementation that wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from upstream.errors import UserError
from upstream.named_tensors import Tensors, refuse_unmerged, require_floats, same
from upstream.wavlm import names


@dataclass(frozen=True)
class Spelling:
    """How one implementation names the tensors of an encoder.

    owner: whose names these are.
    marks: pattern of names that only a WavLM has; it matches where the encoder's own name begins.
    stems: how the names of the encoder's tensors begin; all others belong to something beside it.
    translated: function from these names to the project's.
    """

    owner: str
    marks: re.Pattern[str]
    stems: tuple[str, ...]
    translated: Callable[[Mapping[str, Tensor]], Tensors]


HUGGING_FACE = Spelling(
    "Hugging Face",
    re.compile(r"(?:^|(?<=\.))encoder\.layers\.\d+\.attention\.(?:gru_rel_pos|rel_attn_embed)"),
    ("feature_extractor.", "feature_projection.", "encoder.", names.MASK),
    names.with_newer_weight_norm,
)
MICROSOFT = Spelling(
    "Microsoft",
    re.compile(r"(?:^|(?<=\.))encoder\.layers\.\d+\.self_attn\.(?:grep_|relative_attention_bias)"),
    ("feature_extractor.", "layer_norm.", "post_extract_proj.", "encoder.", "mask_emb"),
    names.from_microsoft,
)
TORCHAUDIO = Spelling(
    "torchaudio",
    re.compile(r"(?:^|(?<=\.))encoder\.transformer\.layers\.\d+\.attention\.(?:gru_rel_pos|rel_attn_embed)"),
    ("feature_extractor.", "encoder."),
    names.from_torchaudio,
)


@dataclass(frozen=True)
class Found:
    """An encoder in a file.

    prefix: what precedes its names, "wavlm." or "".
    tensors: the encoder's, under the project's names, as stored.
    beside: names of all other tensors.
    """

    spelling: Spelling
    prefix: str
    tensors: Tensors
    beside: tuple[str, ...]


def find_encoder(tensors: Mapping[str, Tensor], where: Path) -> Found | None:
    """Return the WavLM encoder among the tensors of a file, None if there is none.

    where: the file or folder, for messages.

    Raises UserError for two different encoders, for LoRA weights that are not merged, and for tensors of the encoder
    that are no plain weights or that the file has twice.
    """
    places = _places(tensors)
    if not places:
        refuse_unmerged(tensors, str(where))
        return None
    encoders = [_encoder_at(tensors, spelling, prefix, where) for spelling, prefix in places]
    if any(not _equal(encoder.tensors, encoders[0].tensors) for encoder in encoders[1:]):
        prefixes = ", ".join(repr(prefix) for _, prefix in places)
        raise UserError(
            f"{where} has {len(places)} different WavLM encoders, whose names begin with {prefixes}. Save the one you "
            "mean: torch.save(model.state_dict(), path)."
        )
    return encoders[0]


def _places(tensors: Mapping[str, Tensor]) -> list[tuple[Spelling, str]]:
    """Return the spelling and prefix of every encoder in the order of the file."""
    places: list[tuple[Spelling, str]] = []
    for name in tensors:
        for spelling in (HUGGING_FACE, MICROSOFT, TORCHAUDIO):
            mark = spelling.marks.search(name)
            if mark and (spelling, name[: mark.start()]) not in places:
                places.append((spelling, name[: mark.start()]))
    return places


def _encoder_at(tensors: Mapping[str, Tensor], spelling: Spelling, prefix: str, where: Path) -> Found:
    starts = tuple(f"{prefix}{stem}" for stem in spelling.stems)
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith(starts)}
    refuse_unmerged(inside, str(where))
    require_floats(inside, str(where))
    own = {name.removeprefix(prefix): tensor for name, tensor in inside.items()}
    beside = tuple(name for name in tensors if name not in inside)
    return Found(spelling, prefix, spelling.translated(own), beside)


def _equal(one: Tensors, other: Tensors) -> bool:
    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
