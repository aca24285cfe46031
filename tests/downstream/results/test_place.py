"""Where runs lie: readable names, names that the user chose, and the folders that runs had under earlier names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from own_encoder import ENERGY
from tones import write_emotions

import downstream
import upstream
from downstream import experiment
from downstream.recipes.options import Options
from downstream.results.names import corpus_part, upstream_part
from downstream.results.place import Place
from downstream.results.question import Question
from downstream.results.reading import load_results
from downstream.run_steps import Outcome
from downstream.tasks.registry import load_recipe
from upstream.base import Provenance
from upstream.errors import UserError

FAST = ["corpus.name=manifest", "training.steps=20", "training.evaluate_every=10", "split.folds=3"]
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("my tones"))


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> Run:
    """Carries out a small recipe in folders of the test's own."""

    def carry_out(*overrides: str, model: str = "fbank_no_cmvn", **changes: Any) -> Outcome:
        options = Options(corpus, tmp_path / "results", tmp_path / "store", progress=False)
        recipe = load_recipe("emotion", [*FAST, *overrides])
        outcome = experiment.run(upstream.load(model), recipe, replace(options, **changes))
        assert outcome is not None
        return outcome

    return carry_out


# ---------------------------------------------------------------- names that are made


def test_a_folder_says_which_recordings_and_which_model(run: Run, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENERGY)
    folder = run(model=f"{tmp_path}/mine.py:build").folder
    recipe, model, name = folder.relative_to(tmp_path / "results").parts
    assert recipe == "emotion"
    assert model.startswith("mine-build-")
    assert name.startswith(f"manifest-{corpus.name.replace(' ', '-')}-seed0-")
    assert run(layer=0).folder.parent.name == "fbank_no_cmvn"  # a published name needs no digest


def test_an_encoder_of_the_hub_is_one_by_its_name_and_by_its_repository(corpus: Path, tmp_path: Path) -> None:
    """Runs that began as hf:ORG/NAME, before the table had a name for it, are found again, and the reverse."""
    encoder, options = upstream.load("fbank_no_cmvn"), Options(corpus, tmp_path / "results", tmp_path / "store")
    encoder.provenance = Provenance("facebook/hubert-base-ls960", "transformers HubertModel")
    recipe, outcomes = load_recipe("emotion", FAST), []
    for name in ("hf:facebook/hubert-base-ls960", "hubert_base", "hubert_base@v1"):
        encoder.name = name
        outcome = experiment.run(encoder, recipe, replace(options, progress=False))
        assert outcome is not None
        outcomes.append(outcome)
    assert [outcome.was_finished for outcome in outcomes] == [False, True, False]
    assert outcomes[0].folder == outcomes[1].folder != outcomes[2].folder


def test_names_of_models_have_no_noise_and_tell_weights_apart() -> None:
    class Model:
        def __init__(self, name: str, fingerprint: str) -> None:
            self.name, self.fingerprint = name, fingerprint

    named: Callable[[str, str], str] = lambda name, digest: upstream_part(Model(name, digest))  # type: ignore[arg-type]  # noqa: E731
    assert named("../models/x", "1" * 64) == "x-11111111"
    assert named("/a/b/my_model.py:build", "2" * 64) == "my_model-build-22222222"
    assert named("my model (old).pt", "3" * 64) == "my-model-old-.pt-33333333"
    assert named("../x/", "4" * 64) != named("../x", "5" * 64)
    assert named("..", "4" * 64) == "44444444"
    assert len(named("x" * 300, "5" * 64)) < 100
    assert named("wavlm_base@main", "6" * 64) == "wavlm_base__main"
    assert named("hf:org/name", "7" * 64) == "hf__org__name"


def test_a_published_corpus_keeps_its_name_and_nobodys_home_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Read:
        def __init__(self, name: str, source: str, published: object = None) -> None:
            self.name, self.source, self.published = name, source, published

    part: Callable[[Read], str] = corpus_part  # type: ignore[assignment]
    home = tmp_path / "alice"
    (home / "calls").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    assert part(Read("ravdess", str(home), published=object())) == "ravdess"
    assert part(Read("manifest", str(home / "calls"))) == "manifest-calls"
    assert part(Read("manifest", str(home))) == "manifest"
    assert part(Read("manifest", "a DataFrame")) == "manifest"
    monkeypatch.chdir(home / "calls")
    assert part(Read("manifest", ".")) == "manifest-calls"


@pytest.mark.parametrize("suffix", ["", "-unstored"])
def test_a_run_under_its_earlier_name_is_found_again(suffix: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENERGY)
    changes: dict[str, Any] = {"model": f"{tmp_path}/mine.py:build"} | ({"store_limit": 0} if suffix else {})
    first = run(**changes)
    assert first.folder.name.endswith(suffix or first.folder.name)
    digest = first.folder.name.removesuffix(suffix)[-8:]
    model = upstream.load(f"{tmp_path}/mine.py:build")
    earlier = tmp_path / f"results/emotion/mine.py__build-{model.fingerprint[:8]}/manifest-seed0-{digest}{suffix}"
    earlier.parent.mkdir(exist_ok=True)
    shutil.move(first.folder, earlier)
    again = run(**changes)
    assert (again.was_finished, again.folder) == (True, earlier)
    assert again.result.model_dump() == first.result.model_dump()
    other = run(**changes, seed=1)
    assert not other.was_finished
    assert other.folder.parent == first.folder.parent


# ---------------------------------------------------------------- names that the user chose


def test_a_named_run_lies_under_its_name_and_is_found_by_everybody(run: Run, corpus: Path, tmp_path: Path) -> None:
    first = run(name="first try")
    assert first.folder == tmp_path / "results" / "emotion" / "fbank_no_cmvn" / "first try"
    assert run(name="first try").was_finished
    table = load_results(tmp_path / "results")
    assert set(table["folder"]) == {str(first.folder)}
    unnamed = run()  # the same training: its heads are there
    assert not unnamed.was_finished
    assert unnamed.result.primary == first.result.primary
    assert any("the run first try learned" in said for said in unnamed.result.caveats)
    with pytest.raises(UserError, match=r"first try holds another run.*another name, or add --fresh"):
        run(name="first try", seed=1)
    assert run(name="first try").was_finished
    replaced = run(name="first try", seed=1, fresh=True)
    assert replaced.result.seeds["head"] == [1]
    assert run(name="first try", seed=1).was_finished
    by_python = downstream.run(
        "emotion", "fbank_no_cmvn", data=corpus, overrides=FAST, name="mine",
        results=tmp_path / "results", store=tmp_path / "store", progress=False,
    )  # fmt: skip
    assert by_python.folder == first.folder.with_name("mine")


def place(folder: Path, asked: str) -> Place:
    return Place(folder, folder, [], Question("0" * 64, asked * 16), is_named=True)


def test_a_named_folder_holds_one_question(tmp_path: Path) -> None:
    """Also one that differs in the test alone, and a run that was interrupted before it had a record."""
    folder = tmp_path / "run"
    place(folder, "abcd").refuse_other_content(fresh=False)  # there is none yet
    folder.mkdir()
    place(folder, "abcd").refuse_other_content(fresh=False)
    place(folder, "abcd").make(folder, is_unstored=True)
    (folder / "snapshot").write_bytes(b"half")
    place(folder, "abcd").refuse_other_content(fresh=False)
    assert place(folder, "abcd").began_unstored()
    with pytest.raises(UserError, match="holds another run"):
        place(folder, "ef01").refuse_other_content(fresh=False)
    (folder / "result.json").write_text('{"command": "wavprobe run -n run"}')
    with pytest.raises(
        UserError, match=r"`wavprobe run -n run` \(paths shortened\) shows that run. Choose another name"
    ):
        place(folder, "ef01").refuse_other_content(fresh=False)
    place(folder, "ef01").refuse_other_content(fresh=True)


def test_a_folder_of_other_files_is_never_discarded(run: Run, tmp_path: Path) -> None:
    thesis = tmp_path / "home"
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("years")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"files that no run wrote \(thesis\.tex\).*such as .*run1"):
            run(folder=thesis, fresh=fresh)
    assert (thesis / "thesis.tex").read_text() == "years"
    with pytest.raises(UserError, match="Cannot make the folder"):
        run(folder=thesis / "thesis.tex")


def test_fresh_discards_what_the_run_wrote_and_nothing_else(run: Run, tmp_path: Path) -> None:
    first = run(folder=tmp_path / "run")
    written = {path.name for path in first.folder.iterdir()}
    (first.folder / "notes.txt").write_text("mine")
    (first.folder / "deeper" / "run").mkdir(parents=True)
    again = run(folder=tmp_path / "run", fresh=True, seed=1)
    assert {path.name for path in again.folder.iterdir()} == written | {"notes.txt", "deeper"}
    assert again.result.seeds["head"] == [1]


def test_a_folder_of_its_own_holds_exactly_the_run(run: Run, tmp_path: Path) -> None:
    """With and without room for its states, and when it is the folder that a run without a name once made."""
    first = run(folder=tmp_path / "mine" / "run")
    assert first.folder == tmp_path / "mine" / "run"
    assert (first.folder / "result.json").is_file()
    assert not (tmp_path / "results").exists()
    assert run(folder=tmp_path / "mine" / "run").was_finished
    without = run("training.order_seed=1", folder=tmp_path / "other", store_limit=0, store=tmp_path / "empty")
    assert (without.folder, without.result.states.mode) == (tmp_path / "other", "off")
    (tmp_path / "other" / "result.json").unlink()
    on = run("training.order_seed=1", folder=tmp_path / "other", store=tmp_path / "empty")  # now with room
    assert (on.result.states.mode, on.result.primary) == ("off", without.result.primary)
    unnamed = run(seed=3)
    assert run(seed=3, folder=unnamed.folder).was_finished


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/tmp/x", "a\\b", "a\nb", "-x", " a", "x" * 201, "漢" * 67, "\udce9", ".hidden"]
)
def test_what_is_no_name_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match="The name of a run"):
        Options(name=name)


def test_a_name_in_any_language_and_of_the_longest_kind_can_be_written(run: Run) -> None:
    assert run(name="漢" * 66).folder.is_dir()
    with pytest.raises(UserError, match="leave one of them out"):
        Options(name="a", folder=Path("b"))


# ---------------------------------------------------------------- a finished run alone


def test_evaluate_shows_what_is_finished_and_learns_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No finished run of this command is in .*Type -m train"):
        run(may_learn=False)
    assert not (tmp_path / "results").exists()
    first = run()
    assert run(may_learn=False).result == first.result
    assert run(may_learn=False, name="again").result.primary == first.result.primary  # its heads are tested anew
    with pytest.raises(UserError, match="leave one of them out"):
        run(may_learn=False, fresh=True)
    assert run(may_learn=False).was_finished
