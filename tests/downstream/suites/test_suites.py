"""A suite: its file, where its corpora lie, what cannot be run, one pass over each corpus, its row and its status."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import write_words

import downstream
import upstream
from downstream.cli import main as cli
from downstream.recipes.names import find_recipe, find_suite, recipe_names, suite_names
from downstream.recipes.options import Options
from downstream.suites.carrying_out import SuiteOutcome
from downstream.suites.places import Places, parse_places
from downstream.suites.plan import needs_of, sentences
from downstream.suites.reading import choose_recipes, read_all
from downstream.suites.row import rows_of
from downstream.suites.running import run_suite
from downstream.suites.suite import Suite, load_suite
from downstream.tasks.registry import load_recipe
from upstream.errors import UserError
from upstream.extract import fill
from upstream.store import StateStore, StoreKey

# One corpus of tones; each recipe reads another reduction of its states.
SMALL = """
name: small
overrides:
  corpus.name: manifest
  split.rule: published
  training.steps: 4
  training.evaluate_every: 2
data: {manifest: words}
recipes:
  - emotion
  - recipe: sv
    overrides: {split.longer_than: 0}
  - recipe: asr
    overrides: [head.projection=8, head.hidden=8, head.depth=1, head.spec_augment=null, store.codec=float32]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the suite's file and its corpus."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "words").mkdir()
    write_words(folder / "words")
    (folder / "small.yaml").write_text(SMALL)
    return folder


@pytest.fixture(scope="module")
def outcome(place: Path) -> SuiteOutcome:
    return run(place)


def run(place: Path, name: str = "small.yaml", **changed: object) -> SuiteOutcome:
    options = Options(results=place / "results", store=place / "store", progress=False)
    suite = load_suite(str(place / name))
    assert suite is not None
    model = upstream.load("wavlm_nano", random_init=True, seed=3)
    return run_suite(suite, [model], options, **changed)  # type: ignore[arg-type]


# ---------------------------------------------------------------- one pass, and what comes of it


def test_each_utterance_goes_through_the_upstream_once(outcome: SuiteOutcome) -> None:
    timings = [one.result.timing for one in outcome.outcomes]
    assert [one.result.states.mode for one in outcome.outcomes] == ["means", "statistics", "frames"]
    assert timings[0].extracted_audio_seconds == pytest.approx(timings[0].audio_seconds)
    assert [timing.extracted_audio_seconds for timing in timings[1:]] == [0.0, 0.0]


@pytest.mark.parametrize("reduction", ["means", "statistics", "frames"])
def test_the_states_have_the_bits_of_a_pass_of_their_own(
    outcome: SuiteOutcome, place: Path, tmp_path: Path, reduction: str
) -> None:
    model = upstream.load("wavlm_nano", random_init=True, seed=3)
    suite = load_suite(str(place / "small.yaml"))
    assert suite is not None
    chosen, _ = choose_recipes(suite, ())
    readable, _ = read_all(suite, chosen, Places(), Options(store=place / "store", progress=False))
    items = readable[0].read.dataset.items
    key = StoreKey.of(model, reduction, "float32")
    alone, shared = StateStore(tmp_path, key), StateStore(place / "store" / "states", key)
    assert fill(alone, model, items, progress=False) > 0
    for item in items:
        if reduction == "frames":
            assert alone.frames(item.digest).equal(shared.frames(item.digest))
        else:
            assert alone.pooled([item.digest]).equal(shared.pooled([item.digest]))


def test_means_are_taken_from_stored_statistics(outcome: SuiteOutcome, place: Path) -> None:
    model = upstream.load("wavlm_nano", random_init=True, seed=3)
    root = place / "store" / "states"
    statistics = StateStore(root, StoreKey.of(model, "statistics"))
    means = StateStore(root, StoreKey.of(model, "means"))
    digests = list(means._places)
    before = means.means(digests)
    for shard in means.folder.glob("*.safetensors"):
        shard.unlink()
    suite = load_suite(str(place / "small.yaml"))
    assert suite is not None
    readable, _ = read_all(
        suite, choose_recipes(suite, ())[0], Places(), Options(store=place / "store", progress=False)
    )
    means = StateStore(root, StoreKey.of(model, "means"))
    assert set(digests) <= set(statistics._places)
    assert fill(means, model, readable[0].read.dataset.items, progress=False) == 0.0
    assert means.means(digests).equal(before)


def test_a_suite_ends_with_its_row_and_a_page(outcome: SuiteOutcome, place: Path) -> None:
    assert outcome.status == 0
    assert outcome.page == place / "results" / "leaderboard" / "leaderboard.html"
    assert outcome.page.stat().st_size > 1000
    table, *said = rows_of(outcome)
    assert list(table.columns[0].cells) == ["emotion", "sv", "asr"]  # type: ignore[union-attr]
    assert said == []


def test_finished_runs_are_read_back(outcome: SuiteOutcome, place: Path) -> None:
    again = run(place)
    assert [one.was_finished for one in again.outcomes] == [True, True, True]
    assert [one.result for one in again.outcomes] == [one.result for one in outcome.outcomes]


def test_what_fails_does_not_stop_the_rest(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def carry_out(planned: object, *_: object) -> None:
        raise MemoryError if planned.recipe.name == "sv" else KeyError("no such thing")  # type: ignore[attr-defined]

    monkeypatch.setattr("downstream.suites.carrying_out.carry_out", carry_out)
    found = run(place)
    assert [run.status for run in found.runs] == [1, 2, 1]
    assert "KeyError" in found.runs[0].why
    assert "not enough memory" in found.runs[1].why
    assert (found.status, found.page) == (1, None)


# ---------------------------------------------------------------- what cannot be run


def test_what_cannot_be_run_is_said_with_what_to_ask_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "missing.yaml").write_text(
        "name: missing\nrecipes: [superb/er, {recipe: emotion, corpus: emodb, data: nowhere}]"
    )
    suite = load_suite(str(place / "missing.yaml"))
    assert suite is not None
    outcome = run_suite(suite, ["fbank_no_cmvn"], Options(results=place / "none", store=place / "store"))
    assert (outcome.runs, outcome.page, outcome.status) == ([], None, 2)
    er, emotion = outcome.unreadable
    assert "https://sail.usc.edu/iemocap" in er.why
    assert "--data iemocap=DIR with the folder that holds Session1 ... Session5" in er.why
    assert "WAVPROBE_IEMOCAP" in er.why
    assert f"There is no folder {place / 'nowhere'}" in emotion.why
    said = capsys.readouterr().err
    assert "superb/er cannot be run: There are no data of IEMOCAP" in said


def test_a_wrong_upstream_is_refused_before_anything_is_read(place: Path) -> None:
    suite = load_suite("demo")
    assert suite is not None
    with pytest.raises(UserError, match="Did you mean wavlm_base"):
        run_suite(suite, ["fbank", "wavlm_bas"], Options(results=place / "none", store=place / "unread"))
    assert not (place / "unread").exists()


# ---------------------------------------------------------------- names and files


def test_suites_are_found_in_any_spelling_and_recipes_are_none() -> None:
    assert suite_names() == ["clean", "demo", "superb"]
    assert not [name for name in recipe_names() if "suites" in name]
    for name in suite_names():
        suite = load_suite(name.upper())
        assert suite is not None
        assert suite.name == name
        assert all(entry.recipe in recipe_names() for entry in suite.entries)
    assert find_suite("demo/emotion") is None
    with pytest.raises(UserError, match="Did you mean superb"):
        find_recipe("supreb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nrecipes: []", "recipes"),
        ("name: x\nrecipes: [emotoin]", "recipe 1: There is no recipe .*emotion"),
        ("name: x\nrecipes: [emotion, emotion]", "lists emotion twice"),
        ("name: x\nrecipes: [{recipe: emotion, corpsu: emodb}]", "did you mean corpus"),
        ("name: x\nrecipes: [emotion]\noverrides: 5", "overrides"),
        ("name: x\nrecipes: [{recipe: emotion, overrides: {training.stpes: 5}}]", "training.steps"),
        ("recipes: [emotion]", "'name' is missing"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_suite(str(path))


def test_overrides_of_all_go_to_the_recipes_that_have_their_keys() -> None:
    suite = load_suite("demo")
    assert suite is not None
    chosen, notes = choose_recipes(suite, ["training.steps=7", "head.hidden=16"])
    assert [one.changed for one in chosen][::3] == [("training.steps=7",), ("training.steps=7", "head.hidden=16")]
    assert "head.hidden=16 is left out of demo/emotion, demo/keyword, demo/sv, which take no such setting." in notes
    with pytest.raises(UserError, match=r"training\.steps"):
        choose_recipes(suite, ["training.stpes=7"])
    with pytest.raises(UserError, match=r"value of 'training\.steps' is 'many'"):
        choose_recipes(suite, ["training.steps=many"])


def test_an_override_of_one_recipe_counts_for_it_alone() -> None:
    suite = Suite.of_recipes(["demo/emotion", "demo/asr"])
    typed = ["demo/asr:training.steps=9", "training.steps=7", "demo/asr:head.hidden=16"]
    (emotion, asr), notes = choose_recipes(suite, typed)
    assert emotion.changed == ("training.steps=7",)
    assert asr.changed[-2:] == ("training.steps=9", "head.hidden=16")  # the last one of a key counts
    assert [one.recipe.learned and one.recipe.learned.training.steps for one in (emotion, asr)] == [7, 9]
    assert not notes
    with pytest.raises(UserError, match="for the recipe demo/keyword, which is not run here"):
        choose_recipes(suite, ["demo/keyword:training.steps=9"])
    with pytest.raises(UserError, match=r"demo/emotion: A recipe of this task has no key 'head\.hidden'"):
        choose_recipes(suite, ["demo/emotion:head.hidden=16"])


def test_a_copied_recipe_with_changes_is_no_longer_superbs(tmp_path: Path) -> None:
    copy = tmp_path / "er.yaml"
    copy.write_text(find_recipe("superb/er").read_text().replace("steps: 30000", "steps: 30"))
    assert load_recipe(str(copy)).name == "superb/er"
    (chosen,), _ = choose_recipes(Suite.of_recipes([str(copy)]), ())
    assert chosen.changed == ("training.steps=30",)


# ---------------------------------------------------------------- places and the plan


def test_corpora_are_found_by_name_title_or_in_their_own_folder(tmp_path: Path, place: Path) -> None:
    assert parse_places([str(tmp_path)]) == Places(tmp_path)
    assert parse_places(["librispeech=a", "ravdess=b"]).folders == {"librispeech": Path("a"), "ravdess": Path("b")}
    with pytest.raises(UserError, match="librispeech"):
        parse_places(["librispech=a"])
    with pytest.raises(UserError, match="have no names"):
        parse_places(["one", "other"])
    with pytest.raises(UserError, match="the folder is missing"):
        parse_places(["ravdess="])


def test_a_plan_counts_audio_once_and_windows_as_often_as_they_are_encoded(place: Path, tmp_path: Path) -> None:
    suite = load_suite(str(place / "small.yaml"))
    assert suite is not None
    model = upstream.load("wavlm_nano", random_init=True, seed=3)
    crop = 'training.crop={"seconds": 0.1, "of": "audio"}'
    options = Options(results=tmp_path / "results", store=tmp_path / "store", progress=False)
    readable, _ = read_all(suite, choose_recipes(suite, [crop, "store.mode=auto"])[0], Places(), options)
    emotion, verification, recognition = needs_of(readable, model)
    assert len(verification.to_store) == len(recognition.to_store)
    longer = [item for item in emotion.planned.dataset.items if item.seconds > 0.1]
    assert 0 < emotion.in_training <= 4 * 32 * 0.1
    assert longer
    assert verification.in_training == 0.0
    said = " ".join(sentences([emotion, verification, recognition], model))
    assert "whatever the number of recipes" in said
    assert "times real time" in said
    assert not (tmp_path / "results").exists()


def test_the_face_runs_a_list_of_recipes(place: Path, outcome: SuiteOutcome) -> None:
    again = downstream.run_suite(
        str(place / "small.yaml"),
        [upstream.load("wavlm_nano", random_init=True, seed=3)],
        results=place / "results",
        store=place / "store",
        progress=False,
    )
    assert [one.was_finished for one in again.outcomes] == [True, True, True]


def test_the_command_ends_with_the_row_the_page_and_what_is_missing(
    place: Path, outcome: SuiteOutcome, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "partly.yaml").write_text(SMALL.replace("recipes:", "recipes:\n  - superb/ks"))
    command = ["run", "-u", "wavlm_nano", "--random-init", "--seed", "3", "-d", str(place / "partly.yaml")]
    command += ["--results", str(place / "command"), "--store", str(place / "store")]
    assert cli.main(command) == 2
    said = capsys.readouterr().out
    assert "not run: superb/ks. " in said
    assert "emotion with wavlm_nano" in said
    assert f"page   {place / 'command' / 'leaderboard' / 'leaderboard.html'}" in said
    assert cli.main([*command[:7], "emotion", "-d", "sv", "--plan", *command[8:12], "-c", "manifest", "--data",
                     str(place / "words"), "-o", "split.rule=published", "-o", "split.longer_than=0"]) == 0  # fmt: skip
    assert "plan of wavlm_nano" in capsys.readouterr().out
    assert cli.main(["run", "-u", "wavlm_nano", "emotion"]) == 2
    assert "emotion is a recipe, which goes after -d: -u wavlm_nano -d emotion." in capsys.readouterr().err
