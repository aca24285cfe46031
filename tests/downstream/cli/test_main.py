"""The command `wavprobe`: its verbs, how each describes itself, and what it says of mistakes."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from places import REPOSITORY
from tones import write_emotions

import downstream
from downstream.cli import validate
from downstream.cli.main import VERBS, main
from downstream.results.record import read_result
from upstream.errors import UserError

FAST = ["-o", "split.folds=3", "-o", "training.steps=20", "-o", "training.evaluate_every=10"]


def wavprobe(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "downstream.cli.main", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_its_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"wavprobe {version('wavprobe')}\n"
    assert downstream.__version__ == version("wavprobe")


def test_without_a_verb_it_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().out
    for name, title in VERBS.items():
        assert name in shown
        assert title in " ".join(shown.split())


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_describes_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: wavprobe {name}")
    assert VERBS[name][1:] in " ".join(shown.split())


@pytest.mark.parametrize(
    "arguments", [["runn"], ["run", "--nothing"], ["list", "all"], ["validate"], ["run", "-l", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert "usage: wavprobe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "-d", "emotion"], "-u UPSTREAM is missing"),
        (["run", "-u", "wavlm_bas", "-d", "emotion"], "Did you mean wavlm_base?"),
        (["validate", "emotoin"], "Did you mean emotion?"),
        (["convert", "/nowhere.pt", "/tmp/never"], "/nowhere.pt"),
    ],
)
def test_what_the_user_can_fix_is_status_2_and_a_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the form "wavprobe VERB: sentence" on standard error, without a traceback."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"wavprobe {arguments[0]}: ")
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_verbose_shows_the_traceback_of_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-u", "fbank", "-d", "emotoin", "-v"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.strip().splitlines()[-1].startswith("wavprobe run: ")


def test_a_bug_is_no_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(validate, "run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["validate", "emotion"])


def test_an_interruption_is_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "run", interrupted)
    assert main(["validate", "emotion"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_a_run_is_recorded_with_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    data = write_emotions(tmp_path / "data")
    places = ["--results", str(tmp_path / "r"), "--store", str(tmp_path / "s")]
    assert (
        main(["run", "-u", "fbank_no_cmvn", "-d", "emotion", "-c", "manifest", "--data", str(data), *FAST, *places])
        == 0
    )
    (record,) = (tmp_path / "r").rglob("result.json")
    assert read_result(record).command.startswith("wavprobe run -u fbank_no_cmvn -d emotion -c manifest")
    assert str(record) in capsys.readouterr().out


def test_status_and_streams_of_a_process() -> None:
    wrong = wavprobe("validate", "emotoin")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("wavprobe validate: There is no recipe")
    right = wavprobe("validate", "emotion")
    assert (right.returncode, right.stderr) == (0, "")


def test_its_list_imports_no_pytorch() -> None:
    script = (
        "import sys; from downstream.cli.main import main; status = main(['list'])\n"
        "print(status, 'torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "0 False"
    assert "wavlm_base" in shown.stdout


# ---------------------------------------------------------------- validate

WRONG = {
    "key.yaml": ("  steps:", "  stepz:", "did you mean steps?"),
    "value.yaml": ("primary: accuracy", "primary: wer", "primary is wer"),
    "corpus.yaml": ("  name: ravdess", "  name: ravdes", "ravdess"),
}


@pytest.fixture
def wrong(tmp_path: Path) -> list[str]:
    """Files of recipes with a mistake each."""
    text = (REPOSITORY / "recipes" / "emotion.yaml").read_text()
    for name, (old, new, _) in WRONG.items():
        assert old in text
        (tmp_path / name).write_text(text.replace(old, new))
    return [str(tmp_path / name) for name in WRONG]


def test_right_recipes_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "emotion", "superb/asr", "demo/sv"]) == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("emotion: valid (classification, clean, version ")
    assert second.startswith("superb/asr: valid (recognition, superb, version ")
    assert third.startswith("demo/sv: valid (verification, demo, version ")


def test_every_wrong_recipe_is_named_with_its_fix(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """And the right one among them is called valid."""
    assert main(["validate", wrong[0], "emotion", *wrong[1:]]) == 2
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [line for line in shown.out.splitlines() if line.startswith("emotion: valid")]
    for _, _, words in WRONG.values():
        assert words in shown.err
    assert len(shown.err.strip().splitlines()) >= 3
    with pytest.raises(UserError, match="Did you mean training.steps?"):
        validate.run(arguments("emotion", "-o", "training.step=4"))


def arguments(*given: str) -> object:
    from downstream.cli.main import parser

    return parser().parse_args(["validate", *given])


def test_overrides_are_validated(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "emotion", "-o", "training.steps=7", "-o", "optimizer.schedule=cosine"]) == 0
    assert main(["validate", "emotion", "-o", "training.steps=none"]) == 2
    assert "'training.steps' is 'none'" in capsys.readouterr().err


def test_a_recipe_is_shown_with_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "emotion", "--show", "-o", "optimizer.warmup=12"]) == 0
    shown = capsys.readouterr().out
    for line in ("warmup: 12", "schedule: constant", "pooling: mean", "codec: float16", "order_seed: 0"):
        assert line in shown
