"""The checkpoint of an s3prl run, as its runner writes it: read without running anything of it.

Its keys are Featurizer, Downstream, Args, Config, Step, Epoch, Optimizer, and Upstream where the run fine-tuned that;
see save_path of s3prl 0.4.18, downstream/runner.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upstream.errors import UserError
from upstream.fingerprint import fingerprint_files
from upstream.wavlm.checkpoint import mapping
from upstream.weight_files import read_weights

BOOKKEEPING = "best_score"  # a buffer of every downstream of s3prl: its best development score so far
LAYER = "hidden_state_"  # s3prl's name of one layer as a feature, its number behind
LAST = "last_hidden_state"
LEFT_OUT = ("Optimizer", "Scheduler")


@dataclass(frozen=True)
class S3prlRun:
    """What a checkpoint tells of an s3prl run.

    task, upstream: as its command line named them (-d, -u); None where the file does not say.
    arguments: of that command line. settings: `downstream_expert` of its configuration.
    head: tensors of its downstream. weights: (L,) of its sum of layers; None where it read one layer.
    layer: that layer, negative from the last; None for the sum.
    step: of training. best: its best development score, in s3prl's own scale; None without one.
    is_fine_tuned: True where the file holds the encoder too. left_out: further keys, which nothing here reads.
    """

    path: Path
    file_sha256: str
    task: str | None
    upstream: str | None
    arguments: Mapping[str, Any]
    settings: Mapping[str, Any]
    head: Mapping[str, Tensor]
    weights: Tensor | None
    layer: int | None
    step: int
    best: float | None
    is_fine_tuned: bool
    left_out: tuple[str, ...]

    @property
    def model(self) -> Mapping[str, Any]:
        """Settings of the head."""
        return section(self.settings, "modelrc")

    @property
    def fold(self) -> str | None:
        """The fold that it is tested on (IEMOCAP's sessions); None where the task has no folds."""
        named = section(self.settings, "datarc").get("test_fold") or self.arguments.get("downstream_variant")
        return str(named) if named else ("fold1" if self.task == "emotion" else None)  # s3prl's default of emotion

    @property
    def seed(self) -> int:
        """The seed of its command line."""
        seed = self.arguments.get("seed")
        return seed if isinstance(seed, int) else 0


def is_s3prl_run(content: Mapping[str, Any]) -> bool:
    """Return True for the content of a file that s3prl's runner wrote."""
    return isinstance(content.get("Downstream"), Mapping)


def read_run(path: Path, content: Mapping[str, Any] | None = None) -> S3prlRun:
    """Read the checkpoint of an s3prl run; content: of the file, where it was read already.

    Raises UserError for what is none, is damaged or would run code, and for a sum of layers that has no like here.
    """
    content = read_weights(path) if content is None else content
    if not is_s3prl_run(content):
        found = ", ".join(map(str, list(content)[:4])) or "nothing"
        raise UserError(f"{path} is no checkpoint of an s3prl run: it has no Downstream, but {found}.")
    arguments, settings = mapping(content.get("Args")), section(mapping(content.get("Config")), "downstream_expert")
    head = {name: tensor for name, tensor in mapping(content["Downstream"]).items() if isinstance(tensor, Tensor)}
    best = head.pop(BOOKKEEPING, None)
    weights = mapping(content.get("Featurizer")).get("weights")
    step = content.get("Step")
    refuse_broken(path, head | ({"Featurizer.weights": weights} if isinstance(weights, Tensor) else {}))
    if arguments.get("upstream_feature_normalize"):
        raise UserError(
            f"{path} is of a run that normalised each frame of each layer before they were summed "
            "(--upstream_feature_normalize); neither a head here nor a task model of transformers does."
        )
    return S3prlRun(
        path=path,
        file_sha256=fingerprint_files([path]),
        task=named(arguments.get("downstream")),
        upstream=named(arguments.get("upstream")),
        arguments=arguments,
        settings=settings,
        head={name: tensor.float() for name, tensor in head.items()},
        weights=weights.float() if isinstance(weights, Tensor) else None,
        layer=None if isinstance(weights, Tensor) else layer_of(arguments, path),
        step=step if isinstance(step, int) else 0,
        best=float(best) if best is not None and best.numel() == 1 else None,
        is_fine_tuned=isinstance(content.get("Upstream"), Mapping),
        left_out=tuple(name for name in LEFT_OUT if name in content),
    )


def section(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of settings; {} where there is none."""
    return mapping(settings.get(name))


def named(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def layer_of(arguments: Mapping[str, Any], path: Path) -> int:
    """Return the one layer that a run read; raise UserError for a feature that is no layer."""
    if isinstance(layer := arguments.get("upstream_layer_selection"), int):
        return layer
    feature = arguments.get("upstream_feature_selection", "hidden_states")
    number = str(feature).removeprefix(LAYER)
    if feature == LAST:
        return -1
    if str(feature).startswith(LAYER) and number.isascii() and number.isdigit():
        return int(number)
    raise UserError(
        f"{path} has no weights of layers (Featurizer.weights), and its run read {feature!r}, which is no single "
        f"layer: those are {LAST}, {LAYER}0, {LAYER}1, ... The file may be cut down; get it again."
    )


def refuse_broken(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise UserError for a head without tensors, and for numbers that are not finite."""
    if not tensors:
        raise UserError(f"{path} has a Downstream without tensors: nothing was learned in it. Get another checkpoint.")
    broken = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor.float()).all())]
    if broken:
        raise UserError(
            f"{path} has NaN or infinite numbers in {broken[0]}: its training diverged. Take an earlier checkpoint."
        )
