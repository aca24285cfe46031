"""Records with right digests that contradict themselves, or each other, are refused by name; honest ones are kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forgery import Content, Rows, forged, set_score
from small_runs import FAMILIES, small_run, write_words

from downstream.results import Result, checked, checked_records, upstream_as_recorded
from upstream.errors import UserError
from upstream.wavlm import untrained_fingerprints

Runs = Callable[..., Result]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Return a function that gives a small run of a family, each one computed once."""
    corpus = write_words(tmp_path_factory.mktemp("words"))
    place, made = tmp_path_factory.mktemp("runs"), {}

    def run_of(family: str, *overrides: str) -> Result:
        short = ("training.steps=4", "training.evaluate_every=2") if family == "text" else ()
        key = (family, overrides)
        if key not in made:
            made[key] = small_run(family, corpus, place, *short, *overrides)
        return made[key]

    return run_of


@pytest.mark.parametrize("family", FAMILIES)
def test_honest_records_contradict_nothing(runs: Runs, family: str) -> None:
    result = runs(family)
    assert result.folder is not None
    found = checked(result.folder)
    assert found.result == result
    assert found.unchecked == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_that_predictions_do_not_give_is_refused(runs: Runs, family: str, tmp_path: Path) -> None:
    folder = forged(runs(family), tmp_path / "forged", lambda content: set_score(content, 0.0625))
    with pytest.raises(UserError, match=r"forged/result.json contradicts itself.* is 0.0625, and its predictions give"):
        checked(folder)


def all_right(rows: Rows) -> None:
    for row in rows:
        answer = "label" if "label" in row else "reference"
        row["predicted" if "label" in row else "hypothesis"] = row[answer]


@pytest.mark.parametrize("family", ["class", "text"])
def test_predictions_that_the_score_does_not_have_are_refused(runs: Runs, family: str, tmp_path: Path) -> None:
    folder = forged(runs(family), tmp_path / "forged", change_rows=all_right)
    with pytest.raises(UserError, match="and its predictions give"):
        checked(folder)


def test_a_changed_file_is_named(runs: Runs, tmp_path: Path) -> None:
    result = runs("class")
    assert result.folder is not None
    folder = shutil.copytree(result.folder, tmp_path / "forged")
    (folder / "predictions.jsonl").write_text("")
    with pytest.raises(UserError, match=r"forged/result.json contradicts itself.*predictions.jsonl changed"):
        checked(folder)


# ---------------------------------------------------------------- of the record


def worst_step(content: Content) -> None:
    """Let the last step be chosen where another was the best on development, as if the test had shown it."""
    for head, fit in zip(content["heads"], content["grid"], strict=True):
        steps = [step for step, _, _ in fit["curve"] if step != fit["step"]]
        head["step"] = steps[-1]


def without_seed(content: Content) -> None:
    """Drop the worse seed, and compute every mean anew."""
    content["heads"] = [head for head in content["heads"] if head["seed"] == 0]
    content["seeds"]["head"] = [0]
    content["layer_weights"] = content["heads"][0]["layer_weights"]
    content["folds"][0]["metrics"] = content["heads"][0]["metrics"]
    for score in content["layers"][0]["scores"]:
        value = content["heads"][0]["metrics"][score["part"]][score["metric"]]
        score["value"], score["by_seed"] = value, {"0": value}
    content["primary"]["value"] = content["layers"][0]["scores"][0]["value"]


def called_trained(content: Content) -> None:
    content["upstream"] |= {"random_init": False, "format": "wavlm", "source": "tiny.pt", "file_sha256": "0" * 64}
    content["caveats"] = [one for one in content["caveats"] if "untrained" not in one]


def weights_of_another(content: Content) -> None:
    """Let the last layer have all the weight."""
    layers = content["upstream"]["layers"]
    shares = [0.0] * (layers - 1) + [1.0]
    content["layer_weights"] = shares
    for head in content["heads"]:
        head["layer_weights"] = shares


def set_at(*keys: Any, value: Any) -> Callable[[Content], None]:
    """Return what sets one value of a record."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


FORGERIES = {
    "a step that development did not choose": (worst_step, "development chooses .* at step"),
    "a seed left out": (without_seed, "it has no head of seed 1"),
    "a control called trained": (called_trained, "its fingerprint is that of an untrained wavlm_nano of seed 3"),
    "a control with another name": (set_at("upstream", "random_init", value=False), "it calls them trained"),
    "another size": (set_at("upstream", "dim", value=768), "its upstream wavlm_nano has 4 layers of 768"),
    "layer weights": (weights_of_another, "are not those in its file"),
    "a mean": (set_at("layers", 0, "scores", 1, "value", value=0.9), "and the mean of its heads is"),
    "an interval narrowed": (
        set_at("layers", 0, "scores", 1, "low", value=0.123456),
        "the interval of unweighted_accuracy on the weighted sum and the part test is 0.123456 to",
    ),
    "a chance level": (set_at("chance", value=0.01), "its chance level is not the mean"),
    "fewer tested": (set_at("folds", 0, "test", "utterances", value=7), "do not add up to its 7 test utterances"),
    "a confusion matrix": (
        set_at("heads", 0, "details", "test", "confusion", value=[[4, 0], [0, 4]]),
        "the confusion matrix is not that of the predictions",
    ),
    "a development score": (set_at("heads", 0, "development", value=1.0), "development chooses"),
    "a curve": (set_at("grid", 0, "development", value=1.0), "development was best at step"),
    "a caveat left out": (set_at("caveats", value=[]), "its caveats lack “The upstream is untrained”"),
    "a setting changed in silence": (
        lambda content: content["recipe"]["overrides"].remove("training.steps=12"),
        "its settings have training.steps=12, which emotion of this version has not, and no override names it",
    ),
    "one rate of many": (set_at("recipe", "resolved", "sweep", "lr", value=[0.1, 0.01]), "its grid lacks rate 0.1"),
}


@pytest.mark.parametrize(("change", "said"), FORGERIES.values(), ids=FORGERIES)
def test_forged_records_are_refused(runs: Runs, change: Callable[[Content], None], said: str, tmp_path: Path) -> None:
    folder = forged(runs("class"), tmp_path / "forged", change)
    with pytest.raises(UserError, match=f"forged/result.json contradicts itself.*{said}"):
        checked(folder)


def in_superbs_name(content: Content) -> None:
    """Call a run that left the recipe one of SUPERB's protocol, without saying that it left it."""
    content["recipe"]["protocol"] = content["recipe"]["resolved"]["protocol"] = "superb"


def test_a_run_that_left_superbs_recipe_says_so(runs: Runs, tmp_path: Path) -> None:
    folder = forged(runs("class"), tmp_path / "forged", in_superbs_name)
    with pytest.raises(UserError, match="its caveats lack “Not SUPERB's recipe”"):
        checked(folder)


def test_the_fingerprint_of_untrained_weights_is_known_without_them(runs: Runs) -> None:
    assert untrained_fingerprints([3])[runs("class").upstream.fingerprint] == "wavlm_nano of seed 3"


def test_an_earlier_record_of_a_network_that_was_renamed_is_honest(runs: Runs, tmp_path: Path) -> None:
    """The network of wavlm_nano was once called wavlm_tiny."""
    folder = forged(runs("class"), tmp_path / "earlier", set_at("upstream", "name", value="wavlm_tiny"))
    recorded = checked(folder).result.upstream
    again = upstream_as_recorded(recorded, 3, None, "cpu", typed=str)
    assert (again.name, again.fingerprint) == ("wavlm_nano", recorded.fingerprint)


# ---------------------------------------------------------------- of the predictions


def doubled(rows: Rows) -> None:
    rows[1] = dict(rows[0])


def left_out(rows: Rows) -> None:
    del rows[0]


def moved_labels(rows: Rows) -> None:
    rows[0]["label"] = next(row["label"] for row in rows if row["label"] != rows[0]["label"])


def one_speaker_each(rows: Rows) -> None:
    for row in rows:
        row["speaker"] = row["id"]


def of_another_head(rows: Rows) -> None:
    rows[0]["seed"] = 7


ROWS = {
    "a row twice": (doubled, "have an item twice"),
    "a row left out": (left_out, "there are predictions for 15 utterances instead of 16"),
    "a label moved": (moved_labels, "tested on other items, or on the same with other truths"),
    "speakers divided": (one_speaker_each, "there are predictions for 16 known speakers instead of 2"),
    "rows of no head": (of_another_head, "there are predictions of published, seed 7 and layer mix, and no such head"),
    "a field lacking": (lambda rows: rows[0].pop("label"), "are not what this family writes"),
    "another answer than the likeliest": (all_right, "is not the class of its largest posterior"),
}


@pytest.mark.parametrize(("change", "said"), ROWS.values(), ids=ROWS)
def test_forged_predictions_are_refused(runs: Runs, change: Callable[[Rows], None], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        checked(forged(runs("class"), tmp_path / "forged", change_rows=change))


# ---------------------------------------------------------------- what cannot be checked


def test_missing_predictions_are_not_a_forgery(runs: Runs, tmp_path: Path) -> None:
    result = runs("class")
    assert result.folder is not None
    folder = shutil.copytree(result.folder, tmp_path / "sent")
    for name in ("predictions.jsonl", "head.safetensors"):
        (folder / name).unlink()
    said = " ".join(checked(folder).unchecked)
    assert "Its scores were not computed again" in said
    assert "its layer weights were not checked" in said


def test_code_of_others_is_not_run(runs: Runs, tmp_path: Path) -> None:
    """A family beside a record of others could be anything; it is imported only where its user names it."""
    folder = forged(runs("class"), tmp_path / "sent", set_at("task", value="family.py:Family"))
    (folder / "family.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    said = " ".join(checked(folder).unchecked)
    assert "the code of family.py:Family is not part of wavprobe" in said
    assert not (tmp_path / "ran").exists()
    checked(folder, [f"{folder}/family.py:Family"])
    assert (tmp_path / "ran").exists()


# ---------------------------------------------------------------- several records


def test_folders_merge_and_a_run_is_there_once(runs: Runs, tmp_path: Path) -> None:
    first, second = runs("class"), runs("fitted")
    assert first.folder is not None
    assert second.folder is not None
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    shutil.copytree(first.folder, mine / "a")
    shutil.copytree(second.folder, theirs / "b")
    shutil.copytree(first.folder, theirs / "a")
    forged(second, theirs / "c", lambda content: set_score(content, 0.01))
    found = checked_records([mine, theirs])
    assert [one.result.model_dump() for one in found.kept] == [first.model_dump(), second.model_dump()]
    assert found.repeated == (theirs / "a" / "result.json",)
    assert [one.path for one in found.refused] == [theirs / "c" / "result.json"]
    assert str(theirs / "c" / "result.json") in found.refused[0].why


def test_a_fingerprint_of_another_corpus_is_refused(runs: Runs, tmp_path: Path) -> None:
    """A record that claims the corpus of another, with fewer utterances, or with other truths of the same ones."""
    result = runs("class")

    def elsewhere(content: Content) -> None:
        content["corpus"]["used"]["utterances"] -= 1
        content["corpus"]["used"]["labels"]["A"] -= 1

    forged(result, tmp_path / "a", elsewhere)
    found = checked_records([str(result.folder), tmp_path])
    assert len(found.kept) == 1
    assert "it uses 55 utterances" in found.refused[0].why
    assert "name the folder that you trust most first" in found.refused[0].why


def test_an_upstream_of_two_kinds_is_refused(runs: Runs, tmp_path: Path) -> None:
    """The same fingerprint cannot be of other layers; of which record it is not, the order of the folders decides."""
    result = runs("text")  # of a filterbank, whose fingerprint is not known without it
    forged(result, tmp_path / "a", lambda content: content["upstream"].update(name="my.py:features", dim=241))
    found = checked_records([str(result.folder), tmp_path])
    assert any("its upstream has dim 241 and the fingerprint of" in one.why for one in found.refused) or any(
        "do not fit" in one.why or "does not fit" in one.why for one in found.refused
    )


def test_other_truths_of_the_same_corpus_are_refused(runs: Runs, tmp_path: Path) -> None:
    """Two words change places in every row and in every count, so that the record agrees with itself."""
    result = runs("class")
    other = {"A": "BC", "BC": "A"}

    def in_rows(rows: Rows) -> None:
        for row in rows:
            row["label"] = other.get(row["label"], row["label"])

    def in_record(content: Content) -> None:
        assert result.folder is not None
        names = content["details"]["classes"]
        one, two = names.index("A"), names.index("BC")
        rows = [json.loads(line) for line in (tmp_path / "a" / "predictions.jsonl").read_text().splitlines()]
        for head in content["heads"]:
            own = [row for row in rows if row["seed"] == head["seed"]]
            matrix = head["details"]["test"]["confusion"]
            matrix[one], matrix[two] = matrix[two], matrix[one]
            right = sum(row["label"] == row["predicted"] for row in own) / len(own)
            head["metrics"]["test"] |= {"accuracy": right, "unweighted_accuracy": right}

    with pytest.raises(UserError, match="contradicts itself"):  # macro F1, the means and the interval would be next
        checked(forged(result, tmp_path / "a", in_record, in_rows))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no folder .*nowhere"):
        checked_records([tmp_path / "nowhere"])
