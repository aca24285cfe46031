"""What an earlier run left: finished, altered, interrupted, unwritten, with or without a store."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_encoder import ENERGY
from safetensors.torch import load_file, save
from tones import write_emotions

import upstream
from downstream import experiment
from downstream.recipes.options import Options
from downstream.results import recording
from downstream.results.integrity import digest_of
from downstream.results.names import encodable, slug
from downstream.results.reading import load_results
from downstream.results.record import read_result
from downstream.results.recording import UnwrittenError
from downstream.run_steps import Outcome
from downstream.tasks.registry import load_recipe
from downstream.training import loop
from upstream import files
from upstream.unfinished import UNFINISHED

SHORT = ["corpus.name=manifest", "training.steps=20", "training.evaluate_every=10", "split.folds=3"]
FAST = [*SHORT, "sweep.layer=mix"]
Content = dict[str, Any]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Carries out a small recipe in folders of the test's own."""

    def carry_out(*overrides: str, **changes: Any) -> Outcome:
        options = Options(corpus, tmp_path / "results", tmp_path / "store", progress=False)
        recipe = load_recipe("emotion", [*FAST, *overrides])
        outcome = experiment.run(upstream.load("fbank_no_cmvn"), recipe, replace(options, **changes))
        assert outcome is not None
        return outcome

    return carry_out


Run = Callable[..., Outcome]


def same(one: Outcome, other: Outcome) -> bool:
    """Return True if two runs gave the same record and the same files to the bit."""
    names = ("head.safetensors", "predictions.jsonl")
    records = [outcome.result.model_dump(exclude={"timing"}) for outcome in (one, other)]
    return records[0] == records[1] and all(
        (one.folder / name).read_bytes() == (other.folder / name).read_bytes() for name in names
    )


# ---------------------------------------------------------------- records


def edited(change: Callable[[Content], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / "result.json").read_bytes())
        change(content)
        (folder / "result.json").write_text(json.dumps(content))

    return edit


def flipped(name: str) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return flip


ALTERATIONS = {
    "schema": edited(lambda record: record.update(schema=5)),
    "no schema": edited(lambda record: record.pop("schema")),
    "score": edited(lambda record: record["primary"].update(value=0.25)),
    "every score": edited(lambda record: [score.update(value=0.25) for score in record["layers"][0]["scores"]]),
    "fingerprint": edited(lambda record: record["upstream"].update(fingerprint="0" * 64)),
    "task": edited(lambda record: record.update(task="recognition")),
    "caveats": edited(lambda record: record["caveats"].append("none")),
    "no digest": edited(lambda record: record.pop("digest")),
    "no record": lambda folder: (folder / "result.json").write_text("[]"),
    "half a record": lambda folder: os.truncate(folder / "result.json", 1_000),
    "nested": lambda folder: (folder / "result.json").write_text("[" * 20_000),
    "infinite": edited(lambda record: record["primary"].update(value=float("inf"))),
    "a bit of the heads": flipped("head.safetensors"),
    "a bit of the predictions": flipped("predictions.jsonl"),
    "half precision": lambda folder: (folder / "head.safetensors").write_bytes(
        save({name: tensor.half() for name, tensor in load_file(folder / "head.safetensors").items()})
    ),
}


def test_whatever_does_not_match_is_computed_again(run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = run()
    assert run().was_finished
    kept = {path.name: path.read_bytes() for path in first.folder.iterdir() if path.is_file()}
    for name, alter in ALTERATIONS.items():
        for file, content in kept.items():
            (first.folder / file).write_bytes(content)
        alter(first.folder)
        caplog.clear()
        again = run()
        assert not again.was_finished, name
        assert [record.message for record in caplog.records if "computed again" in record.message], name
        assert same(first, again), name
        assert run().was_finished, name


def test_a_record_of_another_run_is_not_this_ones(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    first, other = run(), run(seed=1)
    (other.folder / "result.json").write_bytes((first.folder / "result.json").read_bytes())
    for name in first.result.artifacts:
        (other.folder / name).write_bytes((first.folder / name).read_bytes())
    again = run(seed=1)
    assert not again.was_finished
    assert again.result.seeds["head"] == [1]
    assert "is the record of another run" in caplog.text


def test_files_that_were_removed_to_save_space_are_not_missed(run: Run) -> None:
    first = run()
    (first.folder / "head.safetensors").unlink()
    assert run().was_finished


def test_an_altered_record_is_left_out_of_the_table(run: Run, tmp_path: Path) -> None:
    first = run()
    assert len(load_results(tmp_path / "results")) == 3
    ALTERATIONS["every score"](first.folder)
    with pytest.warns(UserWarning, match="was altered after it was written"):
        assert len(load_results(tmp_path / "results")) == 0


def test_a_record_from_before_digests_is_still_read_and_shown(run: Run, tmp_path: Path) -> None:
    first = run()
    edited(lambda record: [record.pop(name) for name in ("digest", "artifacts")])(first.folder)
    old = read_result(first.folder / "result.json")
    assert (old.has_digest, old.artifacts, old.primary) == (False, {}, first.result.primary)
    assert len(load_results(tmp_path / "results")) == 3


@pytest.mark.parametrize("key", ["primary", "layers", "metric_types", "layer_weights"])
def test_a_record_that_contradicts_itself_is_refused(key: str, run: Run) -> None:
    """Also one whose digest was made anew."""
    first = run()

    def change(record: Content) -> None:
        record.pop("digest")
        record[key] = record[key] | {"value": 0.5} if key == "primary" else type(record[key])()
        record["digest"] = digest_of(record)

    edited(change)(first.folder)
    with pytest.raises(files.UserError, match="is not a record of schema 4"):
        read_result(first.folder / "result.json")


# ---------------------------------------------------------------- snapshots


def test_a_snapshot_is_of_its_run_and_its_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One of other code or of another run is passed over with a warning; the answer is that of a run from the start."""
    left = []
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "tidy", lambda _: None)
        first = run(snapshot_seconds=0.0)
        left.append((first.folder / "snapshot").read_bytes())
        other = run("training.order_seed=1", snapshot_seconds=0.0)
        left.append((other.folder / "snapshot").read_bytes())
    for content, code in ((left[0], "of another version"), (left[1], None)):
        (first.folder / "result.json").unlink()
        (first.folder / "snapshot").write_bytes(content)
        caplog.clear()
        with monkeypatch.context() as patch:
            if code is not None:
                patch.setattr(loop, "code_version", lambda: "other")
            assert same(first, run())
        assert "is a snapshot of other heads, or of another version of the code" in caplog.text
        assert not (first.folder / "snapshot").exists()


def test_a_snapshot_that_cannot_be_written_does_not_end_the_learning(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise files.UserError("Cannot write snapshot: No space left on device.")

    monkeypatch.setattr(loop, "write_snapshot", refuse)
    assert run(snapshot_seconds=0.0).result.primary.value > 0.5
    assert "The training goes on" in caplog.text


# ---------------------------------------------------------------- what cannot be written


def test_a_full_disk_at_the_end_loses_no_score(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it fills up; the next run, with space again, has the record."""
    real, first = files.os.fsync, run()
    written: list[int] = []

    for last in range(2, 7):
        written.clear()

        def full(descriptor: int, last: int = last) -> None:
            written.append(descriptor)
            if len(written) > last:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            with pytest.raises(UnwrittenError, match=r"No space left.*accuracy [\d.]+ %.*same command") as error:
                run(fresh=True)
        assert error.value.result.primary == first.result.primary
        assert not list(first.folder.rglob(f"{UNFINISHED}*"))
        assert not (first.folder / "result.json").exists()
    assert same(run(), run())


def test_a_file_that_cannot_be_made_loses_no_score(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A library that draws may fail; one that the score does not need is done without."""

    def fail(*_: object) -> None:
        raise TypeError("Descriptors cannot be created directly")

    with monkeypatch.context() as patch:
        patch.setattr(recording, "artifacts", fail)
        with pytest.raises(UnwrittenError, match=r"cannot be made \(TypeError: Descriptors.*accuracy [\d.]+ %"):
            run()
    with monkeypatch.context() as patch:
        patch.setattr(recording, "events", fail)
        outcome = run()
    assert not (outcome.folder / "events").exists()
    assert "There are no curves for TensorBoard (TypeError: Descriptors" in caplog.text
    assert run().was_finished


def test_leftovers_of_interrupted_runs_are_removed(run: Run) -> None:
    first = run()
    places = [first.folder / f"{UNFINISHED}1", first.folder / "events" / "fold1-seed0" / f"{UNFINISHED}2"]
    for place in (*places, first.folder / "snapshot"):
        place.write_bytes(b"half")
        os.utime(place, (0, 0))
    again = run()
    assert again.was_finished
    assert not any(place.exists() for place in (*places, first.folder / "snapshot"))


def test_identical_runs_that_end_at_once_both_have_their_record(run: Run, corpus: Path, tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(run())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 3
    assert all(same(outcomes[0], other) for other in outcomes)
    assert run().was_finished
    assert [path.name for path in outcomes[0].folder.glob("events/fold1-seed0/*")] == ["events.out.tfevents.1"]


# ---------------------------------------------------------------- with and without a store


def test_a_run_without_room_says_so_and_goes_on_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted with a full disk and begun again with an empty one, it is the run that it began as."""
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "learn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(store_limit=0)
    without = run()  # with room
    assert without.result.states.mode == "off"
    assert without.folder.name.endswith("-unstored")
    assert any("The store had no room for the states" in caveat for caveat in without.result.caveats)
    assert run().was_finished
    fresh = run(fresh=True)
    assert fresh.result.states.mode == "means"
    assert fresh.folder.name == without.folder.name.removesuffix("-unstored")
    assert not without.folder.exists()
    assert not any("no room" in caveat for caveat in fresh.result.caveats)


def test_a_run_with_its_states_uses_them_on_a_full_disk(run: Run) -> None:
    first = run()
    again = run("training.order_seed=1", store_limit=0)
    assert (first.result.states.mode, again.result.states.mode) == ("means", "means")
    asked = run("training.order_seed=2", "store.mode=off")
    assert not asked.folder.name.endswith("-unstored")
    assert not any("no room" in caveat for caveat in asked.result.caveats)


# ---------------------------------------------------------------- names and paths


def test_nothing_that_a_run_leaves_names_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "alice"
    data, models = home / "my data", tmp_path / "scratch" / "alice"
    for folder in (data, models):
        folder.mkdir(parents=True)
    write_emotions(data)
    monkeypatch.setenv("HOME", str(home))
    (models / "mine.py").write_text(ENERGY)
    given = f"python run_downstream.py -u {models}/mine.py:build --data '{data}' -o x=[{home}/a,1] --store={home}/s"
    options = Options(data, home / "results", home / "store", progress=False, command=given)
    outcome = experiment.run(upstream.load(f"{models}/mine.py:build"), load_recipe("emotion", SHORT), options)
    assert outcome is not None
    inside = outcome.folder.relative_to(home / "results")
    assert inside.parts[1].startswith("mine-build-")
    assert inside.parts[2].startswith("manifest-my-data-seed0-")
    assert "alice" not in str(inside)
    for path in outcome.folder.rglob("*"):
        assert not path.is_file() or b"alice" not in path.read_bytes(), path
    record = outcome.result
    assert (record.corpus.source, record.upstream.source) == ("~/my data", ".../mine.py:build")
    assert record.command == (
        "python run_downstream.py -u .../mine.py:build --data ~/'my data' -o 'x=[~/a,1]' '--store=~/s'"
    )
    assert read_result(outcome.folder / "result.json") == record


def test_bytes_that_are_no_text_do_not_lose_the_record(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    (tmp_path / "corpus").mkdir()
    write_emotions(tmp_path / "corpus").rename(folder)
    options = Options(folder, folder / "results", tmp_path / "store", progress=False, command=f"run --data {folder}")
    outcome = experiment.run(upstream.load("fbank_no_cmvn"), load_recipe("emotion", FAST), options)
    assert outcome is not None
    assert outcome.result.corpus.source.endswith("caf\\xe9")
    assert read_result(outcome.folder / "result.json") == outcome.result


def test_a_results_folder_that_cannot_be_made_is_refused_before_anything_is_encoded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "prepare", lambda *_: pytest.fail("encoded"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(files.UserError, match="Cannot make the folder"):
        run(results=tmp_path / "file" / "below")
    with pytest.raises(files.UserError, match="Cannot make the folder"):
        run(results=tmp_path / ("x" * 300))


def test_a_folder_in_the_records_place_is_said_before_anything_is_encoded(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run()
    (first.folder / "result.json").unlink()
    (first.folder / "result.json").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "prepare", lambda *_: pytest.fail("encoded"))
        with pytest.raises(files.UserError, match=r"result\.json is a folder"):
            run()
    assert same(first, run(fresh=True))


def test_letters_that_the_system_cannot_write_are_no_part_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """LC_ALL=C without Python's UTF-8 mode; the recipe or a test part has a name in other letters."""
    assert (slug("tést-北京"), encodable("own/émotion")) == ("tést-北京", "own/émotion")
    monkeypatch.setattr(os, "fsencode", lambda name: name.encode("ascii"))
    assert (slug("tést-北京"), encodable("own/émotion")) == ("t__st-__", "own/__motion")
