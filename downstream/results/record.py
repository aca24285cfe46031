"""The record of a run: typed, versioned, enough to rebuild its scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from downstream.results import schema3
from downstream.results.integrity import digest_of
from downstream.tasks import Metric
from upstream.base import Upstream
from upstream.errors import UserError
from upstream.files import write_atomically
from upstream.json_file import read_json_object

SCHEMA = 4
DIGEST = "digest"  # key of result.json: the digest of all other keys
FIX = "Run the command that made it again, or get the run's whole folder again from whoever made it."


class Section(BaseModel):
    """A part of the record; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Score(Section):
    """One metric on one test part."""

    part: str = Field(description="the corpus's name of the test part; test where the recipe names none")
    metric: str
    value: float = Field(description="mean over folds and seeds")
    low: float | None = Field(description="lower end of the 95 % interval; null where there is none")
    high: float | None = Field(description="upper end of the 95 % interval; null where there is none")
    interval: str = Field(description="what the interval holds and what it does not, or why there is none")
    chance: float | None = Field(description="chance level, mean over folds; null where unknown")
    by_seed: dict[int, float] = Field(description="mean over folds for each seed")


class MetricRecord(Section):
    """Title and format of a metric, so that a record can be shown without the code of its family."""

    title: str
    higher_is_better: bool
    percent: bool = Field(description="true for a share, written in percent")

    @property
    def metric(self) -> Metric:
        """The metric as far as writing it goes; what it is computed from stays with the family."""
        return Metric(self.title, self.higher_is_better, percent=self.percent)

    def written(self, value: float) -> str:
        """Return the value as tables show it, without a unit."""
        return self.metric.written(value)

    @property
    def unit(self) -> str:
        return self.metric.unit

    @property
    def heading(self) -> str:
        return self.metric.heading

    @property
    def scale(self) -> float:
        return self.metric.scale


class Primary(Section):
    """The score of the leaderboard: the recipe's primary metric on its first layer setting and test part."""

    name: str = Field(description="the metric")
    part: str = Field(description="the test part")
    value: float = Field(description="mean over folds and seeds")
    low: float | None = Field(description="lower end of the 95 % interval; null where there is none")
    high: float | None = Field(description="upper end of the 95 % interval; null where there is none")
    interval: str = Field(description="what the interval holds and what it does not, or why there is none")
    higher_is_better: bool


class RecipeRecord(Section):
    """The recipe as it was run."""

    name: str
    version: int
    protocol: str
    resolved: dict[str, Any] = Field(description="every field, after overrides")
    overrides: list[str] = Field(description="what the command line changed, key=value")


class UpstreamRecord(Section):
    """The upstream, down to its weights."""

    name: str
    fingerprint: str = Field(description="digest of everything its states depend on")
    layers: int = Field(description="hidden states, the input of the first block included")
    dim: int
    stride: int | float = Field(description="samples between two frames")
    dtype: str
    random_init: bool = Field(description="true for untrained weights")
    source: str = Field(description="what was loaded")
    format: str = Field(description="detected format of the checkpoint")
    revision: str | None = Field(description="commit of the hub's repository; null where none could be looked up")
    file_sha256: str | None = Field(description="digest of the weight file")
    notes: list[str]

    @classmethod
    def of(cls, upstream: Upstream) -> UpstreamRecord:
        provenance = upstream.provenance
        return cls(
            name=upstream.name,
            fingerprint=upstream.fingerprint,
            layers=upstream.num_layers,
            dim=upstream.dim,
            stride=upstream.stride,
            dtype=upstream.dtype_name,
            random_init=provenance.random_init,
            source=provenance.source,
            format=provenance.format,
            revision=provenance.revision,
            file_sha256=provenance.file_sha256,
            notes=list(provenance.notes),
        )


class SplitRecord(Section):
    """Content of one part of a split."""

    utterances: int
    seconds: float
    speakers: int
    labels: dict[str, int] = Field(description="utterances of each class; empty where the task has no classes")
    words: int | None = Field(description="words of the transcripts; null where the task has none")

    @property
    def speakers_known(self) -> str:
        """The number of speakers in words."""
        return f"{self.speakers:,} speakers" if self.speakers else "speakers not known"


class CorpusRecord(Section):
    """The corpus as it was found."""

    name: str
    title: str
    licence: str
    source: str
    revision: str | None
    synthetic: bool = Field(description="true for synthesised speech")
    fingerprint: str = Field(description="digest of every row, audio included")
    label_column: str = Field(description="what was learned: a column of labels, text or speaker")
    coverage: str = Field(description="how much of the published corpus was found")
    used: SplitRecord = Field(description="what the recipe uses of it")
    split_rule: str
    speaker_disjoint: bool | None = Field(
        default=None,
        description="true where every speaker is known and none is in training and test; null in earlier records",
    )
    notes: list[str]


# part of the test set -> metric -> value
Metrics = dict[str, dict[str, float]]


class FoldRecord(Section):
    """One fold: its data and its scores."""

    name: str
    train: SplitRecord
    dev: SplitRecord
    test: SplitRecord
    parts: dict[str, SplitRecord] = Field(description="the test set by its parts, the primary one first")
    metrics: Metrics = Field(description="by test part; of the first layer setting's chosen heads, mean over seeds")
    chance: float = Field(description="chance level of the primary score")


class HeadRecord(Section):
    """A head that development chose, for one fold, seed and layer setting; it was tested once."""

    fold: str
    seed: int
    setting: int | str | None = Field(
        description="the layer setting that it was chosen for: a layer, null for the weighted sum, best"
    )
    layer: int | None = Field(description="the only layer it reads; null for the weighted sum")
    lr: float | None = Field(description="the learning rate that development chose; null where nothing is learned")
    step: int = Field(description="the step that development chose; 0 where nothing is learned")
    development: float = Field(description="the development score at that step")
    metrics: Metrics = Field(description="by test part, the primary one first")
    layer_weights: list[float]
    details: dict[str, dict[str, Any]] = Field(description="by test part, fields of its family")


class FinalRecord(Section):
    """A head that learned from all data, test set included, to be used; final.safetensors holds it.

    No data are left to test it on. The primary score estimates how good it is, from heads that learned from less.
    """

    lr: float | None = Field(description="the learning rate that development chose most often")
    seed: int
    layer: int | None = Field(description="the only layer it reads; null for the weighted sum")
    step: int = Field(description="the median of the steps that development chose")
    utterances: int
    seconds: float


class FitRecord(Section):
    """One config of the sweep on one fold; the grid has all of them."""

    fold: str
    lr: float | None = Field(description="null where nothing is learned")
    seed: int
    layer: int | None = Field(description="null for the weighted sum")
    step: int = Field(description="the best step; 0 where no evaluation counted or nothing is learned")
    development: float | None = Field(description="the development score there; null where no evaluation counted")
    curve: list[tuple[int, float | None, float | None]] = Field(
        description="step, mean training loss since the one before and development score of every evaluation; null "
        "where they are not finite"
    )
    diverged: int | None = Field(description="the step at which training stopped; null where it did not diverge")
    chosen: bool


class LayerScores(Section):
    """All scores on one layer setting."""

    layer: int | str | None = Field(description="null for the weighted sum; best for the one that development chose")
    scores: list[Score] = Field(description="every metric on every test part, those of the primary part first")

    def score(self, metric: str, part: str | None = None) -> Score:
        """Return one score; part: by default the primary one."""
        wanted = self.scores[0].part if part is None else part
        return next(one for one in self.scores if (one.part, one.metric) == (wanted, metric))


class EncoderRecord(Section):
    """An encoder that was fine-tuned with one head, and is kept beside the record as a Hugging Face directory."""

    folder: str = Field(description="below the run's: encoders/fold1-seed0")
    fingerprint: str = Field(description="digest of everything its states depend on, as of any upstream")
    file_sha256: str = Field(description="digest of its weight file")


class FineTuning(Section):
    """The encoder's part of a fine-tuned run; `upstream` is what it was before, and the recipe has the settings."""

    parameters: int = Field(description="numbers in the encoder")
    learned: int = Field(description="numbers in it that learned")
    processes: int = Field(description="processes that shared each update")
    encoders: dict[str, EncoderRecord] = Field(description="by the head that each learned with: fold1-seed0")


class FoldOutputs(Section):
    """The meaning of the outputs of a fold's heads."""

    outputs: list[str] = Field(description="their names: classes, characters, speakers")
    facts: dict[str, Any] = Field(default={}, description="further values of the family")


class Origin(Section):
    """The run of another program that learned a head."""

    program: str = Field(description="s3prl")
    task: str | None = Field(description="as that program calls it; null where its file does not say")
    step: int = Field(description="of its training")
    development: float | None = Field(description="its best development score, in that program's own scale")
    file_sha256: str = Field(description="digest of the file that was converted")


def in_words(origins: Sequence[Origin]) -> str:
    """Return who learned heads, as what follows "learned by"; nothing for none."""
    found = []
    for one in origins:
        task = "" if one.task is None else f"'s {one.task}"
        found.append(f"{one.program}{task} (step {one.step:,}, file {one.file_sha256[:12]})")
    return ", ".join(found)


class GivenRecord(Section):
    """Heads that were learned before, and were tested alone (--head-from)."""

    origins: list[Origin] = Field(description="of each file; empty where runs of the harness learned them")
    recipe: str = Field(description="that they were learned by, or that has heads like them")
    corpus: str = Field(description="that they were learned from")
    same_audio: bool = Field(description="false where they learned from audio with other effects")


class OptionsRecord(Section):
    """What was asked beside recipe and upstream, as far as it affects scores."""

    seed: int = Field(description="of heads and intervals, and of an untrained upstream that was loaded by name")
    layer: int | None = Field(description="the only layer, where the recipe's sweep lists none (-l); null for none")


class StatesRecord(Section):
    """Source of the states that the heads read."""

    mode: str = Field(
        description="means, statistics or frames, through the store; off: computed while heads were learned"
    )
    codec: str | None = Field(description="number format on disk; null where they are not stored")
    bytes: int = Field(description="estimated size of all of them on disk")


class Timing(Section):
    """Wall seconds of each phase; of a run that was resumed, of its last process alone."""

    reading: float = Field(description="reading the corpus and digesting its audio")
    extraction: float = Field(description="upstream and store")
    training: float
    evaluation: float
    audio_seconds: float = Field(description="seconds of audio of the utterances used")
    extracted_audio_seconds: float = Field(
        description="seconds of audio that the upstream encoded for this run, repetitions counted"
    )


class Result(Section):
    """result.json."""

    schema_version: int = Field(default=SCHEMA, alias="schema", description="of this type; raised when it changes")
    task: str
    recipe: RecipeRecord
    upstream: UpstreamRecord
    corpus: CorpusRecord
    states: StatesRecord
    learned: str = Field(description="digest of everything that the heads depend on, test settings excluded")
    seeds: dict[str, list[int]] = Field(description="of the heads' initial weights, and of the order of utterances")
    details: dict[str, Any] = Field(description="fields of the family")
    metric_types: dict[str, MetricRecord] = Field(description="the metrics of the family, by name")
    select: str = Field(description="the metric of the development score")
    primary: Primary
    chance: float = Field(description="chance level of the primary score, mean over folds")
    chance_means: str = Field(description="what the chance level is the score of")
    folds: list[FoldRecord]
    layers: list[LayerScores] = Field(description="every layer setting; the first one's score is primary")
    heads: list[HeadRecord] = Field(description="heads that development chose, for each fold, seed and layer setting")
    grid: list[FitRecord] = Field(description="every config on every fold")
    layer_weights: list[float] = Field(description="of the first layer setting's heads, mean over folds and seeds")
    layer_norms: list[float] | None = Field(
        default=None, description="mean norm of each layer's states as heads add them up; null in earlier records"
    )
    timing: Timing
    environment: dict[str, str]
    command: str
    caveats: list[str] = Field(description="what a reader of the score should know")
    artifacts: dict[str, str] = Field(
        default={}, description="SHA-256 of the files beside the record, by name; empty in records from before it"
    )

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    options: OptionsRecord | None = Field(
        default=None, description="what was asked beside recipe and upstream; null in earlier records"
    )
    final: FinalRecord | None = Field(
        default=None, description="the head that learned from all data; null where none was asked for (--final)"
    )
    finetuning: FineTuning | None = Field(
        default=None, description="what learned of the encoder; null where it was frozen"
    )
    given: GivenRecord | None = Field(
        default=None, description="where the heads came from that were tested alone; null where this run learned them"
    )

    _folder: Path | None = PrivateAttr(default=None)
    _has_digest: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def scores_that_agree(self) -> Result:
        """Refuse a record whose parts contradict each other, which would be shown as two different results."""
        if not (self.layers and all(layer.scores for layer in self.layers) and self.layer_weights):
            raise ValueError("it has no scores, or no layers")
        if self.layer_norms is not None and len(self.layer_norms) != len(self.layer_weights):
            raise ValueError("layer_norms and layer_weights are not of the same layers")
        named = {self.select, *(score.metric for layer in self.layers for score in layer.scores)}
        if unknown := sorted(named - self.metric_types.keys()):
            raise ValueError(f"metric_types lacks {', '.join(unknown)}")
        first = {(score.part, score.metric): score.value for score in self.layers[0].scores}
        if first.get((self.primary.part, self.primary.name)) != self.primary.value:
            raise ValueError("the primary score is not the one of the first layer setting")
        return self

    @property
    def title(self) -> str:
        """The recipe's title, without its claim where speakers are, or may be, in training and test."""
        title = str(self.recipe.resolved["title"])
        if self.corpus.speaker_disjoint is False:
            return title.replace("speaker-disjoint", "speakers may be shared by training and test")
        return title

    @property
    def folder(self) -> Path | None:
        """The folder that the record was written to or read from; None for one that is not on disk."""
        return self._folder

    @property
    def has_digest(self) -> bool:
        """True for a record as it was written; False for one of a version that wrote no digest, or not on disk."""
        return self._has_digest

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric of the primary test part on the first layer setting, by name."""
        first = self.layers[0].scores
        return {one.metric: one.value for one in first if one.part == self.primary.part}

    def layer_shares(self, weights: Sequence[float]) -> list[float]:
        """Return how much each layer adds to a sum with these weights: weight x norm, as shares that sum to one.

        A layer of twice the norm adds twice as much at the same weight. An earlier record without norms gives the
        weights as they are.
        """
        sizes = [weight * norm for weight, norm in zip(weights, self.layer_norms or [1.0] * len(weights), strict=True)]
        return [size / sum(sizes) for size in sizes] if any(sizes) else list(weights)

    def primary_heads(self) -> list[HeadRecord]:
        """Return the chosen heads of the first layer setting."""
        return [head for head in self.heads if head.setting == self.layers[0].layer]


def write_result(path: Path, result: Result) -> None:
    """Write result.json atomically, with its digest; `result.folder` is the folder afterwards."""
    content = result.model_dump(mode="json", by_alias=True)
    text = json.dumps(content | {DIGEST: digest_of(content)}, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, text.encode() + b"\n")
    result._folder, result._has_digest = path.parent, True


def read_result(path: Path) -> Result:
    """Read a record back, of this schema or of schema 3.

    Raises UserError where it is damaged, was altered, or is of another version.
    """
    content = read_json_object(path, FIX)
    digest = content.pop(DIGEST, None)
    if digest not in (None, digest_of(content)):
        raise UserError(f"{path} was altered after it was written: its digest is that of another content. {FIX}")
    try:
        if content.get("schema") == schema3.SCHEMA:
            content = schema3.upgraded(content)
        if content.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {content.get('schema')!r}")
        result = Result.model_validate(content)
    except (ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
        where, what = "the file", str(error)
        if isinstance(error, ValidationError):
            fault = error.errors()[0]
            where, what = ".".join(str(part) for part in fault["loc"]) or "the file", fault["msg"]
        raise UserError(f"{path} is not a record of schema {SCHEMA} ({where}: {what}). {FIX}") from error
    result._folder, result._has_digest = path.parent, digest is not None
    return result
