"""The model card and the LaTeX table say what the records say, and are read back to show it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from small_runs import small_run, write_words

from downstream.cli.main import main
from downstream.exports import latex_table, model_card
from downstream.exports.latex_table import TIE, escaped
from downstream.results.record import Result, read_result
from upstream.errors import UserError

RECORDS = Path(__file__).parents[1] / "results" / "schema3"


def record(name: str = "classification", **primary: float | None) -> Result:
    """Return a record of a trained upstream, with another primary score where one is given."""
    result = read_result(RECORDS / f"{name}.json")
    result.upstream.random_init = False
    first = result.layers[0].score(result.primary.name)
    for field, value in primary.items():
        setattr(result.primary, field, value)
        setattr(first, field, value)
    return result


def named(result: Result, upstream: str) -> Result:
    result.upstream.name = result.upstream.fingerprint = upstream
    return result


# ---------------------------------------------------------------- model-index


def test_a_card_is_read_back_as_the_scores_of_the_records() -> None:
    results = [named(record(name), "me/mine") for name in ("classification", "recognition", "verification")]
    card = ModelCard(model_card(results))
    assert card.data.model_name == "me/mine"
    by_metric = {(one.task_type, one.dataset_split, one.metric_type): one for one in card.data.eval_results}
    assert {task for task, _, _ in by_metric} == {
        "audio-classification",
        "automatic-speech-recognition",
        "speaker-verification",
    }
    scores = [(result, score) for result in results for score in result.layers[0].scores]
    assert len(scores) == len(card.data.eval_results)
    for result, score in scores:
        scale = result.metric_types[score.metric].scale
        (one,) = [
            each
            for each in card.data.eval_results
            if (each.metric_args["recipe"], each.dataset_split, each.metric_type)
            == (result.recipe.name, score.part, score.metric)
        ]
        assert one.metric_value == pytest.approx(scale * score.value, abs=1e-4)
        assert (one.dataset_name, one.dataset_type) == (result.corpus.title, result.corpus.name)
        assert one.metric_args["caveats"] == result.caveats
        if score.low is not None:
            assert one.metric_args["interval"]["low"] == pytest.approx(scale * score.low, abs=1e-4)
        else:
            assert "interval" not in one.metric_args


def test_a_card_is_what_the_hub_stores() -> None:
    text = model_card([record()])
    fields = yaml.safe_load(text.split("---\n")[1])
    name, found = model_index_to_eval_results(fields["model-index"])
    assert name == record().upstream.name
    assert found[0].metric_value == fields["model-index"][0]["results"][0]["metrics"][0]["value"]


def test_a_card_that_is_there_is_kept_but_for_the_scores() -> None:
    mine = "---\nlicense: mit\ntags: [speech]\n---\n\n# Mine\n\nMy own words.\n"
    first = model_card([named(record("classification"), "mine")], mine)
    both = model_card([named(record("recognition"), "mine")], first)
    again = model_card([named(record("classification", value=0.5), "mine")], both)
    assert "My own words." in again
    data = ModelCard(again).data
    assert (data.license, data.tags) == ("mit", ["speech"])
    assert len(data.eval_results) == len(ModelCard(both).data.eval_results)
    values = {one.metric_type: one.metric_value for one in data.eval_results}
    assert values[record().primary.name] == 50


def test_cards_of_what_no_card_describes_are_refused() -> None:
    control = record()
    control.upstream.random_init = True
    with pytest.raises(UserError, match="an untrained upstream"):
        model_card([control])
    with pytest.raises(UserError, match="A model card is of one upstream, and these runs are of 2: a, b"):
        model_card([named(record(), "a"), named(record("recognition"), "b")])
    with pytest.raises(UserError, match="are both runs of"):
        model_card([named(record(), "a"), named(record(), "a")])


# ---------------------------------------------------------------- LaTeX


def cells(table: str) -> list[list[str]]:
    """Return the cells of a tabular, its heading first."""
    rows = [line.removesuffix(r" \\") for line in table.splitlines() if line.endswith(r"\\")]
    return [re.split(r"(?<!\\) & ", row) for row in rows]


def test_the_best_is_bold_and_what_its_interval_overlaps_is_marked() -> None:
    ends = {
        "best": (0.80, 0.75, 0.85),
        "near": (0.76, 0.70, 0.80),
        "far": (0.60, 0.55, 0.65),
        "bare": (0.7, None, None),
    }
    results = [named(record(value=value, low=low, high=high), name) for name, (value, low, high) in ends.items()]
    heading, below, *rows = cells(latex_table([*results, named(record("verification"), "near")]))
    assert heading == ["upstream", record().recipe.name, record("verification").recipe.name]
    assert below[1].endswith(r"$\uparrow$}")
    assert below[2].endswith(r"$\downarrow$}")
    assert [row[0] for row in rows] == list(ends)
    assert [row[1] for row in rows] == [
        r"\textbf{80.00} {\scriptsize [75.00, 85.00]}",
        rf"76.00{TIE} {{\scriptsize [70.00, 80.00]}}",
        r"60.00 {\scriptsize [55.00, 65.00]}",
        "70.00",
    ]
    assert [row[2] == "--" for row in rows] == [True, False, True, True]


def test_lower_is_better_where_the_metric_says_so() -> None:
    results = [named(record("recognition", value=value, low=None, high=None), str(value)) for value in (0.3, 0.2)]
    assert [r"\textbf" in row[1] for row in cells(latex_table(results))[2:]] == [False, True]


def test_two_runs_of_one_cell_are_refused() -> None:
    with pytest.raises(UserError, match="a table has one score in each cell"):
        latex_table([record(), record()])


def test_runs_that_were_not_tested_alike_share_no_column() -> None:
    """The best of a column is bold, which says nothing where the test sets or the settings are others."""
    few, other = named(record(), "few"), named(record(), "other")
    few.recipe.resolved["training"]["steps"] = 5
    with pytest.raises(UserError, match=r"and differ in training.steps \(5 and \d+\); a column compares"):
        latex_table([record(), few])
    other.corpus.fingerprint = "0123"
    with pytest.raises(UserError, match=r"differ in fingerprint \(0123 and "):
        latex_table([record(), other])


def test_a_layer_that_was_asked_for_is_named() -> None:
    alone = record()
    alone.layers[0].layer = 1
    table = latex_table([record(), alone])
    assert [row[0] for row in cells(table)[2:]] == [
        escaped(record().upstream.name + more) for more in ("", ", layer 1")
    ]
    (args,) = {str(one.metric_args["layer"]) for one in ModelCard(model_card([alone])).data.eval_results}
    assert args == "layer 1"


NAMES = "a_b & 100% #1 {x} \\y ~z ^w $v <u> é"


def test_special_characters_are_escaped() -> None:
    assert escaped("a_b & 5% {x}^2") == r"a\_b \& 5\% \{x\}\textasciicircum{}2"
    rows = cells(latex_table([named(record(), NAMES)]))
    assert len(rows[2]) == 2  # its ampersand parts no cells
    plain = rows[2][0]
    for command, letter in (
        (r"\textbackslash{}", "\\"), (r"\textasciitilde{}", "~"), (r"\textasciicircum{}", "^"),
        (r"\textless{}", "<"), (r"\textgreater{}", ">"),
    ):  # fmt: skip
        plain = plain.replace(command, f"\0{ord(letter)}\0")
    plain = re.sub(r"\\([&%$#_{}])", r"\1", plain)
    assert re.sub(r"\0(\d+)\0", lambda found: chr(int(found[1])), plain) == NAMES


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not here")
def test_latex_takes_it(tmp_path: Path) -> None:
    before = "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "t.tex").write_text(before + latex_table([named(record(), NAMES)]) + "\\end{document}\n")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


# ---------------------------------------------------------------- command


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of filterbanks, and a copy of it."""
    place = tmp_path_factory.mktemp("runs")
    result = small_run("text", write_words(place), place, "training.steps=4", "training.evaluate_every=2")
    assert result.folder is not None
    shutil.copytree(result.folder, place / "results" / "copy")
    return place / "results"


def test_the_ending_of_the_file_chooses_the_form(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, card, folder = tmp_path / "new" / "table.tex", tmp_path / "README.md", str(runs / "copy")
    assert main(["export", str(runs), str(table)]) == 0
    assert len(cells(table.read_text())) == 3  # two of the heading; the copy counts once
    assert main(["export", f"{folder}/result.json", str(card)]) == 0
    assert ModelCard.load(card).data.eval_results
    assert "a model card with a model-index" in capsys.readouterr().out
    for arguments, said in (
        ([folder, "table.html"], "does not end in .safetensors"),
        ([folder, folder, "h.safetensors"], "has the heads of one run"),
        ([str(tmp_path / "new"), "table.tex"], "There is no record (result.json) below"),
        ([str(tmp_path / "nothing"), "table.tex"], "There is no folder"),
        ([folder, "table.tex", "--head", "x"], "--head is of heads"),
        ([folder, "table.tex", "--seed", "1"], "A seed is chosen for a submission alone"),
        ([folder, "h.safetensors", "--seed", "1"], "--seed is of a submission"),
        ([folder, "predict.zip"], "it is a run of asr, and only superb/ks"),
    ):
        assert main(["export", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_a_record_whose_predictions_were_altered_is_refused(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "copy", tmp_path / "forged")
    predictions = tmp_path / "forged" / "predictions.jsonl"
    predictions.write_text(predictions.read_text().replace('"reference": "A', '"reference": "B', 1))
    assert main(["export", str(tmp_path), str(tmp_path / "table.tex")]) == 2
    assert "predictions.jsonl changed since the run wrote it" in capsys.readouterr().err
    assert not (tmp_path / "table.tex").exists()
