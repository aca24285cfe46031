"""Recognisers in other programs: s3prl's projector, bidirectional LSTMs and linear output."""

from __future__ import annotations

import torch
from torch import Tensor

from downstream.tasks.head import initialised
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl
from downstream.tasks.recognition.ctc import CTCHead

LINEAR = {"projector": "projection", "model.linear": "output"}
DIRECTIONS = {"forwards": "", "backwards": "_reverse"}  # of one LSTM here -> ending in PyTorch's bidirectional one
LSTM = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def of_s3prl(theirs: HeadOfS3prl) -> HeadHere | None:
    """Return s3prl's recurrent CTC head; None for a head of another structure.

    Frames that an LSTM leaves out (`sample_rate`) cannot be seen in its weights, and are told by the settings.
    """
    given, depth = theirs.tensors, 0
    while f"model.rnns.{depth}.layer.weight_ih_l0" in given:
        depth += 1
    stems = {f"{stem}.{part}": f"{name}.{part}" for stem, name in LINEAR.items() for part in ("weight", "bias")}
    stems |= {
        f"model.rnns.{number}.layer.{part}{ending}": f"recurrent.{number}.{direction}.{part}"
        for number in range(depth)
        for direction, ending in DIRECTIONS.items()
        for part in LSTM
    }
    rates = theirs.model.get("RNNs", {}).get("sample_rate", ())
    if not depth or stems.keys() != given.keys() or any(rate != 1 for rate in rates):
        return None
    tensors = {name: given[stem] for stem, name in stems.items()}
    projection, dim = tensors["projection.weight"].shape
    hidden, vocabulary = tensors["recurrent.0.forwards.weight_hh_l0"].shape[1], len(tensors["output.bias"])
    head = initialised(
        0,
        lambda: CTCHead(
            theirs.num_layers,
            dim,
            vocabulary,
            projection=projection,
            hidden=hidden,
            depth=depth,
            layer=theirs.layer,
        ),
    )
    if not fits(head, tensors):
        return None
    head.load_state_dict(tensors, strict=False)
    overrides = (f"head.projection={projection}", f"head.hidden={hidden}", f"head.depth={depth}")
    return HeadHere(head, overrides, vocabulary)


def fits(head: torch.nn.Module, tensors: dict[str, Tensor]) -> bool:
    """Return True where weights have the shapes of a head's; those of a GRU, or of other widths, have not."""
    own = head.state_dict()
    return all(own[name].shape == tensor.shape for name, tensor in tensors.items())
