"""Names of recipes: s3prl's and SUPERB's for what is here, and sentences for what is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from places import REPOSITORY

from downstream.recipes import find_recipe, note_on_name, recipe_names, shipped
from downstream.recipes.names import task_of_s3prl
from upstream.errors import UserError
from upstream.shipped_tables import read_rows, words_of_cell

TASKS = read_rows(shipped("recipes") / "s3prl.csv")


pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    ("typed", "recipe"),
    [
        ("speech_commands", "superb/ks"),
        ("ks", "superb/ks"),
        ("KS", "superb/ks"),
        ("sv_voxceleb1", "superb/asv"),
        ("asv", "superb/asv"),
        ("er", "superb/er"),
        ("superb/emotion", "superb/er"),
        # The house's own names stay, in any spelling.
        ("emotion", "emotion"),
        ("asr", "asr"),
        ("sv", "sv"),
        ("keyword", "keyword"),
        ("Emotion", "emotion"),
        ("superb_ks", "superb/ks"),
        ("SUPERB/ER", "superb/er"),
    ],
)
def test_what_a_name_stands_for(typed: str, recipe: str) -> None:
    assert find_recipe(typed) == shipped("recipes") / f"{recipe}.yaml"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            "diarization",
            r"no recipe for s3prl's diarization yet \(speaker diarization\). Known: asr, demo/asr",
        ),
        ("sd", "speaker diarization"),
        ("superb/sd", "speaker diarization"),
        ("SUPERB/SID", "speaker identification"),
        ("voxceleb1", "speaker identification"),
        ("fluent_commands", "intent classification"),
        ("ctc", "phoneme recognition or slot filling, by its -c; for words type superb/asr"),
        ("phone_linear", "classification of phonemes"),
        ("quesst14_dtw", "query by example"),
        ("a2o-vc-vcc2020", "voice conversion"),
        ("voxceleb2_amsoftmax_segment_eval", "another head for speaker verification"),
    ],
)
def test_a_task_that_is_not_here_says_so(typed: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        find_recipe(typed)
    assert "Did you mean" not in str(caught.value)


def test_a_file_comes_before_s3prls_names_and_a_folder_does_not(elsewhere: Path) -> None:
    (elsewhere / "speech_commands").mkdir()  # the corpus
    assert find_recipe("speech_commands") == shipped("recipes") / "superb/ks.yaml"
    (elsewhere / "ks").write_text("task: classification")
    assert find_recipe("ks") == Path("ks")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("emotoin", "Did you mean emotion?"),
        ("emotion.yaml", "Did you mean emotion?"),
        ("superb/assr", "Did you mean superb/asr?"),
        ("fbank", "It is an upstream, which goes after -u."),
        ("sentiment", r"See --list for the names\."),
        ("x" * 10_000, "See --list"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_or_none(typed: str, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        find_recipe(typed)


def test_names_that_mean_something_else_in_s3prl_are_noted() -> None:
    assert note_on_name("emotion") == (
        "emotion is the clean recipe of this harness; s3prl's emotion, SUPERB's protocol, is superb/er."
    )
    assert note_on_name("asr") is not None
    assert [name for name in ("keyword", "sv", "superb/er", "er", "my.yaml") if note_on_name(name)] == []


def test_the_table_names_recipes_that_are_here() -> None:
    names = [name for row in TASKS for name in words_of_cell(row, "names")]
    assert len(names) == len(set(names))
    assert {row["recipe"] for row in TASKS if row["recipe"]} <= set(recipe_names())
    # A task that came since has its recipe in the table.
    assert not [name for row in TASKS if not row["recipe"] for name in words_of_cell(row, "names") if name in NAMES]


NAMES = {name.rpartition("/")[2] for name in recipe_names()}


def test_every_task_of_s3prl_is_in_the_table() -> None:
    spec = importlib.util.find_spec("s3prl")
    if spec is None or spec.origin is None:
        pytest.skip("s3prl is not installed")
    folders = [path.parent.name for path in (Path(spec.origin).parent / "downstream").glob("*/expert.py")]
    assert len(folders) > 30
    assert [name for name in folders if task_of_s3prl(name) is None] == []


def line_of(row: dict[str, str]) -> str:
    """The line of a task of s3prl in docs/names.md."""
    names = ", ".join(f"`{name}`" for name in words_of_cell(row, "names"))
    recipe = f"`{row['recipe']}`" if row["recipe"] else "not yet"
    return f"| {names} | {recipe} | {row['what']} |"


def test_the_page_of_names_has_the_table() -> None:
    page = (REPOSITORY / "docs" / "names.md").read_text(encoding="utf-8")
    table = "\n".join(map(line_of, TASKS))
    assert f"\n{table}\n" in page, f"docs/names.md should have these lines:\n{table}"


def test_a_task_of_s3prl_is_found_with_dashes_too() -> None:
    assert find_recipe("speech-commands") == find_recipe("speech_commands")
    with pytest.raises(UserError, match="no recipe for s3prl's fluent-commands yet"):
        find_recipe("fluent-commands")
