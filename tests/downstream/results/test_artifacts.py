"""What lies beside a record: rows of predictions, and the files of every test part."""

from __future__ import annotations

import json
from pathlib import Path

from chosen_heads import PARTS, SMALL, chosen, classification_run, fit, verification_run

from downstream.data.splits import Fold
from downstream.results.artifacts import artifacts, prediction_rows
from downstream.results.build import build_record
from downstream.results.recording import write_files
from downstream.results.run import Run
from downstream.training.sweep import Chosen

PUBLISHED = Fold("published", (0, 1), (), tuple(range(2, 80)))


def written(run: Run, folder: Path) -> set[str]:
    """The files that a run leaves, without TensorBoard's."""
    write_files(folder, artifacts(run, build_record(run, folder)))
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_rows_say_whose_they_are() -> None:
    run = classification_run()
    found, dataset = run.scored, run.dataset
    rows = prediction_rows(found[0], dataset)
    assert [row["id"] for row in rows] == [f"u{i}" for i in dataset.split.folds[found[0].fit.fold].test]
    assert list(rows[0])[:4] == ["id", "fold", "seed", "layer"]
    last = next(one for one in found if (one.fit.fold, one.fit.config.seed, one.setting) == (1, 3, 1))
    assert {(row["fold"], row["seed"], row["layer"]) for row in prediction_rows(last, dataset)} == {("small", 3, 1)}
    first = next(one for one in found if (one.fit.fold, one.fit.config.seed, one.setting) == (1, 0, None))
    assert {(row["fold"], row["seed"], row["layer"]) for row in prediction_rows(first, dataset)} == {
        ("small", 0, "mix")
    }
    assert not any("part" in row for row in rows)


def test_rows_of_several_parts_keep_the_order_of_the_test_set_and_say_which_part() -> None:
    run = classification_run([PUBLISHED], [Chosen(None, fit(0, 0, None))], ["split.test=[noisy, clean]"])
    rows = prediction_rows(run.scored[0], run.dataset)
    assert [row["id"] for row in rows] == [f"u{i}" for i in PUBLISHED.test]
    assert [row["part"] for row in rows] == [PARTS[i] for i in PUBLISHED.test]
    of_noisy = run.scored[0].evaluations["noisy"].rows()
    assert [row["posteriors"] for row in rows if row["part"] == "noisy"] == [row["posteriors"] for row in of_noisy]


def test_predictions_of_every_head_are_one_file(tmp_path: Path) -> None:
    given = chosen()
    run = classification_run(given=[*given, *(Chosen("best", one.fit) for one in given if one.setting == 1)])
    assert written(run, tmp_path) == {"predictions.jsonl", "head.safetensors"}
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == (78 + 2) * 2 * 3
    assert {row["layer"] for row in rows} == {"mix", 1, "best"}
    own = [row for row in rows if (row["fold"], row["seed"]) == (SMALL.name, 3)]
    one, best = ([row | {"layer": 0} for row in own if row["layer"] == layer] for layer in (1, "best"))
    assert one == best


def test_files_of_further_test_parts_have_the_parts_name(tmp_path: Path) -> None:
    run = verification_run("far", "close")
    endings = ("trials.txt", "det.csv", "det.png")
    expected = {
        f"published-seed{seed}{part}.{ending}" for seed in (0, 1) for part in ("", ".close") for ending in endings
    }
    assert written(run, tmp_path) == expected | {"head.safetensors"}
    first = (tmp_path / "published-seed0.trials.txt").read_text(encoding="utf-8").splitlines()
    further = (tmp_path / "published-seed0.close.trials.txt").read_text(encoding="utf-8").splitlines()
    assert {name for line in first for name in line.split()[:2]} == {f"u{i}" for i in range(6, 12)}
    assert {name for line in further for name in line.split()[:2]} == {f"u{i}" for i in range(6)}
