"""Arguments of a loader of upstreams: the row of the catalogue, and how to load it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upstream.shipped_tables import words_of_cell

if TYPE_CHECKING:
    import torch

LOADERS = {  # "module:function", imported when an upstream is loaded; called as function(NamedUpstream, Request)
    "wavlm": "upstream.wavlm.upstream:load_named",
    "shipped": "upstream.wavlm.upstream:load_shipped",
    "transformers": "upstream.huggingface.upstream:load_named",
    "filterbank": "upstream.filterbank:load_named",
}
MODELS = Path(__file__).parent / "models"  # the folders of the weights that are shipped


@dataclass(frozen=True)
class NamedUpstream:
    """One row of the table upstreams.csv.

    family: what it is listed under.
    name: what is typed after -u, and recorded.
    aliases: other names of it, s3prl's and torchaudio's; spellings such as "WavLM-Base+" need none.
    title: what it is, in words. parameters: of the encoder, "94 M". hours: of the speech that it was trained on.
    layers, width, stride: of its hidden states: L, D, and the samples between two frames.
    licence: of the weights, as the hub has it; nothing where the hub states none.
    kind: which of `LOADERS` loads it.
    configuration: name of the architecture's configuration, a constant that the loader knows; nothing where the
        repository, or the folder of shipped weights, has the configuration.
    repository: Hugging Face repository of the weights; None where none are published there.
    revision: commit of the repository; None for the newest.
    """

    family: str
    name: str
    aliases: tuple[str, ...]
    title: str
    parameters: str
    hours: int | None
    layers: int
    width: int
    stride: int
    licence: str
    kind: str
    configuration: str
    repository: str | None
    revision: str | None

    @classmethod
    def from_row(cls, row: dict[str, str]) -> NamedUpstream:
        """Return the upstream of a line of the table, column -> cell."""
        numbers = {name: int(row[name]) for name in ("layers", "width", "stride")}
        optional = {name: row[name] or None for name in ("repository", "revision")}
        hours, aliases = int(row["hours"]) if row["hours"] else None, words_of_cell(row, "aliases")
        return cls(**{**row, **numbers, **optional, "hours": hours, "aliases": aliases})  # type: ignore[arg-type]

    @property
    def loader(self) -> str:
        """The function that loads it, "module:function"."""
        return LOADERS[self.kind]

    @property
    def folder(self) -> Path | None:
        """The Hugging Face directory of weights that are shipped with the harness; None for all others."""
        return MODELS / self.name if self.kind == "shipped" else None

    @property
    def has_weights(self) -> bool:
        """False for an upstream without learned weights, to which --random-init does not apply."""
        return self.kind != "filterbank"

    @property
    def description(self) -> str:
        """What it is, its size, and on how much speech it was trained: "WavLM Base, 94 M parameters, 960 h"."""
        size = f"{self.parameters} parameters" if self.parameters else ""
        speech = f"{self.hours:,} h" if self.hours else ""
        return ", ".join(part for part in (self.title, size, speech) if part)


@dataclass(frozen=True)
class Request:
    """What to load an upstream with.

    typed: the name of the upstream: as the user typed it, or the catalogue's name where that was another spelling.
    revision: branch, tag or commit of the repository; None for the default branch.
    dtype: None for the fastest precision whose scores agree with float32's.
    random_seed: seed of untrained weights; None for trained weights.
    """

    typed: str
    revision: str | None
    device: torch.device
    dtype: torch.dtype | None
    random_seed: int | None

    @property
    def dtype_or_float32(self) -> torch.dtype:
        """The precision for an upstream whose scores were measured in float32 only."""
        import torch

        return self.dtype or torch.float32
