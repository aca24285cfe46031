"""How far WavLM here is from other implementations of it, with the same weights: every layer, output and loss.

An error is the norm of the difference over the norm of the reference, in float32 on the CPU. Weights and audio are
random, and no parameter has the value that it is born with. "base" has group norm and its norms last, "large" layer
norm and its norms first. An encoder is compared with transformers, torchaudio and Microsoft's model (s3prl's copy);
task models with transformers, on two utterances of one length, where padding cannot matter. Exit status 1 if an error
is above its limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.wavlm.config import BASE, LARGE
from upstream.wavlm.names import from_microsoft

from . import common

HELPERS = Path(__file__).resolve().parents[1]  # modules of the tests: peers and task_peers
LIMIT = 1e-5
HEADINGS = ("class", "configuration", "output", "error", "limit")
SMALL = {"sizes": ["small"]}


@dataclass(frozen=True)
class Row:
    """One number of a table. kind: the class, or the implementation. config: whose sizes, and how layers are summed."""

    kind: str
    config: str
    output: str
    error: float
    limit: float = LIMIT

    @property
    def is_within(self) -> bool:
        """False also for NaN."""
        return self.error <= self.limit

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        return self.kind, self.config, self.output, f"{self.error:.1e}", f"{self.limit:.0e}"


def helper(name: str) -> Any:
    """A module of the tests or of a library that carries no types."""
    return import_module(name)


def sizes_of(name: str) -> dict[str, dict[str, Any]]:
    """The settings in transformers' terms by the name of each configuration: small ones, or the published sizes."""
    if name == "small":
        return {f"{kind}, small": settings for kind, settings in helper("peers").KINDS.items()}
    published = {"WavLM Base": BASE, "WavLM Large": LARGE}
    return {title: config.to_hugging_face() for title, config in published.items()}


def noise(utterances: int, samples: int = 16_000) -> Tensor:
    """Waveforms of one length, (B, S)."""
    return torch.stack([common.noise(samples, seed) for seed in range(utterances)])


# ---------------------------------------------------------------- the tables


def encoder_rows(config: str, settings: dict[str, Any]) -> Iterator[Row]:
    """Every layer of the encoder, against each implementation that is installed."""
    peers = helper("peers")
    peer, (waveform,) = peers.transformers_model(settings), noise(1)
    with torch.no_grad():
        ours = [
            own[0] for own in helper("task_peers").ours_of(peer)([waveform], output_hidden_states=True).hidden_states
        ]
        layers = {
            "transformers": dict(enumerate(peers.transformers_states(peer, waveform))),
            "torchaudio": torchaudio_layers(peer, waveform),
            "Microsoft": microsoft_layers(peer, settings, waveform),
        }
    for implementation, found in layers.items():
        for layer, expected in found.items():
            error = peers.relative_error(ours[layer], expected)
            yield Row(f"WavLMModel, {implementation}", config, f"layer {layer}", error)


def torchaudio_layers(peer: Any, waveform: Tensor) -> dict[int, Tensor]:
    """torchaudio's layers by their number here; it has no layer 0."""
    model = helper("torchaudio.models.wav2vec2.utils").import_huggingface_model(peer).eval()
    blocks, _ = model.extract_features(waveform[None])
    output, _ = model(waveform[None])
    return dict(enumerate([*(block[0] for block in blocks[:-1]), output[0]], 1))


def microsoft_layers(peer: Any, settings: dict[str, Any], waveform: Tensor) -> dict[int, Tensor]:
    """Microsoft's layers by their number; none where s3prl is not installed."""
    try:
        model = helper("peers").microsoft_model(settings)
    except ImportError:
        return {}
    theirs = peer.state_dict()
    spelled = from_microsoft({name: torch.empty(0) for name in model.state_dict()})
    model.load_state_dict({name: theirs[own] for name, own in zip(model.state_dict(), spelled, strict=True)})
    depth = settings["num_hidden_layers"]
    (_, layers), _ = model.extract_features(waveform[None], output_layer=depth, ret_layer_results=True)
    output, _ = model.extract_features(waveform[None])
    return dict(enumerate([*(layer.transpose(0, 1)[0] for layer, _ in layers[:-1]), output[0]]))


def task_rows(config: str, settings: dict[str, Any]) -> Iterator[Row]:
    """Logits, embeddings and losses of every task model, for every way in which layers are summed."""
    tasks, waveforms = helper("task_peers"), noise(2)
    for name in tasks.TASKS:
        for layers, more in tasks.LAYER_SUMS.items():
            if name == tasks.CTC and layers != tasks.NONE:
                continue  # it has no sum of layers
            for one in tasks.compared(tasks.task_peer(name, settings | more), waveforms):
                yield Row(name, f"{config}, {layers}", one.output, one.error, one.limit)


# To add a table, add a function from the title and the settings of a configuration to rows.
TABLES: Mapping[str, Callable[[str, dict[str, Any]], Iterator[Row]]] = {
    "encoder": encoder_rows,
    "task models": task_rows,
}


def rows_of(table: str, sizes: Sequence[str]) -> list[Row]:
    """The rows of a table for all configurations of some sizes."""
    return [
        row for size in sizes for config, settings in sizes_of(size).items() for row in TABLES[table](config, settings)
    ]


def main() -> None:
    """Print the tables."""
    made = common.parser(__doc__)
    made.add_argument("--sizes", nargs="+", choices=("small", "published"), default=["small", "published"])
    made.add_argument("--tables", nargs="+", choices=tuple(TABLES), default=list(TABLES))
    options = common.parse(made, SMALL)
    sys.path.insert(0, str(HELPERS))
    beyond = 0
    for table in options.tables:
        rows = rows_of(table, options.sizes)
        beyond += sum(not row.is_within for row in rows)
        largest = max(row.error for row in rows)
        notes = [f"{len(rows)} comparisons; the largest error is {largest:.1e}."]
        common.show(table, HEADINGS, [row.cells for row in rows], notes, left=HEADINGS[:3])
    if beyond:
        sys.exit(f"{beyond} errors are above their limit.")


if __name__ == "__main__":
    common.carry_out(main)
