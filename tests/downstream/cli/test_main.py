"""The command `wavprobe`: its verbs, how each describes itself, and what it says of mistakes."""

from __future__ import annotations

import getpass
import os
import pwd
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from places import REPOSITORY
from tones import write_emotions

import downstream
from downstream.cli import validate
from downstream.cli.main import VERBS, main, parser
from downstream.results.record import read_result
from upstream.errors import UserError
from upstream.user import cache_folder, introduce_user

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
    ("line", "expected"),
    [
        ("predict RUN -u U a.wav b.wav", {"run": "RUN", "recordings": ["a.wav", "b.wav"], "upstream": "U"}),
        ("predict -u U RUN a.wav --head x b.wav", {"run": "RUN", "recordings": ["a.wav", "b.wav"], "head": ["x"]}),
        ("predict RUN --pairs p.txt", {"run": "RUN", "recordings": [], "pairs": "p.txt"}),
        ("predict RUN a.wav -v -- -b.wav", {"recordings": ["a.wav", "-b.wav"], "verbose": True}),
        ("extract a -u U b --to d -l -1 -", {"recordings": ["a", "b", "-"], "layers": (-1,)}),
        ("export RUN --head x h.safetensors", {"runs": ["RUN"], "to": Path("h.safetensors"), "head": ["x"]}),
        ("export A B --seed 1 p.zip", {"runs": ["A", "B"], "to": Path("p.zip"), "seed": 1}),
        ("plot a --to d b", {"runs": [Path("a"), Path("b")], "to": Path("d")}),
        ("check --device cpu U --json", {"upstream": "U", "device": "cpu", "json": True}),
        ("store estimate --hours 3 -u U", {"store_command": "estimate", "hours": 3.0}),
    ],
)
def test_options_stand_anywhere(line: str, expected: dict[str, object]) -> None:
    options = vars(parser().parse_args(line.split()))
    assert {name: options[name] for name in expected} == expected


def test_options_that_exclude_each_other_or_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in (
        ("extract a -u U --to d --frames b --means", "not allowed with argument --frames"),
        ("predict RUN --upstreem U a.wav", "unrecognized arguments: --upstreem"),
        ("extract a b --to d", "the following arguments are required: -u/--upstream"),
        ("extract -u U --to d", "the following arguments are required: FILES"),
    ):
        with pytest.raises(SystemExit):
            parser().parse_args(line.split())
        assert said in capsys.readouterr().err


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


def test_a_bug_is_a_sentence_that_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise ZeroDivisionError("of a count")

    monkeypatch.setattr(validate, "run", broken)
    assert main(["validate", "emotion"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: of a count (downstream/cli/main.py, line " in said
    assert "Please report it" in said
    assert main(["validate", "emotion", "-v"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert said in shown


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_too_little_memory_is_no_bug(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: object) -> int:
        raise error

    monkeypatch.setattr(validate, "run", broken)
    assert main(["validate", "emotion"]) == 2
    assert "There is not enough memory" in capsys.readouterr().err


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


# ---------------------------------------------------------------- surroundings

ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, ASCII])
def test_a_terminal_that_is_not_utf8_gets_what_it_can_show(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        (REPOSITORY / "recipes" / "emotion.yaml").read_text().replace("title: ", "title: 感情 ▂█ – "), encoding="utf-8"
    )
    shown = subprocess.run(
        [sys.executable, "-m", "downstream.cli.main", "validate", "--show", str(tmp_path / "own.yaml")],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        check=True,
    )
    assert b"\\u611f\\u60c5 :@ " in shown.stdout


def test_a_reader_who_has_read_enough_ends_it_quietly() -> None:
    for command in (["list"], ["validate", "--show", "emotion"]):
        line = f"set -o pipefail; {shlex.join([sys.executable, '-m', 'downstream.cli.main', *command])} | true"
        ended = subprocess.run(["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(("where", "status"), [("> /dev/full", 2), (">&-", 0)])
def test_an_output_that_cannot_be_written(where: str, status: int) -> None:
    line = f"{shlex.join([sys.executable, '-m', 'downstream.cli.main', 'validate', 'emotion'])} {where}"
    ended = subprocess.run(["bash", "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == status
    said = "wavprobe validate: No space left on device. Check the path, its permissions and the space on its disk.\n"
    assert ended.stderr == (said if status else "")


@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="only root can become a nobody")
def test_a_user_whom_the_system_does_not_know(tmp_path: Path) -> None:
    """As in `docker run -u 1234`: PyTorch's optimisers and transformers ask for the user's name."""
    tmp_path.chmod(0o777)
    script = (
        "import os; from downstream.cli.main import main\n"
        "assert main(['list']) == 0\n"
        "from upstream.files import DEFAULT_STORE; print(DEFAULT_STORE)\n"
        "import huggingface_hub.constants\n"
        "import torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))])"
    )
    known = {name: value for name, value in os.environ.items() if name not in USER_VARIABLES}
    shown = subprocess.run(
        ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", sys.executable, "-B", "-c", script],
        cwd=tmp_path,
        env=known | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied" in shown.stderr or "No module named" in shown.stderr:
        pytest.skip("this interpreter is not for everybody")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1].endswith(f"{tmp_path.name}/.cache/wavprobe")


USER_VARIABLES = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME")


def test_the_nameless_get_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    for name in USER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert cache_folder() == Path(".cache")
    introduce_user()
    assert Path.home() == Path.cwd()
    assert getpass.getuser() == f"user{os.getuid()}"
    monkeypatch.setenv("LOGNAME", "ada")
    introduce_user()
    assert getpass.getuser() == "ada"


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


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("valdate", "there is no verb 'valdate'. Did you mean validate?"),
        ("train", "there is no verb 'train'. The verbs are run, "),
    ],
)
def test_an_unknown_verb_suggests_the_nearest_or_none(
    typed: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([typed, "emotion"])
    assert words in capsys.readouterr().err


def test_settings_after_one_flag_are_answered_with_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "-u", "fbank", "-d", "demo/emotion", "-o", "training.steps=5", "training.batch=4"])
    assert "Each setting has a flag of its own: -o training.batch=4" in capsys.readouterr().err
