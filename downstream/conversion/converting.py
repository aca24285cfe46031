"""One command for every conversion: what a source is decides what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from downstream.conversion.convertible import ConvertibleHead
from downstream.conversion.from_s3prl import head_of_run
from downstream.conversion.head_files import write_head
from downstream.conversion.s3prl_run import is_s3prl_run, read_run
from downstream.conversion.task_models import write_task_model
from downstream.conversion.verifying import tones
from downstream.data import recordings_named
from downstream.prediction import AppliedHeads, applied_heads
from downstream.results import HEADS, RECORD, is_file_of_heads
from downstream.tasks import family_of
from upstream.errors import UserError
from upstream.text import counted
from upstream.wavlm import convert as encoders
from upstream.weight_files import read_weights

ENDING = Path(HEADS).suffix


@dataclass(frozen=True)
class Converted:
    """What was written, in a sentence; notes: what was assumed, and what was left behind."""

    sentence: str
    notes: tuple[str, ...]


def convert(
    source: Path,
    to: Path,
    *,
    upstream: str | None = None,
    recipe: str | None = None,
    labels: Path | None = None,
    head: str | None = None,
    audio: Sequence[str] = (),
    encoder_alone: bool = False,
) -> Converted:
    """Convert a checkpoint, an s3prl run or a head of this harness; see `wavprobe convert --help`.

    Raises UserError for what cannot be read, for what the destination cannot have, and for arguments of another source.
    """
    if is_run_here(source):
        refuse_given(source, "a head of this harness", {"-d": recipe, "--labels": labels, "--encoder": encoder_alone})
        return of_run_here(source, to, upstream, head, audio)
    refuse_folder_of_s3prl(source)
    content = None if source.is_dir() or not source.exists() else read_weights(source)
    if content is None or encoder_alone or not is_s3prl_run(content):
        given = {"-u": upstream, "-d": recipe, "--labels": labels, "--head": head, "--audio": list(audio)}
        refuse_given(source, "an encoder", given)
        return of_encoder(source, to)
    refuse_given(source, "an s3prl run", {"--head": head})
    return of_s3prl(source, content, to, upstream, recipe, labels, audio)


def is_run_here(source: Path) -> bool:
    """Return True for the folder of a run, its record, and a file of heads."""
    if source.is_dir():
        return (source / RECORD).is_file()
    if source.name == RECORD:
        return True
    return source.suffix == ENDING and is_file_of_heads(source)


def refuse_folder_of_s3prl(source: Path) -> None:
    """Raise UserError for the folder of an s3prl run, which has several checkpoints of one head."""
    if not source.is_dir() or (source / "config.json").exists():
        return
    if found := sorted(path.name for path in source.glob("*.ckpt")):
        best = next((name for name in found if "best" in name), found[-1])
        raise UserError(
            f"{source} has {counted(len(found), 'checkpoint')} and no config.json, as the folder of an s3prl run has "
            f"them; name one: {source / best}"
        )


def refuse_given(source: Path, what: str, given: dict[str, Any]) -> None:
    """Raise UserError for an argument that has no meaning for what a source is."""
    if unfit := [flag for flag, value in given.items() if value]:
        raise UserError(f"{source} is {what}, for which {unfit[0]} has no meaning; leave it out.")


def of_encoder(source: Path, to: Path) -> Converted:
    """Convert the checkpoint of an encoder to a Hugging Face directory."""
    if to.suffix == ENDING:
        raise UserError(f"{source} is an encoder without a head; name a folder instead of {to}.")
    return Converted(*encoders.converted(source, to))


def of_s3prl(
    source: Path,
    content: dict[str, Any],
    to: Path,
    upstream: str | None,
    recipe: str | None,
    labels: Path | None,
    audio: Sequence[str],
) -> Converted:
    """Convert an s3prl run to a file of heads, or to a task model."""
    found = head_of_run(read_run(source, content), upstream, recipe, labels)
    if to.suffix == ENDING:
        refuse_given(source, "written as a head, which computes what it did", {"--audio": list(audio)})
        about = write_head(found, to)
        (name,) = about.heads
        sentence = f"Wrote the head {name} of {about.recipe['name']} on {found.upstream.name} to {to}."
        return Converted(sentence, found.convertible().notes)
    return task_model(found.convertible(), to, audio)


def of_run_here(source: Path, to: Path, upstream: str | None, name: str | None, audio: Sequence[str]) -> Converted:
    """Convert a head of this harness to a task model."""
    if to.suffix == ENDING:
        raise UserError(
            f"wavprobe export {source} {to} writes heads of this harness as a file; convert writes folders."
        )
    applied = applied_heads(source, [name] if name else (), upstream, device="cpu")
    if len(applied.heads) > 1:
        raise UserError(
            f"{source} has {len(applied.heads)} heads that answer together, and a task model has one: name it with "
            f"--head, such as --head {next(iter(applied.heads))}."
        )
    return task_model(convertible(applied), to, audio)


def convertible(applied: AppliedHeads) -> ConvertibleHead:
    """Return the one head that was opened, for whoever writes it in another form."""
    ((name, own),) = applied.heads.items()
    about, family = applied.about, family_of(applied.recipe)
    outputs = about.folds[about.heads[name].fold].outputs
    notes = [f"Head {name} of {applied.recipe.name}."]
    if about.upstream.dtype != "float32":
        notes.append(f"The head learned from states in {about.upstream.dtype}; the encoder is written in float32.")
    return ConvertibleHead(
        title=f"The head {name}",
        head=own,
        upstream=applied.upstream,
        outputs=outputs or None,
        effects=applied.recipe.corpus.effects,
        task_model=partial(family.task_model, own),
        notes=tuple(notes),
    )


def task_model(head: ConvertibleHead, to: Path, audio: Sequence[str]) -> Converted:
    """Write a task model and say how it agrees with the head."""
    written = write_task_model(head, to, waveforms(audio) or tones())
    return Converted(f"Wrote a {written.name} to {written.folder}. {written.agreement.sentence}", written.notes)


def waveforms(paths: Sequence[str]) -> list[Tensor]:
    """Return the samples of recordings, (S,) at 16 kHz; raise UserError for what is no audio."""
    if not paths:
        return []
    return [one.item.audio.load() for one in recordings_named(list(paths), progress=False).recordings]
