"""The recipe of a pre-training: speech, a model, and stages of learning, as typed data."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from downstream.recipes.finetuning import share_of_updates
from downstream.recipes.sections import Closed, Count, Name, Number, PositiveNumber, Seconds, Seed, Whole

Probability = Annotated[Number, Field(ge=0, le=1)]
Share = Annotated[Number, AfterValidator(share_of_updates), Field(ge=0)]
Speed = Annotated[Number, Field(ge=0.5, le=2.0)]
Layer = Annotated[Whole, Field(ge=0, le=1000)]
Clusters = Annotated[Whole, Field(ge=2, le=10_000)]


class SpeechSource(Closed):
    """One corpus that speech is taken from."""

    corpus: str = Field(description="a corpus of the harness; `manifest` is any folder with a manifest.csv")
    name: Name | None = Field(default=None, description="in --data NAME=DIR; null: the corpus's own")
    parts: tuple[Name, ...] = Field(
        default=(), description="parts or splits of the corpus to learn from; empty: all of it"
    )
    weight: PositiveNumber = Field(default=1.0, description="how often a second of it is drawn, relative to others")
    speeds: Annotated[tuple[Speed, ...], Field(min_length=1, max_length=16)] = Field(
        default=(1.0,), description="every recording is also played at these speeds; pitch and formants move along"
    )
    optional: bool = Field(default=False, description="left out, with a note, where no folder of it is given")

    @property
    def called(self) -> str:
        """The name that --data and messages use."""
        return self.name or self.corpus


class HeldBack(Closed):
    """Speech that is not learned from: whole speakers, the first ones by a digest of their names."""

    seconds: Seconds = Field(default=120.0, description="of each source, at its own speed; at most half its speakers")
    sources: tuple[Name, ...] = Field(default=(), description="names of sources; empty: those of the largest weight")
    window: Seconds = Field(default=4.0, description="length of the windows they are measured in")


class Target(Closed):
    """One codebook: k-means of acoustic features, or of a layer of an earlier model."""

    features: Literal["mfcc", "log_mel", "pitch", "prosody", "layer"]
    clusters: Clusters
    layer: Layer | None = Field(default=None, description="of `features: layer`: 0 is the input of the first block")
    model: str | None = Field(
        default=None, description="of `features: layer`: any upstream; null: the model of the stage before"
    )

    @model_validator(mode="after")
    def layer_that_is_named(self) -> Target:
        if (self.layer is not None) != (self.features == "layer"):
            raise ValueError("`layer` goes with `features: layer`, and that needs one")
        if self.model is not None and self.features != "layer":
            raise ValueError("`model` goes with `features: layer`")
        return self

    @property
    def called(self) -> str:
        """A name for tables: mfcc-100, layer4-200."""
        return f"{self.features if self.layer is None else f'layer{self.layer}'}-{self.clusters}"


class MaskedPredictionSettings(Closed):
    """Predict the targets of masked frames from the last layer (Hsu et al. 2021, HuBERT; Chen et al. 2022, WavLM)."""

    kind: Literal["masked_prediction"] = "masked_prediction"
    inner: tuple[Layer, ...] = Field(
        default=(), description="layers that predict them too, with heads of their own (Wang et al. 2022, ILS-SSL)"
    )
    logits: Literal["cosine", "linear"] = Field(
        default="cosine", description="cosine similarity to learned codes, as in WavLM, or a linear softmax"
    )
    projection: Count = Field(default=256, description="width in which cosines are computed")
    temperature: PositiveNumber = Field(default=0.1, description="by which cosines are divided")
    masked: Annotated[Number, Field(ge=0)] = Field(default=1.0, description="weight of the loss on masked frames")
    unmasked: tuple[Probability, Probability] = Field(
        default=(0.0, 0.0), description="weight of the loss on unmasked frames, at the first and the last update"
    )

    @field_validator("inner")
    @classmethod
    def inner_layers_once(cls, inner: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(inner)) < len(inner):
            raise ValueError(f"a layer is listed twice: {list(inner)}")
        return inner


class ContrastiveSettings(Closed):
    """Tell the quantised features of a masked frame from those of others (Baevski et al. 2020, wav2vec 2.0)."""

    kind: Literal["contrastive"] = "contrastive"
    temperature: tuple[PositiveNumber, PositiveNumber, PositiveNumber] = Field(
        default=(2.0, 0.999995, 0.5), description="of the Gumbel softmax: at first, its factor an update, at least"
    )


class MaskSettings(Closed):
    """Spans of frames that the encoder does not see."""

    probability: Probability = Field(default=0.8, description="spans x length / frames; spans overlap, 0.8 masks half")
    length: Count = Field(default=10, description="frames of a span")


class MixingSettings(Closed):
    """A second speaker, or noise, over a part of some windows; their targets stay (WavLM's utterance mixing)."""

    probability: Probability = Field(default=0.2, description="share of the windows that are mixed")
    noise: Probability = Field(default=0.5, description="share of these that get noise, the others a second speaker")
    longest: Probability = Field(default=0.5, description="of the window; at least a tenth of it is mixed")
    speaker_level: tuple[Number, Number] = Field(
        default=(-5.0, 5.0), description="range of the ratio of speech to second speaker, dB"
    )
    noise_level: tuple[Number, Number] = Field(
        default=(-5.0, 20.0), description="range of the ratio of speech to noise, dB"
    )


class BatchSettings(Closed):
    """What one update learns from."""

    seconds: Seconds = Field(
        default=24.0, description="of audio in a micro-batch, over all processes: as many windows as fit"
    )
    windows: Annotated[tuple[Seconds, ...], Field(min_length=1)] = Field(
        default=(2.0, 4.0, 4.0, 6.0), description="lengths that are drawn, one for all windows of a micro-batch"
    )
    accumulate: Count = Field(default=1, description="micro-batches of an update")


class DescentSettings(Closed):
    """AdamW and its schedule: a linear warm-up, then linear to `last`."""

    lr: PositiveNumber = 2e-3
    last: Probability = Field(default=0.0, description="learning rate at the end, as a share of lr")
    warmup: Share = Field(default=0.06, description="share of the updates over which the learning rate rises")
    betas: tuple[Probability, Probability] = (0.9, 0.98)
    epsilon: PositiveNumber = 1e-6
    weight_decay: Annotated[Number, Field(ge=0)] = Field(default=0.01, description="of matrices alone")
    clip: PositiveNumber = Field(default=1.0, description="largest norm of the gradient")


class Stage(Closed):
    """A stretch of updates towards the same targets; weights go on from the stage before."""

    steps: Count
    targets: tuple[Target, ...] = Field(default=(), description="of masked prediction")
    objective: Annotated[MaskedPredictionSettings | ContrastiveSettings, Field(discriminator="kind")]
    optimizer: DescentSettings = DescentSettings()
    batch: BatchSettings | None = Field(default=None, description="what differs from the recipe's batch")
    seed_weights: bool = Field(default=False, description="begin with weights drawn anew, as HuBERT's iterations do")

    @model_validator(mode="after")
    def targets_that_fit(self) -> Stage:
        if bool(self.targets) != (self.objective.kind == "masked_prediction"):
            raise ValueError("masked_prediction needs `targets`, and contrastive learning has none")
        twice = [name for name, count in Counter(target.called for target in self.targets).items() if count > 1]
        if twice:
            raise ValueError(f"the target {twice[0]} is listed twice")
        return self


def with_batch(stage: Any, common: dict[str, Any]) -> Any:
    """Return the content of a stage, its batch completed by the common one."""
    own = stage.get("batch") if isinstance(stage, dict) else None
    return stage | {"batch": common | own} if isinstance(own, dict) else stage


class ProbeSettings(Closed):
    """A recipe of the harness that the frozen encoder is scored on now and then."""

    recipe: str
    every: Count = Field(description="updates between two scores")
    overrides: tuple[str, ...] = Field(default=(), description="of that recipe, as key=value")


class WatchSettings(Closed):
    """What is measured on the way, and when a warning is due."""

    every: Count = Field(default=200, description="updates between two measurements on held-back speech")
    probe: ProbeSettings | None = None


class PretrainingRecipe(Closed):
    """How a model is pre-trained: its speech, its size, and what it learns in which order."""

    name: str = Field(pattern=r"^\w[\w-]*(/\w[\w-]*)*$", max_length=100)
    version: Count
    title: str
    seed: Seed = 0
    speech: Annotated[tuple[SpeechSource, ...], Field(min_length=1)]
    held_back: HeldBack = HeldBack()
    model: dict[str, Any] = Field(description="fields of the configuration, with Hugging Face's names")
    mask: MaskSettings = MaskSettings()
    mixing: MixingSettings = MixingSettings()
    batch: BatchSettings = BatchSettings()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the encoder's products, by autocast; losses are in float32"
    )
    saved: Literal["float32", "float16"] = Field(default="float32", description="of the weights that are written")
    compile: bool = Field(default=False, description="torch.compile what follows attention in every block")
    watch: WatchSettings = WatchSettings()

    @model_validator(mode="before")
    @classmethod
    def batches_of_stages(cls, content: Any) -> Any:
        """Complete the batch of every stage by what the recipe's says, so that a record has all of it."""
        if not isinstance(content, dict):
            return content
        common, stages = content.get("batch"), content.get("stages")
        if not (isinstance(common, dict) and isinstance(stages, list | tuple)):
            return content
        return content | {"stages": [with_batch(stage, common) for stage in stages]}

    @model_validator(mode="after")
    def stages_that_follow(self) -> PretrainingRecipe:
        first = self.stages[0]
        if any(target.features == "layer" and target.model is None for target in first.targets):
            raise ValueError("stages.0: no stage goes before it; name a `model` for the targets of its layer")
        for batch in map(self._batch_of, self.stages):
            if max(batch.windows) > batch.seconds:
                raise ValueError(f"a window of {max(batch.windows):g} s is longer than a batch of {batch.seconds:g} s")
        names = [source.called for source in self.speech]
        if len(set(names)) < len(names):
            raise ValueError("speech: two sources have the same name; give each one a `name`")
        if strange := set(self.held_back.sources) - set(names):
            raise ValueError(
                f"held_back.sources: there is no speech called {min(strange)}; there are {', '.join(names)}"
            )
        return self

    @property
    def steps(self) -> int:
        """Updates of all stages."""
        return sum(stage.steps for stage in self.stages)

    def batch_at(self, place: int) -> BatchSettings:
        """Return the batch of the stage that an update is in; updates are counted from one."""
        ends = accumulate(stage.steps for stage in self.stages)
        stage = next((stage for stage, end in zip(self.stages, ends, strict=True) if place <= end), self.stages[-1])
        return self._batch_of(stage)

    @property
    def longest_window(self) -> float:
        """The longest window of all stages, in s."""
        return max(max(self._batch_of(stage).windows) for stage in self.stages)

    def _batch_of(self, stage: Stage) -> BatchSettings:
        return stage.batch or self.batch
