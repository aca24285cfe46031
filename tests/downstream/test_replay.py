"""Replays: a result computed again from its record is identical, and what was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from forgery import forged, set_score
from small_runs import FAMILIES, small_run, write_words

import downstream
import upstream
from downstream.cli.main import main
from downstream.cli.replay import DIFFERS
from downstream.replaying import Replay, replay
from downstream.results import Result
from upstream.errors import UserError

Again = Callable[..., Replay]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def results(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """Return a function that gives a small run of a family, each one computed once."""
    place, made = tmp_path_factory.mktemp("runs"), {}

    def result_of(family: str) -> Result:
        if family not in made:
            short = ("training.steps=4", "training.evaluate_every=2") if family == "text" else ()
            made[family] = small_run(family, corpus, place, *short)
        return made[family]

    return result_of


@pytest.fixture
def again(corpus: Path, tmp_path: Path) -> Again:
    """Return a function that replays a record of a folder."""

    def replayed(folder: Path | None, data: Path = corpus, **options: object) -> Replay:
        assert folder is not None
        places = {"to": tmp_path / "again", "store": tmp_path / "store"}
        return replay(folder, **{**places, "data": data, "progress": False, **options})  # type: ignore[arg-type]

    return replayed


@pytest.mark.parametrize("family", FAMILIES)
def test_a_result_is_identical(results: Callable[[str], Result], family: str, again: Again) -> None:
    result = results(family)
    found = again(result.folder)
    assert found.is_identical
    assert found.comparison.verdict == "Identical: every score and every prediction."
    assert found.comparison.differing_inputs == []
    assert all(line.same for line in found.comparison.outcomes)
    assert found.again.folder != result.folder
    assert found.again.learned == result.learned
    assert not any("only their test is new" in caveat for caveat in found.again.caveats)  # its heads were learned


def test_a_replay_is_found_again(results: Callable[[str], Result], again: Again) -> None:
    assert not again(results("class").folder).was_finished
    assert again(results("class").folder).was_finished
    assert not again(results("class").folder, fresh=True).was_finished


def test_a_score_that_was_never_computed_is_found(
    results: Callable[[str], Result], again: Again, tmp_path: Path
) -> None:
    """Everything that went in is the same; so the record's numbers were not computed from it."""
    folder = forged(results("class"), tmp_path / "forged", lambda content: set_score(content, 0.999))
    found = again(folder)
    assert not found.is_identical
    assert "scores differ, and nothing that records hold" in found.comparison.verdict


def test_other_data_are_named(results: Callable[[str], Result], again: Again, corpus: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(corpus, tmp_path / "changed")
    sound, rate = soundfile.read(changed / "f0-A.wav")
    soundfile.write(changed / "f0-A.wav", -sound, rate)
    found = again(results("class").folder, data=changed)
    assert not found.is_identical
    assert found.comparison.differing_inputs == ["data", "settings, with data and weights"]
    assert "What went in differs in data" in found.comparison.verdict


def test_other_weights_are_named(
    results: Callable[[str], Result], again: Again, capsys: pytest.CaptureFixture[str]
) -> None:
    other = upstream.load("wavlm_nano", random_init=True, seed=4)
    found = again(results("class").folder, upstream=other, progress=True)
    assert "weights of the upstream" in found.comparison.differing_inputs
    assert "is not the upstream of the record" in capsys.readouterr().err
    weights = next(line for line in found.comparison.outcomes if line.what == "weights of heads")
    assert weights.same is False


def test_a_record_of_before_options_is_replayed(results: Callable[[str], Result], again: Again, tmp_path: Path) -> None:
    """Seed and layer of earlier records are those of their heads."""
    folder = forged(results("fitted"), tmp_path / "old", lambda content: content.update(options=None))
    assert again(folder).record.options is None
    content = json.loads((folder / "result.json").read_text())
    assert content["options"] is None


def test_what_a_record_hides_is_asked_for(results: Callable[[str], Result], again: Again, tmp_path: Path) -> None:
    def somewhere(content: dict[str, dict[str, object]]) -> None:
        content["upstream"]["name"] = ".../model.pt"

    with pytest.raises(UserError, match=r"Name it with -u: wavprobe replay .* -u FOLDER/model.pt"):
        again(forged(results("class"), tmp_path / "a", somewhere))

    def with_list(content: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
        content["recipe"]["resolved"]["trials"]["list"] = ".../trials.txt"

    with pytest.raises(UserError, match=r"names the file .../trials.txt.*Give it: -o trials.list=PATH"):
        again(forged(results("fitted"), tmp_path / "b", with_list))
    with pytest.raises(UserError, match="which is not part of wavprobe, and its code would run"):
        again(forged(results("class"), tmp_path / "c", lambda content: content.update(task="x.py:Family")))
    with pytest.raises(UserError, match="No data was given for"):
        again(results("class").folder, data=None)


def test_the_folder_of_the_run_is_left_alone(results: Callable[[str], Result], again: Again) -> None:
    folder = results("class").folder
    assert folder is not None
    with pytest.raises(UserError, match="is the folder of the run that is computed again"):
        again(folder, to=folder / "again")


def test_from_the_command_line_and_from_python(
    results: Callable[[str], Result], corpus: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = results("fitted")
    options = ["--data", str(corpus), "--store", str(elsewhere / "store")]
    assert main(["replay", str(result.folder), *options, "--fresh-store"]) == 0
    shown = capsys.readouterr().out
    assert "Identical: every score and every prediction." in shown
    assert "replays/sv/wavlm_nano-untrained" in shown.replace("\n", "")
    assert not list(elsewhere.glob("replays/**/*-store"))
    found = downstream.replay(result, to="b", data=corpus, store="store", progress=False)
    assert found.is_identical

    forgery = forged(result, elsewhere / "forged", lambda content: set_score(content, 0.999))
    assert main(["replay", str(forgery), *options, "--to", "c"]) == DIFFERS
    assert "Not identical" in capsys.readouterr().out
    assert main(["replay", "nowhere"]) == 2
    assert "There is no folder or file nowhere" in capsys.readouterr().err

    assert main(["validate", str(result.folder)]) == 0
    assert main(["validate", "emotion", str(elsewhere)]) == 2
    said = capsys.readouterr()
    assert "forged/result.json contradicts itself" in said.err
    assert "emotion: valid" in said.out
