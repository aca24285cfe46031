"""What a folder of extracted states holds, as its extraction.json states it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from upstream.base import SAMPLE_RATE, Upstream
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.json_file import read_json_object

CARD = "extraction.json"
VERSION = 1  # of the layout of the folder
FORMATS = ("npy", "safetensors", "hf")
NUMBERS = ("float32", "float16")
ANOTHER = "Choose another folder with --to, or remove that one."


@dataclass(frozen=True)
class Contents:
    """Everything that is the same for all states of a folder; states of other contents are never put into it.

    reduction: "means" over the frames of a recording, (L, D), or all "frames", (L, T, D).
    layers: the numbers of the L layers, in their order in the files.
    format: one of FORMATS. numbers: the precision of the files, one of NUMBERS.
    """

    upstream: Upstream
    reduction: str
    layers: tuple[int, ...]
    format: str
    numbers: str

    @classmethod
    def of(
        cls,
        upstream: Upstream,
        layers: Sequence[int] | None = None,
        means: bool = False,
        format: str = "npy",
        numbers: str = "float32",
    ) -> Contents:
        """Return what is asked for, as the arguments of `extract` say it; raise UserError for what there is not."""
        for value, known, what in ((format, FORMATS, "format"), (numbers, NUMBERS, "number format")):
            if value not in known:
                raise UserError(f"There is no {what} {value!r} of extracted states; type one of {', '.join(known)}.")
        return cls(upstream, "means" if means else "frames", layers_of(upstream, layers), format, numbers)

    def described(self) -> dict[str, Any]:
        """Return the content of extraction.json."""
        encoder = self.upstream
        centre = None if encoder.first_centre is None else encoder.first_centre / SAMPLE_RATE
        return {
            "version": VERSION,
            "states": self.reduction,
            "shape": ["layers", "dim"] if self.reduction == "means" else ["layers", "frames", "dim"],
            "layers": list(self.layers),
            "dim": encoder.dim,
            "format": self.format,
            "numbers": self.numbers,
            "frame_seconds": encoder.stride / SAMPLE_RATE,
            "first_frame_centre_seconds": centre,
            "upstream": {
                "name": encoder.name,
                "fingerprint": encoder.fingerprint,
                "precision": encoder.dtype_name,
                "layers": encoder.num_layers,
                **asdict(encoder.provenance),
            },
        }

    def begin(self, folder: Path) -> None:
        """Make the folder with its extraction.json.

        An extraction.json with nothing beside it, of a command that found no room for its states, is written anew.

        Raises UserError for a folder with other contents, or with anything else in it, and where it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = sorted(path.name for path in folder.iterdir() if path.name != CARD)
            if others and not (folder / CARD).exists():
                raise UserError(
                    f"{folder} is no folder of extracted states: it has {others[0]} in it. Choose a new one with --to."
                )
        except OSError as error:
            raise UserError(
                f"Cannot make the folder {folder}: {error.strerror}. Choose another one with --to."
            ) from error
        own = self.described()
        if others:
            refuse_others(folder, own)
        else:
            write_atomically(folder / CARD, json.dumps(own, indent=2, ensure_ascii=False).encode() + b"\n")


def refuse_others(folder: Path, own: dict[str, Any]) -> None:
    """Raise UserError unless a folder's extraction.json describes the same states."""
    there = read_json_object(folder / CARD, ANOTHER)
    if there.get("version") != VERSION:
        raise UserError(f"{folder} was written by another version of this program. {ANOTHER}")
    upstreams = [described.get("upstream", {}) for described in (there, own)]
    for key in ("fingerprint", "precision"):
        if upstreams[0].get(key) != upstreams[1].get(key):
            names = [f"{one.get('name')} ({one.get('precision')})" for one in upstreams]
            other = (
                names[0] if names[0] != names[1] else f"another {upstreams[0].get('name')} ({key} {upstreams[0][key]})"
            )
            raise UserError(f"{folder} holds states of {other}, not of {names[1]}. {ANOTHER}")
    for key in ("states", "layers", "numbers", "format"):
        if there.get(key) != own[key]:
            raise UserError(
                f"{folder} has other {key} ({in_words(there.get(key))}, not {in_words(own[key])}). {ANOTHER}"
            )


def in_words(value: object) -> str:
    """Return numbers of layers, or a name, for a sentence."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def layers_of(upstream: Upstream, asked: Sequence[int] | None) -> tuple[int, ...]:
    """Return the numbers of the layers that are asked for, all for None; negative ones count from the last.

    Raises UserError for a layer that the upstream does not have, and one that is named twice.
    """
    count = upstream.num_layers
    if asked is None:
        return tuple(range(count))
    if wrong := [layer for layer in asked if not -count <= layer < count]:
        raise UserError(f"{upstream.name} has no layer {wrong[0]}; its {count} layers are 0 to {count - 1}.")
    layers = tuple(range(count)[layer] for layer in asked)
    if not layers or len(set(layers)) < len(layers):
        raise UserError(f"--layers names {'no layer' if not layers else 'a layer twice'}; name each once: 0,6,12.")
    return layers
