"""Interrupted pre-trainings end in the bits of those that were not; folders of other trainings are refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_pretraining import CONTRASTIVE, MASKED, SECOND, options_of, pretrained, recipe_of, write_tones

from downstream.pretraining import PretrainingOptions, flow, folder
from downstream.pretraining.flow import Outcome
from downstream.pretraining.folder import OBJECTIVE, QUESTION, RECORD, SNAPSHOT, STAGES, Folder
from downstream.pretraining.learner import StageLearner
from downstream.pretraining.speech import Speech
from downstream.recipes import PretrainingRecipe
from upstream.errors import UserError
from upstream.ranks import Ranks
from upstream.unfinished import UNFINISHED, held

DROPPED = {"hidden_dropout": 0.1, "attention_dropout": 0.1, "feat_proj_dropout": 0.1, "layerdrop": 0.5}
STAGES_OF_ALL = [MASKED | {"steps": 3}, CONTRASTIVE | {"steps": 2}, SECOND | {"steps": 2}]
RECIPE = recipe_of(model=DROPPED, stages=STAGES_OF_ALL, mixing={"probability": 0.5})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return pretrained(RECIPE, corpus, tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True)
def _snapshot_after_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.training.snapshot.SNAPSHOT_SHARE", 1e9)


def interrupting(patched: pytest.MonkeyPatch, place: object, name: str, call: int) -> None:
    """Let one call of a function, counted from one, raise KeyboardInterrupt instead of doing anything."""
    original: Callable[..., Any] = getattr(place, name)
    calls = []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    patched.setattr(place, name, interrupted)


def same(one: Outcome, other: Outcome) -> None:
    """Check that two pre-trainings ended in the same bits, in every stage."""
    for number in range(1, len(STAGES_OF_ALL) + 1):
        for name in ("model.safetensors", OBJECTIVE):
            mine, theirs = (load_file(outcome.folder / STAGES / str(number) / name) for outcome in (one, other))
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[key], theirs[key]) for key in mine), (number, name)
    assert (one.folder / "model.safetensors").read_bytes() == (other.folder / "model.safetensors").read_bytes()
    timed = {"seconds", "command", "environment"}
    assert {key: value for key, value in one.record.items() if key not in timed} == {
        key: value for key, value in other.record.items() if key not in timed
    }


@pytest.mark.parametrize(
    ("where", "name", "call", "learned_after"),
    [
        (StageLearner, "learn", 2, 6),  # within the first stage
        (Folder, "keep_stage", 1, 4),  # after its last update
        (Folder, "keep", 4, 4),  # its model is kept, and no snapshot says so
        (StageLearner, "learn", 4, 4),  # before the first update of the second
        (flow, "record_of", 1, 0),  # after the last stage
        (folder, "write_atomically", 5, 0),  # the model is in its place, and there is no record
        (os, "fsync", 5, None),  # while something is written
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_interrupted_goes_on_to_the_same_bits(
    whole: Outcome, corpus: Path, tmp_path: Path, where: object, name: str, call: int, learned_after: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        interrupting(patched, where, name, call)
        with pytest.raises(KeyboardInterrupt):
            pretrained(RECIPE, corpus, tmp_path)
    assert not list(tmp_path.rglob(RECORD))
    learned = []
    with pytest.MonkeyPatch.context() as patched:
        learn = StageLearner.learn
        patched.setattr(StageLearner, "learn", lambda *given: (learned.append(given), learn(*given))[1])
        again = pretrained(RECIPE, corpus, tmp_path)
    assert learned_after in (None, len(learned))
    assert not again.was_finished
    assert not (again.folder / SNAPSHOT).exists()
    same(again, whole)


SMALL = recipe_of(stages=[CONTRASTIVE | {"steps": 3}])


def begun(corpus: Path, place: Path, recipe: PretrainingRecipe = SMALL, call: int = 3) -> Path:
    """Return the folder of a pre-training that was interrupted before an update."""
    with pytest.MonkeyPatch.context() as patched:
        interrupting(patched, StageLearner, "learn", call)
        with pytest.raises(KeyboardInterrupt):
            pretrained(recipe, corpus, place)
    return place / "results" / recipe.name / "one"


def test_a_damaged_snapshot_is_not_gone_on_from(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = begun(corpus, tmp_path)
    content = bytearray((place / SNAPSHOT).read_bytes())
    content[len(content) // 2] ^= 1
    (place / SNAPSHOT).write_bytes(content)
    again = pretrained(SMALL, corpus, tmp_path)
    assert f"{place / SNAPSHOT} is damaged" in caplog.text
    assert [one["step"] for one in again.record["history"]] == [0, 2, 3]


def test_a_folder_of_another_training_is_refused_and_fresh_discards_it(corpus: Path, tmp_path: Path) -> None:
    place = begun(corpus, tmp_path)
    other = SMALL.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match="other settings or other speech. Add --fresh"):
        pretrained(other, corpus, tmp_path)
    assert (place / SNAPSHOT).is_file()
    done = pretrained(other, corpus, tmp_path, fresh=True)
    assert done.record["recipe"]["seed"] == 1
    with pytest.raises(UserError, match="other settings or other speech. Add --fresh"):
        pretrained(SMALL, corpus, tmp_path)  # a finished one is none of another recipe either


def test_a_finished_one_is_read_back_and_done_again_when_asked(corpus: Path, tmp_path: Path) -> None:
    done = pretrained(SMALL, corpus, tmp_path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StageLearner, "learn", None)
        read = pretrained(SMALL, corpus, tmp_path)
        watched = SMALL.model_copy(update={"title": "Another title"})  # which changes nothing that is learned
        assert pretrained(watched, corpus, tmp_path).was_finished
    assert (read.was_finished, read.record) == (True, done.record)
    again = pretrained(SMALL, corpus, tmp_path, fresh=True)
    assert not again.was_finished
    assert again.record["history"] == done.record["history"]


def test_the_settings_make_the_name_of_the_folder(corpus: Path, tmp_path: Path) -> None:
    first = pretrained(SMALL, corpus, tmp_path, name=None)
    other = pretrained(SMALL.model_copy(update={"seed": 1}), corpus, tmp_path, name=None)
    assert first.folder.parent == other.folder.parent == tmp_path / "results" / "pretrain" / "small"
    assert [one.folder.name.split("-")[0] for one in (first, other)] == ["seed0", "seed1"]


def test_a_folder_with_files_of_others_is_left_alone(corpus: Path, tmp_path: Path) -> None:
    mine = tmp_path / "results" / SMALL.name / "one" / "diary.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("Dear diary")
    with pytest.raises(UserError, match=r"holds files that no pre-training wrote \(diary.txt\)"):
        pretrained(SMALL, corpus, tmp_path, fresh=True)
    assert mine.read_text() == "Dear diary"


def test_a_folder_that_is_being_written_is_not_refused(corpus: Path, tmp_path: Path) -> None:
    """The first of several processes is making its files, or emptying a folder, when the others come; and a command
    that was killed before it had written anything leaves the beginning of a file."""
    place = tmp_path / "results" / SMALL.name / "one"
    place.mkdir(parents=True)
    (place / f"{UNFINISHED}0").touch()
    assert pretrained(SMALL, corpus, tmp_path).folder == place
    (place / QUESTION).unlink()
    (place / RECORD).unlink()
    flow.Pretraining(SMALL, options_of(corpus, tmp_path, name="one"), Ranks(1, 2, 1))


@pytest.mark.parametrize("name", ["../elsewhere", "", ".hidden", "a/b"])
def test_a_name_that_is_no_folders_is_refused(name: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The name of a run"):
        pretrained(SMALL, corpus, tmp_path, name=name)


@pytest.mark.parametrize("call", range(2, 7))
def test_a_full_disk_is_a_sentence_and_the_last_snapshot_is_kept(
    call: int, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronise = os.fsync
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            pretrained(SMALL, corpus, tmp_path)
    assert not list(tmp_path.rglob(RECORD))
    assert not pretrained(SMALL, corpus, tmp_path).was_finished


def test_results_that_cannot_be_written_are_a_sentence(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match="Cannot make or empty the folder .* Choose another place with --results"):
        pretrained(SMALL, corpus, tmp_path)


def test_a_second_command_in_the_same_folder_is_refused(corpus: Path, tmp_path: Path) -> None:
    """Also with --fresh, which would empty it under the first one's hands."""
    folder_of_both = tmp_path / "results" / RECIPE.name / "one"
    folder_of_both.mkdir(parents=True)
    with held(folder_of_both) as is_ours:
        assert is_ours
        for fresh in (False, True):
            with pytest.raises(UserError, match=r"Another command is pre-training in .*--name"):
                pretrained(RECIPE, corpus, tmp_path, fresh=fresh)
    assert list(folder_of_both.iterdir()) == []
    assert pretrained(recipe_of(stages=[MASKED | {"steps": 1}]), corpus, tmp_path).folder == folder_of_both


def test_a_setting_that_is_new_changes_no_training_that_does_not_name_it() -> None:
    """Digests of small recipes, pinned: with another one nobody's interrupted training would go on."""
    nothing = Speech((), (), (), (), ())
    place = PretrainingOptions()
    assert Folder(recipe_of(), nothing, place).question[:12] == "8cadba476a81"
    assert Folder(recipe_of(title="Another", watch={"every": 3}), nothing, place).question[:12] == "8cadba476a81"
    assert Folder(recipe_of(mask={"length": 5}), nothing, place).question[:12] != "8cadba476a81"


def test_what_another_command_finished_in_the_meantime_is_read_back(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not finished when the second command looked first."""
    recipe = recipe_of()
    first = pretrained(recipe, corpus, tmp_path)
    looks = iter([False])
    is_finished = Folder.is_finished.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(Folder, "is_finished", property(lambda self: next(looks, None) or is_finished(self)))
    monkeypatch.setattr(StageLearner, "learn", None)  # nothing is learned again
    second = pretrained(recipe, corpus, tmp_path)
    assert next(looks, None) is None
    assert second.record == first.record


def test_a_record_names_the_machines_that_learned(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the one that only wrote the record."""
    recipe = recipe_of(stages=[MASKED | {"steps": 4}])
    for machine, place, name, call in (
        ("an old one", StageLearner, "learn", 3),
        ("a new one", flow, "record_of", 1),
        ("a third one", None, "", 0),
    ):
        monkeypatch.setattr(flow, "machine", lambda _, machine=machine: machine)
        with monkeypatch.context() as patched:
            if place is not None:
                interrupting(patched, place, name, call)
                with pytest.raises(KeyboardInterrupt):
                    pretrained(recipe, corpus, tmp_path)
    assert pretrained(recipe, corpus, tmp_path).record["machines"] == ["an old one", "a new one"]
