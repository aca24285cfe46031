"""X-vectors in other programs: s3prl's head for VoxCeleb1, and transformers' ForXVector."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead, of_linear
from downstream.tasks.verification.xvector import POOLED_AT_LEAST, SUPERB_CONTEXTS, TimeDelayLayer, XVector
from upstream.errors import UserError

FRAMES, SEGMENT = "model.framelevel_feature_extractor.module", "model.utterancelevel_feature_extractor"
OBJECTIVE = "objective.W"  # (E, C) in s3prl, as in transformers; here its transpose
TDNN = range(len(SUPERB_CONTEXTS))
S3PRL = {
    "connector": "connector",
    **{f"{FRAMES}.{index}.kernel": f"tdnn.{index}.linear" for index in TDNN},
    **{f"{SEGMENT}.linear{number}": f"segment{number}" for number in (1, 2)},
}
TRANSFORMERS = {
    "connector": "projector",
    **{f"tdnn.{index}.linear": f"tdnn.{index}.kernel" for index in TDNN},
    "segment1": "feature_extractor",
    "segment2": "classifier",
}
THEIR_SCALE, THEIR_MARGIN = 30.0, 0.4  # fixed in transformers' AMSoftmaxLoss


def of_s3prl(theirs: HeadOfS3prl) -> HeadHere | None:
    """Return s3prl's x-vector head with its AM-softmax; None for a head of another structure.

    The pooling of mean and deviation has no weights; that of means alone is told by the width that follows it.
    """
    linears = {name: tensor for name, tensor in theirs.tensors.items() if name != OBJECTIVE}
    tensors = of_linear(S3PRL, linears)
    if tensors is None or OBJECTIVE not in theirs.tensors:
        return None
    widths = [len(tensors[f"tdnn.{index}.linear.bias"]) for index in TDNN]
    projection, dim = tensors["connector.weight"].shape
    embedding, pooled = tensors["segment1.weight"].shape
    if pooled != 2 * widths[-1]:
        return None
    speakers = theirs.tensors[OBJECTIVE].shape[1]
    loss = theirs.model.get("LossConfig", {}).get("AMSoftmaxLoss", {})
    scale, margin = float(loss.get("s", THEIR_SCALE)), float(loss.get("m", THEIR_MARGIN))
    head = XVector(
        theirs.num_layers,
        dim,
        speakers,
        projection=projection,
        widths=widths,
        embedding=embedding,
        scale=scale,
        margin=margin,
        layer=theirs.layer,
    )
    head.load_state_dict({**tensors, "objective.weight": theirs.tensors[OBJECTIVE].T}, strict=False)
    overrides = (f"head.projection={projection}", f"head.scale={scale:g}", f"head.margin={margin:g}")
    return HeadHere(head, overrides, speakers)


def task_model(head: XVector) -> TaskModelHead:
    """Return a head as ForXVector, whose embedding is that before the head's last ReLU.

    Raises UserError where the first time-delay layer is wider than its input, which transformers' are not.
    """
    layers = [layer for layer in head.tdnn if isinstance(layer, TimeDelayLayer)]
    widths, projection = [layer.linear.out_features for layer in layers], head.connector.out_features
    if projection != widths[0]:
        raise UserError(
            f"The head has projection={projection} before time-delay layers of {widths[0]}; ForXVector of transformers "
            "has one width for both. Learn it with head.projection null, as SUPERB has it."
        )
    own = head.state_dict()
    tensors: dict[str, Tensor] = {
        f"{there}.{part}": own[f"{here}.{part}"] for here, there in TRANSFORMERS.items() for part in ("weight", "bias")
    }
    tensors["objective.weight"] = own["objective.weight"].T
    config = {
        "tdnn_dim": tuple(widths),
        "tdnn_kernel": tuple(layer.frames for layer in layers),
        "tdnn_dilation": tuple(layer.dilation for layer in layers),
        "xvector_output_dim": head.segment1.out_features,
    }
    return TaskModelHead("ForXVector", tensors, TRANSFORMERS["connector"], config, F.relu, tuple(unlike(head)))


def unlike(head: XVector) -> Iterator[str]:
    """Yield what ForXVector leaves out of a head."""
    yield (
        "ForXVector has no ReLU behind its embedding, and this head has: take embeddings.relu() for its scores; "
        "cosines of embeddings as they are differ from them."
    )
    yield (
        f"Of recordings under {head.lost + POOLED_AT_LEAST} frames the last frame is repeated here; ForXVector gives "
        "no number for them."
    )
    if (head.objective.scale, head.objective.margin) != (THEIR_SCALE, THEIR_MARGIN):
        yield (
            f"Scale {head.objective.scale:g} and margin {head.objective.margin:g} of the loss are {THEIR_SCALE:g} and "
            f"{THEIR_MARGIN:g} in ForXVector, which matters for further training alone."
        )
