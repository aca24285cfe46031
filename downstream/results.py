"""The record of a run: typed, versioned, enough to rebuild the score; and reading records back."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from upstream.base import Upstream
from upstream.errors import MendableError
from upstream.files import write_atomically

SCHEMA = 3
REPOSITORY = Path(__file__).resolve().parent.parent


class Part(BaseModel):
    """A part of the record; keys that are not described do not exist."""

    model_config = ConfigDict(extra="forbid")


class Primary(Part):
    """The score of the leaderboard."""

    name: str = Field(description="which of the metrics")
    value: float = Field(description="mean over folds and seeds")
    low: float | None = Field(description="lower end of the 95 % interval; null where there is none to be had")
    high: float | None = Field(description="upper end of the 95 % interval; null where there is none to be had")
    interval: str = Field(description="how the interval was found, or why not")
    higher_is_better: bool


class RecipeRecord(Part):
    """The recipe as it was carried out."""

    name: str
    version: int
    protocol: str
    resolved: dict[str, Any] = Field(description="every field, after overrides")
    overrides: list[str] = Field(description="what the command line changed, key=value")


class UpstreamRecord(Part):
    """The upstream, down to its weights."""

    name: str
    fingerprint: str = Field(description="digest of everything its states depend on")
    layers: int = Field(description="hidden states, the input of the first block included")
    dim: int
    stride: int = Field(description="samples between two frames")
    dtype: str
    random_init: bool = Field(description="whether the weights are untrained")
    source: str = Field(description="what was loaded")
    format: str = Field(description="what kind of checkpoint it was recognised as")
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


class SplitRecord(Part):
    """What one part of a split holds."""

    utterances: int
    seconds: float
    speakers: int
    labels: dict[str, int] = Field(description="utterances of each class, where classes are learned")
    words: int | None = Field(description="of the transcripts, where these are learned; null elsewhere")


class CorpusRecord(Part):
    """The corpus as it was found."""

    name: str
    title: str
    licence: str
    source: str
    revision: str | None
    synthetic: bool = Field(description="whether the speech comes from a synthesiser")
    fingerprint: str = Field(description="digest of every row, audio included")
    label_column: str = Field(description="what was learned: a column of labels, text or speaker")
    coverage: str = Field(description="how much of the published corpus was found")
    used: SplitRecord = Field(description="what the recipe uses of it")
    split_rule: str
    notes: list[str]


class FoldRecord(Part):
    """One fold: what it holds, and what the test gave."""

    name: str
    train: SplitRecord
    dev: SplitRecord
    test: SplitRecord
    metrics: dict[str, float] = Field(description="of the first layer's chosen heads, mean over seeds")
    chance: float = Field(description="the primary score of knowing nothing")


class ErrorsRecord(Part):
    """The word errors of a test."""

    substitutions: int
    deletions: int
    insertions: int
    reference_length: int = Field(description="words of the references")


class TrialsRecord(Part):
    """The trials of a test."""

    trials: int
    targets: int = Field(description="trials of one speaker")
    rule: str = Field(description="where they come from")
    threshold: float = Field(description="the score at which both kinds of errors are equally frequent")


class HeadRecord(Part):
    """A head that development chose, for one fold, seed and layer; the test set was scored once, for it."""

    fold: str
    seed: int
    layer: int | None = Field(description="the only layer it reads; null for the weighted sum")
    lr: float = Field(description="the learning rate that development chose")
    step: int = Field(description="the step that development chose")
    development: float = Field(description="the development score that chose them")
    metrics: dict[str, float]
    layer_weights: list[float]
    confusion: list[list[int]] | None = Field(
        default=None, description="of classification: counts, a row per true class"
    )
    errors: ErrorsRecord | None = Field(default=None, description="of recognition")
    trials: TrialsRecord | None = Field(default=None, description="of verification")


class PointRecord(Part):
    """One point of the sweep on one fold; the grid of all of them says what the choice was made from."""

    fold: str
    lr: float
    seed: int
    layer: int | None = Field(description="null for the weighted sum")
    step: int = Field(description="the best step; 0 where no evaluation counted")
    development: float | None = Field(description="the development score there; null where no evaluation counted")
    curve: list[tuple[int, float | None, float | None]] = Field(
        description="step, mean training loss since the one before and development score of every evaluation; null "
        "where they are not finite"
    )
    diverged: int | None = Field(description="the step at which it was given up; null where it was not")
    chosen: bool


class LayerScore(Part):
    """The primary metric on one layer."""

    layer: int | None = Field(description="null for the weighted sum")
    value: float = Field(description="mean over folds and seeds")
    low: float | None = Field(description="lower end of the 95 % interval; null where there is none to be had")
    high: float | None = Field(description="upper end of the 95 % interval; null where there is none to be had")
    interval: str = Field(description="how the interval was found, or why not")
    by_seed: dict[int, float] = Field(description="mean over folds for each seed")


class StatesRecord(Part):
    """How the upstream's states reached the heads."""

    mode: str = Field(description="means or frames, through the store; off: computed while heads were learned")
    codec: str | None = Field(description="how they lie on disk; null where they do not")
    bytes: int = Field(description="what all of them take on disk, as estimated")


class Timing(Part):
    """Wall seconds of each phase; of a run that was resumed, of its last process alone."""

    reading: float = Field(description="reading the corpus and digesting its audio")
    extraction: float = Field(description="upstream and store")
    training: float
    evaluation: float
    audio_seconds: float = Field(description="audio of the utterances used")
    extracted_audio_seconds: float = Field(
        description="audio that the upstream heard for this run, repetitions counted"
    )


class Result(Part):
    """result.json."""

    schema_version: int = Field(default=SCHEMA, alias="schema", description="of this type; raised when it changes")
    task: str
    recipe: RecipeRecord
    upstream: UpstreamRecord
    corpus: CorpusRecord
    states: StatesRecord
    learned: str = Field(description="digest of everything that the heads depend on; the way of testing is not in it")
    seeds: dict[str, list[int]] = Field(description="of the heads' first weights, and of the order of utterances")
    classes: list[str] = Field(description="of classification; empty elsewhere")
    primary: Primary
    metrics: dict[str, float] = Field(description="of the first layer, means over folds and seeds")
    chance: float = Field(description="the primary score of knowing nothing, mean over folds")
    chance_means: str = Field(description="how that would come about")
    folds: list[FoldRecord]
    layers: list[LayerScore] = Field(description="every layer that was asked for; the first one's score is primary")
    heads: list[HeadRecord] = Field(description="what development chose, for each fold, seed and layer")
    grid: list[PointRecord] = Field(description="everything that was learned")
    selected: dict[str, list[float]] = Field(description="lr and step of the first layer's heads, in their order")
    layer_weights: list[float] = Field(description="of the first layer's heads, mean over folds and seeds")
    timing: Timing
    environment: dict[str, str]
    command: str
    caveats: list[str] = Field(description="what a reader of the score should know")

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


def write_result(path: Path, result: Result) -> None:
    """Write result.json, whole or not at all."""
    write_atomically(path, (result.model_dump_json(by_alias=True, indent=2) + "\n").encode())


def read_result(path: Path) -> Result:
    """Read a record back; raises MendableError where it is damaged or of another version."""
    try:
        return Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise MendableError(
            f"{path} is not a record of schema {SCHEMA} ({where}: {fault['msg']}). Run the command again with --fresh."
        ) from error


def slug(name: str) -> str:
    """A name as a folder: whatever is no letter, digit, dot, dash or underscore becomes two underscores."""
    return re.sub(r"[^\w.-]+", "__", name.strip("/."))


def environment(device: torch.device) -> dict[str, str]:
    """Versions, the upstream's device and state of the source; no host name."""
    record = {
        "python": platform.python_version(),
        "system": platform.system(),
        "device": device.type,
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        "git": git_revision(),
    }
    if device.type == "cuda":
        record["gpu"] = torch.cuda.get_device_name(device)
    for package in ("wavprobe", "torch", "torchaudio", "numpy", "transformers", "jiwer", "flashlight-text", "kenlm"):
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            continue
    return record


def processor() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def git_revision() -> str:
    """Commit of the harness, "-dirty" behind it where files were changed; "unknown" outside a checkout."""
    try:
        revision = _git("rev-parse", "HEAD")
        return revision + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
