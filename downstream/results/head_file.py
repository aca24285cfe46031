"""Files of heads: tensors in safetensors' format, and beside them in its metadata all that applying them needs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from downstream.data import Fold
from downstream.recipes import Options
from downstream.results.anonymous import Anonymous
from downstream.results.record import EncoderRecord, FoldOutputs, Origin, Primary, Result, Section, UpstreamRecord
from downstream.results.run import Run
from downstream.tasks import Task
from upstream.errors import UserError, words_of
from upstream.files import named_in_utf8, require_regular_file
from upstream.json_file import parse_json
from upstream.text import counted

FORMAT: Literal[1] = 1  # of HeadFile.format, for heads of a run
EXTENDED: Literal[2] = 2  # with an origin, or with encoders; earlier versions do not read it
KEY = "wavprobe"  # of the metadata: one key, because safetensors writes several in any order
OLD_KEY = "outputs"  # of the metadata of files from before FORMAT 1, whose record has the rest
FIX = "Export it again from its run (wavprobe export), or get it again from where it came."


class NamedHead(Section):
    """One head of a file; its tensors are called "NAME.weight"."""

    fold: str = Field(description="final where it learned from all data")
    seed: int
    setting: int | str | None = Field(description="the layer setting that it was chosen for; null: the weighted sum")
    layer: int | None = Field(description="the only layer it reads; null for the weighted sum")
    lr: float | None = Field(description="null where nothing is learned")
    step: int
    development: float | None = Field(description="its development score; null for one that learned from all data")


class CorpusNote(Section):
    """The corpus that the heads were learned from, in short."""

    name: str
    title: str
    licence: str
    synthetic: bool


class StatesNote(Section):
    """The states that the heads read, and how the store rounded them."""

    reduction: Literal["means", "statistics", "frames"]
    codec: str | None = Field(description="of frames in the store; null where states were not rounded")


class HeadFile(Section):
    """The metadata of a file of heads."""

    format: Literal[1, 2] = FORMAT
    task: str = Field(description="the family")
    recipe: dict[str, Any] = Field(description="every setting, effects on the audio among them")
    upstream: UpstreamRecord = Field(description="of fine-tuned encoders: what they were before")
    upstream_seed: int = Field(description="of untrained weights")
    states: StatesNote
    corpus: CorpusNote
    score: Primary | None = Field(
        description="of the run; of a head that learned from all data, the estimate; null where none was measured here"
    )
    higher_is_better: bool = Field(description="of the development score")
    folds: dict[str, FoldOutputs]
    heads: dict[str, NamedHead] = Field(min_length=1)
    primary: list[str] = Field(description="the heads whose mean score is the run's, by name")
    origins: list[Origin] = Field(default=[], description="empty where a run of the harness learned the heads")
    encoders: dict[str, EncoderRecord] = Field(
        default={}, description="the fine-tuned encoder of each head, by its name; empty where it was frozen"
    )

    def only(self, names: Collection[str]) -> HeadFile:
        """Return the metadata of some heads alone."""
        heads = {name: head for name, head in self.heads.items() if name in names}
        folds = {name: fold for name, fold in self.folds.items() if name in {head.fold for head in heads.values()}}
        primary = [name for name in self.primary if name in names]
        encoders = {name: own for name, own in self.encoders.items() if name in names}
        return self.model_copy(update={"heads": heads, "folds": folds, "primary": primary, "encoders": encoders})


# ---------------------------------------------------------------- of a run


def described(run: Run, record: Result) -> HeadFile:
    """Return the metadata of a run's heads, as anonymous as its record."""
    given, folds = run.given, run.dataset.split.folds
    outputs = {
        fold.name: given.outputs_of(fold.name) if given else outputs_of(run.task, fold, run.options) for fold in folds
    }
    return of_record(record, outputs, run.plan.reduction, run.options.seed)


def outputs_of(task: Task, fold: Fold, options: Options) -> FoldOutputs:
    """Return the meaning of the outputs of a fold's heads."""
    hidden, own = Anonymous.of(options), task.of_fold(fold.train)
    return FoldOutputs(outputs=hidden.content(list(own.outputs(fold))), facts=hidden.content(dict(own.facts(fold))))


def of_record(record: Result, folds: Mapping[str, FoldOutputs], reduction: str, upstream_seed: int) -> HeadFile:
    """Return the metadata of all heads of a record; reduction: of the states that they read."""
    chosen = {head_name(head.fold, head.seed, head.setting): head for head in record.heads}
    first = record.layers[0].layer
    origins = record.given.origins if record.given else []
    encoders = record.finetuning.encoders if record.finetuning else {}
    return HeadFile(
        format=EXTENDED if encoders or origins else FORMAT,
        origins=origins,
        task=record.task,
        recipe=record.recipe.resolved,
        upstream=record.upstream,
        upstream_seed=upstream_seed,
        states=StatesNote.model_validate({"reduction": reduction, "codec": record.states.codec}),
        corpus=CorpusNote.model_validate(fields_of(record.corpus, CorpusNote)),
        score=record.primary,
        higher_is_better=record.metric_types[record.select].higher_is_better,
        folds=dict(folds),
        heads={name: NamedHead.model_validate(fields_of(head, NamedHead)) for name, head in chosen.items()},
        primary=[name for name, head in chosen.items() if head.setting == first],
        encoders=encoders,
    )


def fields_of(model: Section, kind: type[Section]) -> dict[str, Any]:
    """Return the values of a model's fields that another kind of it has."""
    return {name: getattr(model, name) for name in kind.model_fields}


def head_name(fold: str, seed: int, setting: int | str | None) -> str:
    """Return a head's name in files: fold1-seed0, then -layer6 or -best for a layer setting."""
    layer = "" if setting is None else f"-{setting}" if isinstance(setting, str) else f"-layer{setting}"
    return f"{fold}-seed{seed}{layer}"


def written_heads(tensors: Mapping[str, Tensor], about: HeadFile) -> bytes:
    """Return the content of a file of heads; the same heads give the same bytes."""
    unused = {name for name in ("origins", "encoders") if not getattr(about, name)}  # as earlier versions read it
    content = about.model_dump(mode="json", exclude=unused)
    return save(dict(tensors), metadata={KEY: json.dumps(content, ensure_ascii=False)})


# ---------------------------------------------------------------- read back


class HeadTensors:
    """An opened file of heads, whose tensors are read when they are asked for."""

    def __init__(self, path: Path, opened: Any) -> None:
        """opened: by safetensors."""
        self._path, self._opened = path, opened

    def metadata(self) -> HeadFile | dict[str, FoldOutputs]:
        """Return the metadata; of a file from before FORMAT 1 the outputs by fold, which is all that it has.

        Raises UserError for a file of something else, and for metadata that are damaged or of another version.
        """
        texts = self._opened.metadata() or {}
        if KEY in texts:
            return checked(parse_json(texts[KEY], f"The metadata of {self._path}", FIX), self._path)
        if OLD_KEY in texts:
            outputs = parse_json(texts[OLD_KEY], f"The metadata of {self._path}", FIX)
            try:
                return {fold: FoldOutputs(outputs=names) for fold, names in outputs.items()}
            except (ValidationError, AttributeError) as error:
                raise UserError(f"The outputs in the metadata of {self._path} are not names by fold. {FIX}") from error
        raise UserError(
            f"{self._path} holds {counted(len(self._opened.keys()), 'tensor')} and nothing that says of which heads: "
            "it is not a file of heads. Name a run's folder, or what wavprobe export wrote."
        )

    def of(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one head, by the names of its state_dict; raise UserError where there are none."""
        prefix = f"{name}."
        found = [key for key in self._opened.keys() if key.startswith(prefix)]  # noqa: SIM118  # no mapping
        if not found:
            raise UserError(f"{self._path} has no tensors of the head {name}. {FIX}")
        return {key.removeprefix(prefix): self._opened.get_tensor(key) for key in found}


def is_file_of_heads(path: Path) -> bool:
    """Return True for a safetensors file that says that it holds heads."""
    try:
        with named_in_utf8(path) as name, safe_open(str(name), "pt") as tensors:
            return not {KEY, OLD_KEY}.isdisjoint(tensors.metadata() or {})
    except (SafetensorError, OSError):
        return False


@contextmanager
def opened_heads(path: Path) -> Iterator[HeadTensors]:
    """Open a file of heads; raise UserError where it is none that safetensors can read, or is damaged."""
    require_regular_file(path)
    try:
        with named_in_utf8(path) as name, safe_open(str(name), "pt") as tensors:
            yield HeadTensors(path, tensors)
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({words_of(error)}). {FIX}") from error


def checked(content: Any, path: Path) -> HeadFile:
    """Return typed metadata; raise UserError for another version, and for what contradicts itself."""
    version = content.get("format") if isinstance(content, dict) else None
    if version not in (FORMAT, EXTENDED):
        raise UserError(
            f"The heads of {path} have format {version!r}; this version reads {FORMAT} and {EXTENDED}. Install a "
            "newer one."
        )
    try:
        about = HeadFile.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise UserError(f"The metadata of {path} are damaged ({where}: {fault['msg']}). {FIX}") from error
    if lacking := {head.fold for head in about.heads.values()} - about.folds.keys():
        raise UserError(f"The metadata of {path} do not say what the outputs of {', '.join(lacking)} are. {FIX}")
    for fold, own in about.folds.items():
        if len(set(own.outputs)) < len(own.outputs):
            raise UserError(f"The metadata of {path} give several outputs of {fold} the same name. {FIX}")
    return about
