"""One file goes to another machine and answers there; files that are damaged, foreign or not trusted are refused."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from places import REPOSITORY
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_runs import FAMILIES, small_run, write_words

import upstream
from downstream.cli.main import main
from downstream.prediction import export, predict
from downstream.prediction.card import card_of
from downstream.results import HeadFile, opened_heads
from downstream.results.record import read_result
from upstream.errors import UserError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_words(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that gives the folder of a family's run."""
    place = tmp_path_factory.mktemp("runs")

    def folder(family: str, *overrides: str, final: bool = False) -> Path:
        found = small_run(family, corpus, place, *overrides, final=final).folder
        assert found is not None
        return found

    return folder


@pytest.fixture
def exported(run: Callable[..., Path], tmp_path: Path) -> Path:
    return export(run("class"), tmp_path / "away" / "head.safetensors")[0]


def metadata(file: Path) -> dict[str, Any]:
    with safe_open(file, "pt") as heads:
        found: dict[str, Any] = json.loads(heads.metadata()["wavprobe"])
    return found


def rewritten(file: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the metadata of a file in place."""
    about, tensors = metadata(file), load_file(file)
    change(about)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, file, {"wavprobe": json.dumps(about)})
    return file


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("final", [False, True], ids=["chosen", "final"])
def test_the_file_alone_answers_as_its_run(
    run: Callable[..., Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, final: bool
) -> None:
    overrides = ["sweep.layer=[0, mix]"] if final else []  # runs of their own
    folder = run(family, *overrides, final=final)
    away = tmp_path / "away"
    assert main(["export", str(folder), str(away / "shared.safetensors")]) == 0
    assert sorted(path.name for path in away.iterdir()) == ["shared.md", "shared.safetensors"]
    files = sorted(map(str, corpus.glob("g*.wav")))
    expected = list(predict(folder, files, progress=False).rows)
    monkeypatch.chdir(away)
    assert list(predict("shared.safetensors", files, progress=False).rows) == expected
    assert main(["predict", "shared.safetensors", *files, "--to", "rows.jsonl"]) == 0
    assert [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()] == expected
    compares = "similarity" in expected[0]
    assert ("one.wav other.wav\n" in Path("shared.md").read_text()) == compares
    assert ('["one.wav", "other.wav"]' in Path("shared.md").read_text()) == compares
    content = Path("shared.safetensors").read_bytes() + Path("shared.md").read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(corpus.parent).encode() not in content
    assert ("final" in metadata(Path("shared.safetensors"))["heads"]) == final


def test_the_card_says_what_upstream_data_score_and_use(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("class")
    record = read_result(folder / "result.json")
    file, card = export(folder, tmp_path / "heads.safetensors", ["published-seed1"])
    text = card.read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front == {"library_name": "wavprobe", "tags": ["speech", "emotion"]}
    metric = record.metric_types[record.primary.name]
    for said in (
        f"# {record.recipe.resolved['title']}",
        "The head published-seed1",
        "wavlm_nano, untrained: 4 layers of 64, float32; drawn from seed 3",
        f"{record.corpus.title} ({record.corpus.licence})",
        f"{metric.title} {metric.written(record.primary.value)}",
        f"{metric.written(record.chance)}",
        "A, ABA, BC, CAB",
        f"wavprobe predict {file.name}",
        *record.caveats,
    ):
        assert said in text, said
    (tensors,) = {name.split(".")[0] for name in load_file(file)}
    assert tensors == "published-seed1"


def test_places_that_are_none_are_refused(
    run: Callable[..., Path], exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("class")
    kept = (folder / "head.safetensors").read_bytes()
    (tmp_path / "README.md").write_text("# My own work\n")
    for arguments, said in (
        ([folder, folder / "head.safetensors"], "is the folder of a run, whose files stay"),
        ([folder, tmp_path], "is a folder; name the file"),
        ([folder, tmp_path / "README.safetensors"], "README.md is there, and is no model card"),
        ([folder, tmp_path / "head.pt"], "does not end in .safetensors"),
        ([folder, tmp_path / "h.safetensors", "--head", "fold1"], "There is no head 'fold1'"),
        ([exported, tmp_path / "h.safetensors"], "has no record beside it"),
        ([tmp_path / "nothing", tmp_path / "h.safetensors"], "There is no folder or file"),
    ):
        assert main(["export", *map(str, arguments)]) == 2
        assert said in capsys.readouterr().err
    assert (folder / "head.safetensors").read_bytes() == kept
    assert (tmp_path / "README.md").read_text() == "# My own work\n"


def test_no_card_is_left_of_heads_that_found_no_room(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *contents: bytes) -> None:
        if path.suffix == ".safetensors":
            raise UserError("No space left on device")
        path.write_bytes(b"".join(contents))

    monkeypatch.setattr(sys.modules["downstream.prediction.export"], "write_atomically", full)
    with pytest.raises(UserError, match="No space left"):
        export(run("class"), tmp_path / "heads.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_card_claims_no_speakers_and_names_no_folder(run: Callable[..., Path]) -> None:
    folder = run("class")
    record = read_result(folder / "result.json")
    with opened_heads(folder / "head.safetensors") as tensors:
        about = tensors.metadata()
    assert isinstance(about, HeadFile)
    corpus = record.corpus.model_copy(
        update={"speaker_disjoint": False, "used": record.corpus.used.model_copy(update={"speakers": 0})}
    )
    recipe = record.recipe.model_copy(update={"resolved": record.recipe.resolved | {"title": "Task, speaker-disjoint"}})
    about = about.model_copy(update={"upstream": about.upstream.model_copy(update={"name": ".../my model"})})
    text = card_of(about, record.model_copy(update={"corpus": corpus, "recipe": recipe}), "my heads.safetensors")
    for said in (
        "# Task, speakers may be shared by training and test",
        "utterances, speakers not known |",
        "wavprobe predict 'my heads.safetensors' -u 'FOLDER/my model' recording.wav",
        'downstream.predict("my heads.safetensors", ["recording.wav"], upstream="FOLDER/my model")',
    ):
        assert said in text, said


def test_a_folder_that_is_no_runs_tells_the_runs_below_it(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("class")
    with pytest.raises(UserError, match=rf"holds \d+ runs?; name one: .*{re.escape(folder.name)}"):
        predict(folder.parent, ["a.wav"])
    with pytest.raises(UserError, match="no run has finished there"):
        predict(tmp_path, ["a.wav"])
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"neither a run's result\.json nor a file of heads"):
        predict(tmp_path / "weights.pt", ["a.wav"])


# ---------------------------------------------------------------- damaged, foreign, not trusted


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def foreign(file: Path) -> None:
    save_file({"encoder.weight": torch.zeros(3)}, file, {"format": "pt"})


def other_metadata(file: Path) -> None:
    save_file({"head.weight": torch.zeros(3)}, file, {"wavprobe": "{no json"})


def half_precision(file: Path) -> None:
    halved, about = {name: tensor.half() for name, tensor in load_file(file).items()}, metadata(file)
    save_file(halved, file, {"wavprobe": json.dumps(about)})


def without_a_tensor(file: Path) -> None:
    tensors, about = load_file(file), metadata(file)
    tensors.pop("published-seed0.output.bias")
    save_file(tensors, file, {"wavprobe": json.dumps(about)})


def not_finite(file: Path) -> None:
    tensors, about = load_file(file), metadata(file)
    tensors["published-seed0.output.bias"][1] = torch.nan
    save_file(tensors, file, {"wavprobe": json.dumps(about)})


SPOILT = {
    not_finite: r"NaN or infinite weights in output\.bias",
    truncated: "is not a whole safetensors file",
    emptied: "is not a whole safetensors file",
    foreign: "holds 1 tensor and nothing that says of which heads",
    other_metadata: "is not valid JSON",
    half_precision: r"output\.bias is float16 \[4\] instead of float32 \[4\]",
    without_a_tensor: r"output\.bias is missing instead of float32 \[4\]",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_damaged_file_is_refused(exported: Path, corpus: Path, spoil: Callable[[Path], None]) -> None:
    spoil(exported)
    with pytest.raises(UserError, match=SPOILT[spoil]):
        predict(exported, [str(corpus / "a0-A.wav")], progress=False)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 3, "have format 3; this version reads 1 and 2"),
        ("states", None, r"are damaged \(states: "),
        ("code", "import os", r"are damaged \(code: Extra inputs"),
        ("heads", {}, r"are damaged \(heads: "),
        ("folds", {}, "do not say what the outputs of published are"),
        ("folds.published.outputs", list("abcde"), r"instead of float32 \[5"),
        ("folds", {"published": {"outputs": ["a"]}, "x": {"outputs": ["b"]}}, "have different outputs; name one"),
        ("recipe.head", {"projection": 10**9}, "the largest that is allowed is 16,384"),
        ("heads.published-seed0.layer", 99, "There is no layer 99"),
        ("upstream.dim", 10**9, "contradict themselves: .* has other layers, another width"),
        ("score.name", "luck", "have a score 'luck', which classification does not measure"),
        ("folds.published.outputs", ["a", "b", "b", "c"], "give several outputs of published the same name"),
        ("upstream.fingerprint", "0" * 64, "is not the upstream"),
        ("upstream.name", "evil.py:build", r"whose code would run.* -u FOLDER/evil.py:build FILES"),
        ("upstream.name", ".../my model", r"with -u: wavprobe predict .*head.safetensors -u 'FOLDER/my model' FILES"),
        ("task", "evil.py:Family", "its code would run"),
        ("task", "singing", "There is no task 'singing'"),
    ],
)
def test_metadata_that_do_not_fit_or_name_code_are_refused(
    exported: Path, corpus: Path, key: str, value: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exported.parent)
    Path("evil.py").write_text("raise SystemExit('it ran')\n")

    def change(about: dict[str, Any]) -> None:
        *sections, last = key.split(".")
        for section in sections:
            about = about[section]
        about[last] = value

    rewritten(exported, change)
    if "different outputs" in said:
        rewritten(exported, lambda about: about["heads"]["published-seed1"].update(fold="x"))
    with pytest.raises(UserError, match=said):
        predict(exported, [str(corpus / "a0-A.wav")], progress=False)


def test_files_of_a_run_that_changed_are_refused(run: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run("class"), folder)
    rewritten(folder / "head.safetensors", lambda about: about["upstream"].update(name="fbank"))
    with pytest.raises(UserError, match=r"head\.safetensors changed since its run wrote it"):
        predict(folder, [str(corpus / "a0-A.wav")])
    (folder / "head.safetensors").unlink()
    with pytest.raises(UserError, match="the run's heads were removed"):
        predict(folder, [str(corpus / "a0-A.wav")])


def test_an_old_file_is_read_with_its_record_and_not_without(
    run: Callable[..., Path], corpus: Path, tmp_path: Path
) -> None:
    folder, files = tmp_path / "copy", sorted(map(str, corpus.glob("f*.wav")))
    shutil.copytree(run("class"), folder)
    expected = list(predict(folder, files, progress=False).rows)
    heads = folder / "head.safetensors"
    outputs = json.dumps({"published": metadata(heads)["folds"]["published"]["outputs"]})
    save_file({name: tensor.clone() for name, tensor in load_file(heads).items()}, heads, {"outputs": outputs})
    record = json.loads((folder / "result.json").read_text())
    del record["digest"], record["artifacts"], record["final"]  # as versions before them wrote it
    (folder / "result.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="untrained wavlm_nano|is not the upstream"):
        predict(folder, files, progress=False)  # the seed of an untrained upstream was not kept
    model = upstream.load("wavlm_nano", random_init=True, seed=3)
    assert list(predict(folder, files, upstream=model, progress=False).rows) == expected
    shutil.move(heads, tmp_path / "alone.safetensors")
    with pytest.raises(UserError, match=r"tells its outputs alone; put it back beside the result\.json"):
        predict(tmp_path / "alone.safetensors", files, progress=False)


def test_an_external_family_runs_where_the_user_names_it(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "tests" / "own_family.py", tmp_path)
    recipe = {
        "name": "own", "version": 1, "title": "Own", "task": "own_family.py:FixedProjections", "protocol": "clean",
        "corpus": {"name": "manifest"}, "split": {"rule": "published"}, "primary": "hit_rate",
    }  # fmt: skip
    Path("own.yaml").write_text(yaml.safe_dump(recipe))
    common = ["-u", "fbank_no_cmvn", "-d", "own.yaml", "--data", str(corpus), "--store", "store"]
    assert main(["run", *common, "-n", "mine", "--final"]) == 0
    (record,) = Path("results").rglob("result.json")
    assert (record.parent / "final.safetensors").is_file()
    wav = str(corpus / "f0-A.wav")
    assert main(["predict", str(record), wav]) == 2
    assert "--family PATH.py:CLASS" in capsys.readouterr().err
    assert main(["predict", str(record), wav, "--family", "own_family.py:FixedProjections"]) == 2
    assert "the family does not define predictor" in capsys.readouterr().err
    assert main(["predict", str(record), wav, "--family", "absent.py:FixedProjections"]) == 2
    assert "There is no file absent.py" in capsys.readouterr().err
