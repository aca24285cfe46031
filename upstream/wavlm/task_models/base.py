"""What all WavLM classes share: loading and saving, new heads, the weighted sum of layers; and the one without a head.

Names of classes, arguments and tensors are those of transformers. What differs: a batch is computed packed, so that
outputs of an utterance are those of the utterance alone. transformers pads, and then group norm (Base) and x-vectors
read the padding: there its results depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from upstream.errors import UserError
from upstream.huggingface.files import find_files
from upstream.named_tensors import Tensors, require_floats
from upstream.wavlm import checkpoint, names, shapes
from upstream.wavlm.checkpoint import HEADED, Checkpoint
from upstream.wavlm.config import WavLMConfig
from upstream.wavlm.config_formats import labels_of, refuse_adapter_layers, with_values
from upstream.wavlm.model import WavLM, untrained
from upstream.wavlm.standardisation import as_trained
from upstream.wavlm.task_models.batches import Waveforms, padded, utterances

OLDER_SUM = (
    "config.json was written by transformers {version}, which summed the encoder's output as the last layer; "
    "transformers 5, and this, sum the last block's before its norm. For the sum of then, which the head probably "
    'learned from, add "tie_last_hidden_states": true to config.json.'
)


@dataclass(frozen=True)
class TaskOutput:
    """Output of a task model.

    logits: (B, T, outputs) zero beyond an utterance's frames, or (B, outputs) of utterances.
    lengths: (B,) frames of each utterance, on the CPU.
    loss: where labels were given.
    embeddings: (B, xvector_output_dim) of WavLMForXVector.
    """

    logits: Tensor
    lengths: Tensor
    loss: Tensor | None = None
    embeddings: Tensor | None = None


@dataclass(frozen=True)
class WavLMOutput:
    """Output of the encoder.

    last_hidden_state: (B, T, D), zero beyond an utterance's frames. lengths: (B,) frames of each, on the CPU.
    hidden_states: where they were asked for, the input of every block and the encoder's output, N + 1 such tensors.
        The last one is transformers 4's and s3prl's: transformers 5 returns it before the norm of a pre-norm model.
    """

    last_hidden_state: Tensor
    lengths: Tensor
    hidden_states: tuple[Tensor, ...] | None = None


class PretrainedWavLM(nn.Module):
    """A WavLM and, in subclasses, a head. Load one with `from_pretrained`; the constructor leaves weights undefined."""

    def __init__(self, config: WavLMConfig) -> None:
        refuse_adapter_layers(config)
        super().__init__()
        self.config = config
        self.wavlm = WavLM(config)
        self.weight_norm: Tensors = {}  # as it was read; see `encoder_tensors`
        self.notes: tuple[str, ...] = ()  # on what was read: what was inferred, and what programs differ in

    # ---------------------------------------------------------------- making one

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> Self:
        """Load a checkpoint of this class, in float32 and in evaluation mode.

        name: a Hugging Face directory or its weight file, or ORG/NAME[@REVISION] of the hub, with or without "hf:".

        Raises UserError where there is none, where it is damaged, and for tensors that are missing or unexpected: no
        part of the model is ever drawn at random (see `with_new_head`).
        """
        path = located(name, revision)
        return cls.from_checkpoint(checkpoint.read(path), path)

    @classmethod
    def from_checkpoint(cls, read: Checkpoint, path: Path) -> Self:
        """Return the model of a checkpoint that was read; path: its place, for messages. Raises UserError as above."""
        if read.prefix != HEADED and not read.beside:
            raise UserError(
                f"{path} is an encoder without a head, not a {cls.__name__}. Start to train one with "
                f"{cls.__name__}.with_new_head(path), or name a checkpoint that has one."
            )
        if read.config.architectures and cls.__name__ not in read.config.architectures:
            raise UserError(
                f"{path} is a {read.config.architectures[0]}, not a {cls.__name__}. Load it with its own class: "
                "upstream.wavlm.load_task_model(path)."
            )
        require_floats(read.beside, str(path))
        return cls.on_encoder(read, read.beside, str(path))

    @classmethod
    def with_new_head(cls, name: str | Path, seed: int = 0, revision: str | None = None, **changes: Any) -> Self:
        """Return the model on a trained encoder, with a head drawn from `seed`.

        name: a checkpoint of an encoder in any format, or a repository of the hub. changes: fields of the
        configuration, such as vocab_size=32, id2label={0: "no", 1: "yes"}, num_labels=2.

        Raises UserError for a checkpoint that cannot be read, and for fields that are wrong.
        """
        read = checkpoint.read(located(name, revision))
        config = changed(read.config, changes)
        return cls.on_encoder(replace(read, config=config), cls.drawn_head(config, seed))

    @classmethod
    def untrained(cls, config: WavLMConfig, seed: int) -> Self:
        """Return the model with all weights drawn from `seed`, with transformers' distributions."""
        return cls.from_parts(config, untrained(config, seed), cls.drawn_head(config, seed))

    @classmethod
    def on_encoder(cls, read: Checkpoint, head: Mapping[str, Tensor], where: str = "The head") -> Self:
        """Return the model of the encoder of a checkpoint and the tensors of a head; raises UserError as below."""
        model = cls.from_parts(read.config, read.build(), head, where)
        model.weight_norm, model.notes = names.weight_norm_of(read.tensors), read.notes
        return model

    @classmethod
    def from_parts(
        cls, config: WavLMConfig, encoder: WavLM, head: Mapping[str, Tensor], where: str = "The head"
    ) -> Self:
        """Return the model, in evaluation mode, of an encoder and the tensors of a head under transformers' names.

        Raises UserError for tensors that are missing, unexpected, not finite or of a wrong shape.
        """
        shapes.compare(head, cls.head_shapes(config), where)
        with torch.device("meta"):
            model = cls(config)
        model.wavlm = encoder
        model.load_state_dict({name: tensor.float() for name, tensor in head.items()}, strict=False, assign=True)
        return model.eval()

    @classmethod
    def head_shapes(cls, config: WavLMConfig) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the head's tensors by their names in transformers."""
        with torch.device("meta"):
            return {name: tuple(tensor.shape) for name, tensor in cls(config).head_tensors().items()}

    @classmethod
    def drawn_head(cls, config: WavLMConfig, seed: int) -> Tensors:
        """Return new tensors of the head: biases zero, weights of layers equal, others normal as in transformers."""
        generator = torch.Generator().manual_seed(seed)

        def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
            if name.endswith("bias"):
                return torch.zeros(shape)
            if name == "layer_weights":
                return torch.full(shape, 1.0 / shape[0])
            spread = 1.0 if name == "objective.weight" else config.initializer_range
            return torch.randn(shape, generator=generator) * spread

        return {name: drawn(name, shape) for name, shape in cls.head_shapes(config).items()}

    # ---------------------------------------------------------------- keeping it

    def head_tensors(self) -> Tensors:
        """Return the tensors of the head, under transformers' names."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith("wavlm.")}

    def encoder_tensors(self) -> Tensors:
        """Return the tensors of the encoder, under transformers' names; to the bit those read if it did not learn."""
        return names.with_weight_norm_as_read(names.from_native(self.wavlm.state_dict(), self.config), self.weight_norm)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face directory, which transformers loads with nothing missing or unexpected.

        Raises UserError if it cannot be written.
        """
        checkpoint.write(Path(folder), self.config, self.encoder_tensors(), type(self).__name__, self.head_tensors())

    # ---------------------------------------------------------------- computing

    @property
    def fewest_frames(self) -> int:
        """Frames of the shortest utterance that the head can read."""
        return 1

    def prepare(self, waveform: Tensor) -> Tensor:
        """Return the samples (S,) in [-1, 1] as the model takes them: standardised if it was trained so."""
        return as_trained(waveform, self.config)

    def packed(self, input_values: Waveforms, attention_mask: Tensor | None) -> tuple[Tensor, list[int]]:
        """Return the frames that the head reads, (N, D), and how many each utterance has.

        Raises UserError for a batch of anything but prepared waveforms.
        """
        waveforms = utterances(input_values, attention_mask, self.config.receptive_field)
        return self.encoded(waveforms), [self.config.frames(len(waveform)) for waveform in waveforms]

    def encoded(self, waveforms: list[Tensor]) -> Tensor:
        """Return the encoder's output for waveforms, packed, (N, D)."""
        return last(self.wavlm(waveforms))

    def head(self, frames: Tensor, lengths: list[int]) -> TaskOutput:
        """Return the head's output for packed frames (N, D); lengths: frames of each utterance."""
        raise NotImplementedError(f"{type(self).__name__} has no head")

    def freeze_feature_encoder(self) -> None:
        """Keep the convolutions from learning, as fine-tuning usually does."""
        self.wavlm.front_end.requires_grad_(False)

    def freeze_base_model(self) -> None:
        """Keep the whole encoder from learning: the head alone does."""
        self.wavlm.requires_grad_(False)


class LayerSumModel(PretrainedWavLM):
    """A task model whose head reads the encoder's output or, if the configuration says so, a weighted sum of layers."""

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config)
        if config.use_weighted_layer_sum:
            self.layer_weights = nn.Parameter(torch.empty(config.num_hidden_layers + 1))

    @classmethod
    def from_checkpoint(cls, read: Checkpoint, path: Path) -> Self:
        """Return the model of a checkpoint, with a note where versions of transformers compute other sums of it."""
        model = super().from_checkpoint(read, path)
        config, version = read.config, str(dict(read.config.extra).get("transformers_version", ""))
        differs = config.use_weighted_layer_sum and config.do_stable_layer_norm
        if differs and config.tie_last_hidden_states is None and version.startswith("4."):
            model.notes = (*model.notes, OLDER_SUM.format(version=version))
        return model

    def encoded(self, waveforms: list[Tensor]) -> Tensor:
        """Return the frames (N, D) that the head reads."""
        if not self.config.use_weighted_layer_sum:
            return super().encoded(waveforms)
        # transformers 5 sums the last block's output before the final norm of a pre-norm model; s3prl and transformers
        # 4 summed the encoder's output. `tie_last_hidden_states` of the configuration chooses in transformers, too.
        states = self.wavlm(waveforms) if self.config.tie_last_hidden_states else self.wavlm.before_norm(waveforms)
        weights = torch.softmax(self.layer_weights, dim=0)
        total: Tensor = sum(weight * layer for weight, layer in zip(weights, states, strict=True))
        return total


class WavLMModel(PretrainedWavLM):
    """The encoder alone."""

    @classmethod
    def from_checkpoint(cls, read: Checkpoint, path: Path) -> Self:
        """Return the encoder of a checkpoint of any format; a head beside it is left out."""
        return cls.on_encoder(read, {})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a Hugging Face directory of a WavLMModel."""
        checkpoint.write(Path(folder), self.config, self.encoder_tensors())

    def forward(
        self, input_values: Waveforms, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> WavLMOutput:
        """Return the encoder's output for prepared waveforms: 1-D tensors, or (B, S) padded on the right.

        attention_mask: (B, S), 0 for padding. output_hidden_states: True for those of all layers.
        """
        waveforms = utterances(input_values, attention_mask, self.config.receptive_field)
        lengths = [self.config.frames(len(waveform)) for waveform in waveforms]
        if not output_hidden_states:
            return WavLMOutput(padded(last(self.wavlm(waveforms)), lengths), torch.tensor(lengths))
        states = tuple(padded(layer, lengths) for layer in self.wavlm(waveforms))
        return WavLMOutput(states[-1], torch.tensor(lengths), states)


def last(states: Iterator[Tensor]) -> Tensor:
    """Return the last of the states without keeping the others."""
    for state in states:
        output = state
    return output


def located(name: str | Path, revision: str | None) -> Path:
    """Return the checkpoint's place: the path itself if there is something, else the downloaded repository's folder.

    Raises UserError where there is neither.
    """
    files = find_files(str(name), revision)
    return files.weights or files.folder


def changed(config: WavLMConfig, changes: Mapping[str, Any]) -> WavLMConfig:
    """Return a configuration with other fields, and the class that wrote it forgotten.

    changes: its fields, and problem_type; num_labels stands for id2label with numbered names. The keys of id2label may
    be text, as a JSON file has them.

    Raises UserError for a field that there is not, and for a wrong value.
    """
    values, extra = dict(changes), dict(config.extra)
    extra.pop("architectures", None)
    if "problem_type" in values:
        extra["problem_type"] = values.pop("problem_type")
    count = values.pop("num_labels", None)
    labels = labels_of(values | {"num_labels": count})
    if count is not None and (not labels or count != len(labels["id2label"])):
        raise UserError(f"num_labels is {count!r}; expected a whole number, that of the names where id2label has some.")
    values |= labels
    if unknown := sorted(values.keys() - vars(config).keys()):
        raise UserError(f"A WavLM's configuration has no field {unknown[0]}; check its spelling.")
    if "id2label" in values:
        values.setdefault("label2id", None)
    return with_values(config, {"extra": tuple(sorted(extra.items()))} | values)
