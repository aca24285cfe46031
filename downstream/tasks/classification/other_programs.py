"""Classifiers of utterances in other programs: s3prl's utterance-level heads, transformers' sequence classification."""

from __future__ import annotations

from downstream.tasks.classification.heads import UtteranceClassifier
from downstream.tasks.other_programs import HeadHere, HeadOfS3prl, TaskModelHead, of_linear

# Names of the two linear layers: s3prl's downstream/model.py (UtteranceLevel), ours, and transformers'.
S3PRL = {"projector": "projection", "model.post_net.linear": "output"}
TRANSFORMERS = {"projection": "projector", "output": "classifier"}


def of_s3prl(theirs: HeadOfS3prl) -> HeadHere | None:
    """Return s3prl's utterance-level head with mean pooling, of any task; None for a head of another structure."""
    tensors = of_linear(S3PRL, theirs.tensors)
    if tensors is None:
        return None
    (width, dim), (outputs, _) = tensors["projection.weight"].shape, tensors["output.weight"].shape
    head = UtteranceClassifier(theirs.num_layers, dim, width, outputs, seed=0, layer=theirs.layer)
    head.load_state_dict(tensors, strict=False)
    return HeadHere(head, (f"head.projection={width}", "head.standardised=false", "head.pooling=mean"), outputs)


def task_model(head: UtteranceClassifier) -> TaskModelHead:
    """Return a head with mean pooling as ForSequenceClassification, whose logits are the same."""
    stems = {"projection": head.projection, "output": head.output}
    tensors = {
        f"{TRANSFORMERS[stem]}.{name}": tensor.detach()
        for stem, linear in stems.items()
        for name, tensor in linear.named_parameters()
    }
    return TaskModelHead(
        "ForSequenceClassification",
        tensors,
        reads=TRANSFORMERS["projection"],
        config={"classifier_proj_size": head.projection.out_features},
    )
