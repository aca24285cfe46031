"""The command as a new user types it, right and wrong."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from peers import KINDS, save_transformers, transformers_model
from places import REPOSITORY

import run_downstream
from downstream.cli.main import main, parser
from downstream.data.corpora.catalog import CORPORA
from downstream.recipes import recipe_names, suite_names
from downstream.results import recording
from downstream.results.record import read_result
from downstream.tasks.registry import load_recipe
from downstream.training import learning
from upstream.catalog import NAMED
from upstream.names import resolved
from upstream.store.__main__ import main as store_command

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def shell_lines(page: Path) -> list[str]:
    """Every line of a page's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def behind(command: str, pages: list[Path]) -> list[str]:
    """The arguments of a command wherever the pages have it."""
    lines = [line for page in pages for line in shell_lines(page)]
    return [line.partition(f"{command} ")[2] for line in lines if f"{command} " in line]


RUNS = behind("run_downstream.py", PAGES[:1]) + behind("wavprobe run", PAGES[:1])
STORE = behind("wavprobe store", PAGES)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path / "results"), "--store", str(tmp_path / "store")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder with a manifest: four speakers, two emotions."""
    folder = tmp_path / "data"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = ["path,speaker,emotion"]
    for index in range(32):
        loudness = 0.05 if index % 2 else 0.4
        soundfile.write(folder / f"{index}.wav", loudness * generator.standard_normal(6_000).clip(-2, 2), 16_000)
        lines.append(f"{index}.wav,s{index // 8},{'calm' if index % 2 else 'angry'}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


MANIFEST = ["-d", "emotion", "-c", "manifest", "-o", "split.folds=4", "-o", "training.steps=100"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says on standard error when it exits with status 2."""
    assert run_downstream.main(arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Traceback" not in said
    return said


# ---------------------------------------------------------------- right


def test_a_run_shows_its_score_and_leaves_its_record(
    data: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left_by_a_killed_run = [
        tmp_path / "store" / name for name in (".writing-1", "states/.writing-2", "demo/.writing-3")
    ]
    for path in left_by_a_killed_run:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
        os.utime(path, (time.time() - 60,) * 2)
    assert run_downstream.main(["-u", "fbank_no_cmvn", *MANIFEST, "--data", str(data), *folders]) == 0
    assert not any(path.exists() for path in left_by_a_killed_run)
    shown = capsys.readouterr().out
    (record,) = (tmp_path / "results").rglob("result.json")
    result = read_result(record)
    assert f"accuracy {100 * result.primary.value:.2f} %" in shown
    assert result.primary.value > 0.9
    assert "chance 50.00 %" in shown
    assert str(record) in shown
    assert result.command.startswith("python run_downstream.py -u fbank_no_cmvn -d emotion")


def test_list_is_quick_and_names_everything() -> None:
    """It must import neither torch nor anything that takes as long."""
    script = "import sys, run_downstream; run_downstream.main(['--list']); print('torch' in sys.modules)"
    began = time.perf_counter()
    shown = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert time.perf_counter() - began < 20
    assert shown.stdout.strip().endswith("False")
    for name in (*NAMED, *recipe_names(), *CORPORA, "ORG/NAME[@REVISION]", "module.py:function", "sv_voxceleb1"):
        assert name in shown.stdout


def test_a_single_layer_and_a_converted_checkpoint(
    data: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_transformers(transformers_model(KINDS["base"]), tmp_path / "model", do_normalize=False)
    arguments = ["-u", str(model), *MANIFEST, "--data", str(data), "-l", "1", *folders]
    assert run_downstream.main(arguments) == 0
    (record,) = (tmp_path / "results").rglob("result.json")
    result = read_result(record)
    assert (result.layers[0].layer, result.layer_weights) == (1, [0.0, 1.0, 0.0, 0.0])
    assert result.upstream.file_sha256 is not None
    assert result.upstream.revision is None
    assert run_downstream.main(arguments) == 0
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize("command", RUNS)
def test_the_readmes_commands_mean_something(command: str) -> None:
    options = parser().parse_args(["run", *shlex.split(command)])
    if options.list:
        return
    for upstream in options.upstream:
        name = resolved(upstream).partition("@")[0]
        assert name in NAMED or name.startswith("hf:") or "/" in name or ".py:" in name
    assert options.corpus is None or options.corpus in CORPORA
    for recipe in set(options.downstream) - set(suite_names()):
        assert recipe in recipe_names()
        load_recipe(recipe, options.override)


@pytest.mark.parametrize("command", STORE)
def test_the_documented_store_commands_work(command: str, tmp_path: Path) -> None:
    assert len(STORE) > 3
    assert main(["store", *shlex.split(command), "--store", str(tmp_path)]) == 0
    assert store_command([*shlex.split(command), "--store", str(tmp_path)]) == 0


def test_the_readmes_first_command(folders: list[str], tmp_path: Path) -> None:
    """It needs no network: told so, it must still end with a score, clearly above chance and called synthetic."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "run_downstream.py", *shlex.split(RUNS[0]), *folders]
    shown = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    (record,) = (tmp_path / "results").rglob("result.json")
    result = read_result(record)
    assert result.primary.low > result.chance
    assert "SYNTHETIC" in shown.stdout
    assert "extracting" in shown.stderr
    assert "audio s/s" in shown.stderr


# ---------------------------------------------------------------- wrong


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-d", "emotion"], "-u UPSTREAM is missing"),
        (["-u", "fbank"], "-d RECIPE is missing"),
        (["-u", "", "-d", "emotion"], "-u UPSTREAM is missing"),
        (["-u", "fbank", "-d", "emotion", "-c", ""], "'corpus.name' is empty"),
        (["-u", "fbank", "-d", "emotion", "-c", "\udce9"], "is not allowed in YAML"),
        (["-u", "\udce9", "-d", "emotion"], "There is no upstream or file"),
        (["-u", "fbank", "-d", "emotion", "--store-limit", "9" * 400], "larger than any disk"),
        (["-u", "wavlm_bas", "-d", "emotion"], "Did you mean wavlm_base?"),
        (["-u", "fbank", "-d", "emotoin"], "Did you mean emotion?"),
        (["-u", "fbank", "-d", "emotion", "-c", "ravdes"], "ravdess"),
        (["-u", "fbank", "-d", "emotion", "-o", "training.step=5"], "Did you mean training.steps?"),
        (["-u", "fbank", "-d", "emotion", "--data", "/nowhere"], "/nowhere"),
        (["-u", "fbank", "--random-init", "-d", "emotion"], "--random-init has no meaning for fbank"),
        (["-u", "wavlm_nano", "-d", "emotion"], "add --random-init"),
        (["-u", "fbank", "-d", "emotion", "--device", "warp"], "no device 'warp'"),
    ],
)
def test_mistakes_are_sentences(
    arguments: list[str], words: str, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused([*arguments, *folders], capsys)


@pytest.mark.parametrize("content", [b"", b"not audio"])
def test_a_corrupt_recording_is_named(
    content: bytes, data: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "17.wav").write_bytes(content)
    assert "17.wav" in refused(["-u", "fbank", *MANIFEST, "--data", str(data), *folders], capsys)


def test_a_recording_that_breaks_off_keeps_what_was_extracted(
    data: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The header of a FLAC is whole, so only decoding finds that it breaks off."""
    for index in range(32):
        samples, rate = soundfile.read(data / f"{index}.wav")
        soundfile.write(data / f"{index}.flac", samples, rate)
    manifest = (data / "manifest.csv").read_text().replace(".wav", ".flac")
    (data / "manifest.csv").write_text(manifest)
    whole = (data / "17.flac").read_bytes()
    (data / "17.flac").write_bytes(whole[: len(whole) // 2])
    arguments = ["-u", "fbank_no_cmvn", *MANIFEST, "--data", str(data), *folders]
    assert "17.flac" in refused(arguments, capsys)
    (data / "17.flac").write_bytes(whole)
    assert run_downstream.main(arguments) == 0


def test_a_truncated_checkpoint_is_named(
    data: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"cfg": {}, "model": {"weight": torch.zeros(10_000)}}, tmp_path / "wavlm.pt")
    content = (tmp_path / "wavlm.pt").read_bytes()
    (tmp_path / "wavlm.pt").write_bytes(content[:5_000])
    said = refused(["-u", str(tmp_path / "wavlm.pt"), *MANIFEST, "--data", str(data), *folders], capsys)
    assert "wavlm.pt is cut short or damaged" in said


def test_unwritable_folders_are_named(
    data: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    for flag in ("--results", "--store"):
        said = refused(
            ["-u", "fbank", *MANIFEST, "--data", str(data), *folders, flag, str(tmp_path / "file" / "below")], capsys
        )
        assert flag in said


def test_what_the_system_refuses_is_a_sentence(
    data: Path, folders: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/result.json")

    monkeypatch.setattr(recording, "write_result", refuse)
    said = refused(["-u", "fbank_no_cmvn", *MANIFEST, "--data", str(data), *folders], capsys)
    assert "/somewhere/result.json: Permission denied" in said
    assert "The run was computed, and only its record is missing: accuracy" in said


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999", "x"])
def test_a_seed_that_generators_refuse_is_refused_at_once(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_downstream.main(["-u", "fbank", "-d", "emotion", "--seed", seed])
    assert leaving.value.code == 2
    assert "--seed" in capsys.readouterr().err


def test_no_network_is_a_sentence_and_status_2(tmp_path: Path, folders: list[str]) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "run_downstream.py", "-u", "wavlm_base", "-d", "demo/emotion", *folders]
    process = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "Cannot reach the Hugging Face hub" in process.stderr
    assert "Traceback" not in process.stderr


def test_an_interruption_says_that_the_same_command_goes_on(
    data: Path, folders: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["-u", "fbank_no_cmvn", *MANIFEST, "--data", str(data), *folders]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning, "train", interrupted)
        assert run_downstream.main(arguments) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert run_downstream.main(arguments) == 0
    assert "0 s of audio went through the upstream in this run" in capsys.readouterr().out


def test_a_foreign_folder_is_a_sentence(data: Path, folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["-u", "fbank", "-d", "emotion", "--data", str(data), *folders], capsys)
    assert "-c manifest" in said
