"""New recordings are answered as the test of the run was: same posteriors, transcripts and scores."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_runs import COMPARING, small_run, write_words

from downstream.cli.main import main
from downstream.prediction import predict
from downstream.results.head_file import head_name
from downstream.results.record import Result
from upstream.errors import UserError

Row = dict[str, object]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Return a function that gives the run of a family."""
    place = tmp_path_factory.mktemp("runs")
    return lambda family, *overrides: small_run(family, corpus, place, *overrides)


def files_of_test(corpus: Path) -> list[str]:
    """The recordings of the test part."""
    return sorted(str(path) for path in corpus.glob("[fg]*.wav"))


def rows_of(result: Result, recordings: Sequence[str], **options: object) -> list[Row]:
    assert result.folder is not None
    return list(predict(result.folder, list(recordings), progress=False, **options).rows)  # type: ignore[arg-type]


def recorded(result: Result) -> list[Row]:
    assert result.folder is not None
    return [json.loads(line) for line in (result.folder / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "overrides", [(), ("head.pooling=attention", "store.codec=int8"), ("store.mode=off",)], ids=str
)
def test_posteriors_of_the_test_set(run: Callable[..., Result], corpus: Path, overrides: Sequence[str]) -> None:
    result = run("class", *overrides)
    for seed in (0, 1):
        rows = {row["id"]: row for row in rows_of(result, files_of_test(corpus), heads=[f"published-seed{seed}"])}
        own = [row for row in recorded(result) if row["seed"] == seed]
        assert len(own) == len(rows) == 16
        for row in own:
            found = rows[str(row["id"]).removesuffix(".wav")]
            assert found["class"] == row["predicted"]
            assert list(found["posteriors"].values()) == pytest.approx(row["posteriors"], abs=1.5e-6)  # type: ignore[attr-defined]


def test_several_heads_answer_with_the_mean_of_their_posteriors(run: Callable[..., Result], corpus: Path) -> None:
    result = run("class")
    alone = [rows_of(result, files_of_test(corpus), heads=[f"published-seed{seed}"]) for seed in (0, 1)]
    together = rows_of(result, files_of_test(corpus))
    for row, one, other in zip(together, *alone, strict=True):
        mean = np.mean([list(own["posteriors"].values()) for own in (one, other)], axis=0)  # type: ignore[attr-defined]
        assert list(row["posteriors"].values()) == pytest.approx(mean, abs=1.5e-6)  # type: ignore[attr-defined]
    assert alone[0] != alone[1]


def test_transcripts_of_the_test_set_and_their_times(run: Callable[..., Result], corpus: Path) -> None:
    result = run("text")
    hypotheses = {row["id"]: row["hypothesis"] for row in recorded(result)}
    rows = rows_of(result, files_of_test(corpus))
    assert {f"{row['id']}.wav": row["transcript"] for row in rows} == hypotheses
    assert any(row["transcript"] for row in rows)
    for row in rows:
        assert [word["word"] for word in row["words"]] == str(row["transcript"]).split()  # type: ignore[attr-defined]
        assert all(0 <= word["start"] < word["end"] <= row["seconds"] for word in row["words"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", COMPARING)
def test_similarities_of_the_trials(run: Callable[..., Result], corpus: Path, tmp_path: Path, family: str) -> None:
    result, pairs = run(family), tmp_path / "pairs.txt"
    assert result.folder is not None
    names = [head_name(head.fold, head.seed, head.setting) for head in result.heads]
    for name in names:
        trials = [line.split() for line in (result.folder / f"{name}.trials.txt").read_text().splitlines()]
        pairs.write_text("".join(f"{corpus / one}\t{corpus / other}\n" for one, other, *_ in trials))
        rows = rows_of(result, [], pairs=pairs, heads=[name])
        scores = [float(trial[2]) for trial in trials]
        assert [row["similarity"] for row in rows] == pytest.approx(scores, abs=2e-6, rel=1e-5)
        assert [(f"{row['one']}.wav", f"{row['other']}.wav") for row in rows] == [(a, b) for a, b, *_ in trials]
    best = names[min(range(len(names)), key=lambda number: result.heads[number].development)]
    rows = rows_of(result, files_of_test(corpus))
    assert rows == rows_of(result, files_of_test(corpus), heads=[best])
    assert len(rows) == 16 * 15 // 2


def test_embeddings_compare_as_their_pairs(run: Callable[..., Result], corpus: Path, tmp_path: Path) -> None:
    result, files = run("speaker"), files_of_test(corpus)[:3]
    place = tmp_path / "new" / "embeddings.npy"
    assert main(["predict", str(result.folder), *files, "--embeddings", "--to", str(place)]) == 0
    unit = np.load(place) / np.linalg.norm(np.load(place), axis=1, keepdims=True)
    scores = [row["similarity"] for row in rows_of(result, files)]
    assert scores == pytest.approx([unit[0] @ unit[1], unit[0] @ unit[2], unit[1] @ unit[2]], abs=2e-6)


def test_waveforms_in_memory_are_answered_as_their_files(run: Callable[..., Result], corpus: Path) -> None:
    result, files = run("class"), files_of_test(corpus)
    samples = [soundfile.read(path, dtype="float32")[0] for path in files]
    assert result.folder is not None
    of_files = rows_of(result, files)
    for given in (
        samples,
        [torch.from_numpy(one) for one in samples],
        dict(zip("abcdefghijklmnop", samples, strict=True)),
    ):
        rows = list(predict(result.folder, given, progress=False).rows)
        assert [row["posteriors"] for row in rows] == [row["posteriors"] for row in of_files]
    assert [row["id"] for row in rows] == list("abcdefghijklmnop")
    twice = predict(result.folder, [samples[0], samples[1], samples[0]], progress=False).rows
    assert [row["class"] for row in twice] == [of_files[i]["class"] for i in (0, 1, 0)]


def test_answers_as_csv_and_json_lines(
    run: Callable[..., Result], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, files = run("class"), files_of_test(corpus)[:2]
    assert main(["predict", str(result.folder), *files]) == 0
    printed = capsys.readouterr()
    header, *lines = printed.out.splitlines()
    assert header == "id,path,seconds,class,posterior,posteriors.A,posteriors.ABA,posteriors.BC,posteriors.CAB"
    assert [line.split(",")[0] for line in lines] == ["f0-A", "f0-ABA"]
    assert "The mean of 2 heads of emotion on wavlm_nano answers" in printed.err
    place = tmp_path / "answers.jsonl"
    assert main(["predict", f"{result.folder}/result.json", *files, "--to", str(place)]) == 0
    rows = [json.loads(line) for line in place.read_text().splitlines()]
    assert [row["class"] for row in rows] == [line.split(",")[3] for line in lines]
    assert rows == rows_of(result, files)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--head", "fold9"], "There is no head 'fold9'; there are published-seed0, published-seed1."),
        (["--pairs", "pairs.txt"], "answer about one recording each"),
        (["--embeddings"], "answer about one recording each"),
        (["-u", "fbank"], "The heads were learned on an untrained wavlm_nano"),
        (["--to", "answers.txt"], "ends in neither .csv nor .jsonl"),
        (["--to", "answers.npy"], "--embeddings --to FILE.npy"),
        (["--to", "."], "is a folder; name the file"),
        (["--family", "own.py:Own"], "leave --family out"),
        (["missing.wav"], "There is no file or folder missing.wav"),
    ],
)
def test_what_does_not_fit_is_refused(
    run: Callable[..., Result],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.txt").write_text("a b\n")
    assert main(["predict", str(run("class").folder), files_of_test(corpus)[0], *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_takes_no_answers_is_refused_before_audio_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("downstream.prediction.writing.os.access", lambda folder, mode: False)
    assert main(["predict", "no-run", "no.wav", "--to", str(tmp_path / "answers.csv")]) == 2
    assert f"Nothing can be written into {tmp_path}" in capsys.readouterr().err


def test_several_heads_of_a_verifier_are_refused(run: Callable[..., Result], corpus: Path, tmp_path: Path) -> None:
    result = run("speaker")
    with pytest.raises(UserError, match="cannot be averaged over 2 heads; name one"):
        rows_of(result, files_of_test(corpus), heads=["published-seed0", "published-seed1"])
    with pytest.raises(UserError, match="names 'x', which is none of the 16 recordings; .* such as 'f0-A'"):
        rows_of(result, files_of_test(corpus), pairs=[("f0-A", "x")])
    with pytest.raises(UserError, match="nothing to be compared with"):
        rows_of(result, files_of_test(corpus)[:1])
    (tmp_path / "pairs.txt").write_text("a b\na b c\n")
    with pytest.raises(UserError, match=r"Pair 2 of .*pairs\.txt has 3 names \(a, b, c\)"):
        rows_of(result, files_of_test(corpus), pairs=tmp_path / "pairs.txt")


def test_waveforms_that_are_none_are_refused(run: Callable[..., Result]) -> None:
    folder = run("class").folder
    assert folder is not None
    wrong = {
        "two dimensions": ([np.zeros((2, 8_000), dtype=np.float32)], "has shape"),
        "integers": ([np.zeros(8_000, dtype=np.int16)], "Divide 16-bit PCM by 32768"),
        "nothing": ([], "No recording is named"),
        "some of each": (["a.wav", np.zeros(8_000, dtype=np.float32)], "not some of each"),
        "an object": ([object()], "is no tensor, array or list"),
    }
    for given, said in wrong.values():
        with pytest.raises(UserError, match=said):
            list(predict(folder, given, progress=False).rows)
