"""The harness from Python: `downstream.run` is the command, without its terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from places import REPOSITORY
from tones import write_emotions

import downstream
import run_downstream
import upstream
from downstream import Recipe, Result, load_recipe, load_results, read_result
from upstream.errors import UserError

FAST: dict[str, object] = {"training.steps": 40, "training.evaluate_every": 10, "split.folds": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_emotions(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"results": tmp_path / "results", "store": tmp_path / "store", "progress": False}


def without_times(result: Result) -> dict[str, Any]:
    return result.model_dump(exclude={"timing", "command"})


def test_it_gives_the_record_of_the_command(corpus: Path, tmp_path: Path, places: dict[str, Any]) -> None:
    found = downstream.run(
        "emotion",
        "wavlm_nano",
        random_init=True,
        data=corpus,
        corpus="manifest",
        overrides=FAST | {"sweep.layer": ["mix", 1]},
        seed=3,
        **places,
    )
    typed = [word for key, value in FAST.items() for word in ("-o", f"{key}={value}")]
    arguments = ["-u", "wavlm_nano", "--random-init", "-d", "emotion", "--data", str(corpus), "-c", "manifest", *typed]
    elsewhere = ["--results", str(tmp_path / "r"), "--store", str(tmp_path / "s"), "--seed", "3"]
    assert run_downstream.main([*arguments, "-o", "sweep.layer=[mix, 1]", *elsewhere]) == 0
    (record,) = (tmp_path / "r").rglob("result.json")
    by_command = read_result(record)
    overrides = (by_command.recipe.overrides, found.recipe.overrides)
    assert [one.replace(" ", "") for one in overrides[0]] == [
        one.replace(" ", "").replace('"', "") for one in overrides[1]
    ]
    by_command.recipe.overrides = found.recipe.overrides  # one value, written as YAML and as JSON
    assert without_times(found) == without_times(by_command)
    assert found.folder is not None
    assert found.folder.relative_to(places["results"]) == record.parent.relative_to(tmp_path / "r")
    for name in ("head.safetensors", "predictions.jsonl", "recipe.yaml"):
        assert (found.folder / name).read_bytes() == (record.parent / name).read_bytes()
    assert read_result(found.folder / "result.json") == found
    assert (found.command, by_command.command.split()[0]) == ("downstream.run", "python")


def test_recipes_and_upstreams_may_be_objects(corpus: Path, tmp_path: Path, places: dict[str, Any]) -> None:
    """The same question as by their names, so the same finished run is read back."""
    strings = [f"{key}={value}" for key, value in FAST.items()]
    named = downstream.run(
        "emotion", "fbank_no_cmvn", data=corpus, overrides=["corpus.name=manifest", *strings], **places
    )
    recipe = load_recipe("emotion", ["corpus.name=manifest", *strings])
    assert isinstance(recipe, Recipe)
    model = upstream.load("fbank_no_cmvn")
    again = downstream.run(recipe, model, data=str(corpus), **places)
    assert again == named
    assert again.folder == named.folder
    fresh = downstream.run(recipe, model, data=corpus, fresh=True, **places)
    assert sorted(fresh.recipe.overrides) == sorted(named.recipe.overrides)  # against the shipped recipe of its name
    fresh.recipe.overrides = named.recipe.overrides
    assert without_times(fresh) | {"states": None} == without_times(named) | {"states": None}


def test_a_recipe_object_takes_overrides(corpus: Path, places: dict[str, Any]) -> None:
    recipe = load_recipe("emotion", [f"{key}={value}" for key, value in FAST.items()])
    found = downstream.run(
        recipe,
        "fbank_no_cmvn",
        data=corpus,
        corpus="manifest",
        overrides={"optimizer.lr": 1e-2, "split.folds": 3},
        **places,
    )
    assert found.recipe.resolved["optimizer"]["lr"] == 0.01
    own = [f"{key}={value}" for key, value in FAST.items()]
    assert sorted(found.recipe.overrides) == sorted({"corpus.name=manifest", "optimizer.lr=0.01", *own})
    assert recipe.corpus.name != "manifest"


@pytest.mark.parametrize(
    ("value", "key", "resolved"),
    [
        (None, "head.projection", None),
        ("superb", "sweep.lr", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7]),
        ([0, "best"], "sweep.layer", [0, "best"]),
        ("off", "store.mode", "off"),
        (1e-05, "optimizer.lr", 1e-05),
        (True, "split.shared_speakers", True),
        ({"seconds": 0.1, "of": "audio"}, "training.crop", {"seconds": 0.1, "of": "audio"}),
    ],
)
def test_values_of_overrides_are_pythons(
    value: object, key: str, resolved: object, corpus: Path, places: dict[str, Any]
) -> None:
    found = downstream.run(
        "emotion", "fbank_no_cmvn", data=corpus, corpus="manifest",
        overrides=FAST | {"training.steps": 1, "training.evaluate_every": 1, key: value}, **places,
    )  # fmt: skip
    section, name = key.split(".")
    assert found.recipe.resolved[section][name] == resolved


def test_one_layer_and_a_seed(corpus: Path, places: dict[str, Any]) -> None:
    model = upstream.load("wavlm_nano", random_init=True)
    found = downstream.run("emotion", model, data=corpus, corpus="manifest", overrides=FAST, layer=-1, seed=2, **places)
    assert [layer.layer for layer in found.layers] == [3]
    assert found.seeds["head"] == [2]
    assert found.upstream.random_init


def test_nothing_is_printed_without_progress(
    corpus: Path, tmp_path: Path, places: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    downstream.run("emotion", "fbank_no_cmvn", data=corpus, corpus="manifest", overrides=FAST, **places)
    assert capfd.readouterr() == ("", "")
    loud = places | {"progress": True, "fresh": True, "store": tmp_path / "other"}
    downstream.run("emotion", "fbank_no_cmvn", data=corpus, corpus="manifest", overrides=FAST, **loud)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "learning 3 heads" in shown.err
    assert "Means of 72 utterances" in shown.err


@pytest.mark.parametrize(
    ("recipe", "model", "changes", "words"),
    [
        ("emotoin", "fbank", {}, "Did you mean emotion?"),
        ("emotion", "wavlm_bas", {}, "Did you mean wavlm_base?"),
        ("emotion", "fbank", {"overrides": {"training.step": 5}}, "Did you mean training.steps?"),
        ("emotion", "fbank", {"overrides": {"optimizer.lr": "fast"}}, "'optimizer.lr' is 'fast'"),
        ("emotion", "fbank", {"overrides": ["optimizer.lr"]}, "takes key=value"),
        ("emotion", "fbank", {"corpus": "ravdes"}, "ravdess"),
        ("emotion", "fbank", {"data": "/nowhere"}, "/nowhere"),
        ("emotion", "fbank", {"layer": 4, "corpus": "manifest"}, "There is no layer 4"),
        ("emotion", "fbank", {"random_init": True}, "has no meaning for fbank"),
    ],
)
def test_mistakes_are_user_errors(
    recipe: str, model: str, changes: dict[str, Any], words: str, corpus: Path, places: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as refusal:
        downstream.run(recipe, model, **({"data": corpus} | places | changes))
    assert words in str(refusal.value)


def test_records_are_a_table_with_a_row_for_each_score(corpus: Path, places: dict[str, Any]) -> None:
    first = downstream.run(
        "emotion", "wavlm_nano", random_init=True, data=corpus, corpus="manifest",
        overrides=FAST | {"sweep.layer": ["mix", "best", 0], "sweep.seed": [0, 1]}, **places,
    )  # fmt: skip
    second = downstream.run("emotion", "fbank_no_cmvn", data=corpus, corpus="manifest", overrides=FAST, **places)
    table = load_results(places["results"])
    assert len(table) == 3 * 3 + 3
    assert table["is_primary"].sum() == 2
    for result in (first, second):
        own = table[table["folder"] == str(result.folder)]
        for layer in result.layers:
            for score in layer.scores:
                name = "mix" if layer.layer is None else layer.layer
                (row,) = own[(own["layer"] == name) & (own["metric"] == score.metric)].to_dict("records")
                assert (row["value"], row["low"], row["high"], row["chance"]) == (
                    score.value, score.low, score.high, score.chance
                )  # fmt: skip
                assert (row["part"], row["recipe"], row["upstream"]) == ("test", "emotion", result.upstream.name)
                assert row["higher_is_better"]
        (primary,) = own[own["is_primary"]].to_dict("records")
        assert (primary["metric"], primary["value"]) == (result.primary.name, result.primary.value)
        assert primary["seeds"] == len(result.seeds["head"])
        assert primary["folds"] == 3
    assert table[table["upstream"] == "wavlm_nano"]["random_init"].all()


def test_a_table_of_nothing_has_its_columns(tmp_path: Path) -> None:
    table = load_results(tmp_path)
    assert len(table) == 0
    assert {"recipe", "upstream", "metric", "value", "low", "high", "is_primary"} <= set(table.columns)
    with pytest.raises(UserError, match="There is no folder"):
        load_results(tmp_path / "none")


def test_a_record_that_cannot_be_read_is_left_out_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"run/result\.json is not a record of schema 4"):
        assert len(load_results(tmp_path)) == 0


def test_importing_it_is_instant_and_names_what_it_has() -> None:
    """Neither PyTorch nor pandas is imported before it is needed."""
    script = (
        "import sys, downstream, upstream.errors\n"
        "heavy = {'torch', 'torchaudio', 'numpy', 'pandas', 'pydantic', 'transformers'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
        "print(all(hasattr(downstream, name) for name in downstream.__all__))\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["[]", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        downstream.nothing  # noqa: B018
    assert set(downstream.__all__) >= {"run", "load_results", "load_recipe", "read_result", "Recipe", "Result"}


def test_a_table_is_a_corpus(corpus: Path, places: dict[str, Any]) -> None:
    """Of the same question, and record, whether its audio lies in files or in memory; and as its manifest learned."""
    table = pandas.read_csv(corpus / "manifest.csv")
    table["id"] = table.path
    listed = downstream.run("emotion", "fbank_no_cmvn", data=corpus, corpus="manifest", overrides=FAST, **places)
    table["path"] = [str(corpus / path) for path in table.path]
    named = downstream.run("emotion", "fbank_no_cmvn", corpus=table, corpus_title="Tones", overrides=FAST, **places)
    assert (named.corpus.name, named.corpus.title, named.corpus.source) == ("table", "Tones", "memory")
    assert any("given in Python" in note for note in named.corpus.notes)
    assert named.corpus.fingerprint == listed.corpus.fingerprint
    assert named.layers == listed.layers
    assert named.folder is not None
    assert named.folder.name.startswith("table-")
    rows = table.drop(columns="path").to_dict("records")
    for row, path in zip(rows, table.path, strict=True):
        row["audio"] = Path(path).read_bytes()
    held = downstream.run("emotion", "fbank_no_cmvn", corpus=rows, overrides=FAST, **places)
    assert held == named  # was read back
    rows[0]["emotion"] = "high"
    other = downstream.run("emotion", "fbank_no_cmvn", corpus=rows, overrides=FAST, **places)
    assert other.folder != named.folder
    assert other.timing.extracted_audio_seconds == 0  # the store has all states
    with pytest.raises(UserError, match="row 1 of the list: the split is 'half'"):
        downstream.run("emotion", "fbank_no_cmvn", corpus=[*rows[:1], rows[1] | {"split": "half"}], **places)


@pytest.mark.parametrize("name", ["words.csv", "org/words"])
def test_a_file_or_a_repository_is_no_corpus_until_it_is_read(name: str, places: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"give the rows themselves, such as corpus=pandas\.read_csv\(FILE\)"):
        downstream.run("emotion", "fbank_no_cmvn", corpus=name, **places)
    with pytest.raises(UserError, match="a corpus with a name has its own title"):
        downstream.run("emotion", "fbank_no_cmvn", corpus="manifest", corpus_title="Words", **places)
