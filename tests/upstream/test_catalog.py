"""The catalogue: one row a name, lazy loading, and errors for names that cannot be loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

import upstream
from upstream.catalog import NAMED, load_for_sizes, loading_of_each
from upstream.errors import UserError
from upstream.lazy import import_object
from upstream.request import NamedUpstream
from upstream.wavlm import WavLMConfig

IMPORTS_NOTHING_HEAVY = """
import argparse, sys
import upstream, upstream.store, upstream.wavlm
from upstream.catalog import NAMED
from upstream.store import command
from upstream.wavlm import convert

for verb in (command, convert):
    verb.add_arguments(argparse.ArgumentParser())
print([name for name in ("torch", "numpy", "pydantic", "rich") if name in sys.modules])
"""


def test_names_and_command_lines_import_nothing_heavy() -> None:
    command = [sys.executable, "-c", IMPORTS_NOTHING_HEAVY]
    output = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert output == "[]\n"


@pytest.mark.parametrize("package", ["upstream", "upstream.store", "upstream.wavlm"])
def test_every_exported_name_exists(package: str) -> None:
    names = import_object(f"{package}:__all__")
    assert all(import_object(f"{package}:{name}") is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        import_object(f"{package}:absent")


@pytest.mark.parametrize("row", NAMED.values(), ids=NAMED)
def test_every_row_has_a_loader(row: NamedUpstream) -> None:
    assert callable(import_object(row.loader))
    assert row.has_weights or row.repository is None
    assert row.configuration or row.repository or row.folder
    if row.kind == "wavlm":
        assert isinstance(import_object(f"upstream.wavlm.config:{row.configuration}"), WavLMConfig)


@pytest.mark.parametrize("name", ["wavlm_base", "wavlm_tiny", "wavlm_nano", "fbank", "fbank_no_cmvn", "mfcc"])
def test_the_table_states_the_sizes(name: str) -> None:
    row = NAMED[name]
    encoder = upstream.load(name, random_init=row.has_weights)
    assert (encoder.num_layers, encoder.dim, encoder.stride) == (row.layers, row.width, row.stride)


@pytest.mark.parametrize("name", NAMED)
def test_sizes_need_neither_weights_nor_a_network(name: str) -> None:
    encoder = load_for_sizes(name)
    assert encoder.name == name
    row = NAMED[name]
    assert (encoder.num_layers, encoder.dim, encoder.stride) == (row.layers, row.width, row.stride)


def test_filterbanks_have_no_untrained_weights() -> None:
    with pytest.raises(UserError, match="--random-init has no meaning for fbank"):
        upstream.load("fbank", random_init=True)


def test_untrained_weights_of_several_are_of_those_that_have_any(caplog: pytest.LogCaptureFixture) -> None:
    asked = {"random_init": True, "seed": 3}
    found = loading_of_each(["wavlm_base", "FBank", "hf:some/model"], asked)
    assert [found[name]["random_init"] for name in found] == [True, False, True]
    assert found["FBank"]["seed"] == 3
    assert "--random-init has no effect on FBank, in which nothing is learned." in caplog.text
    caplog.clear()
    assert loading_of_each(["fbank", "mfcc"], asked) == {"fbank": asked, "mfcc": asked}  # which `load` refuses
    assert loading_of_each(["wavlm_base", "fbank"], {"random_init": False})["fbank"] == {"random_init": False}
    assert not caplog.text


def test_a_misspelt_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match="Did you mean wavlm_base_plus"):
        upstream.load("wavlm_base_pluss")


def test_a_network_without_weights_names_the_one_that_is_shipped() -> None:
    with pytest.raises(UserError, match="add --random-init .* or name wavlm_tiny"):
        upstream.load("wavlm_nano")
    assert upstream.load("wavlm_nano", random_init=True).num_layers == 4


@pytest.mark.parametrize("name", ["fbank@v2", "wavlm_nano@abc", "wavlm_tiny@abc", "hf:a..b/c d", "hf:./x", "model.py"])
def test_invalid_names_are_user_errors(name: str) -> None:
    with pytest.raises(UserError):
        upstream.load(name)


def test_wrong_device_and_precision() -> None:
    with pytest.raises(UserError, match="'mps' is not supported"):
        upstream.load("wavlm_nano", random_init=True, device="mps")
    with pytest.raises(UserError, match="no precision 'float8'"):
        upstream.load("wavlm_nano", random_init=True, dtype="float8")
    with pytest.raises(UserError, match="no device 'tpu9000'"):
        upstream.load("wavlm_nano", random_init=True, device="tpu9000")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{folder}/model.safetensors", r"is here, but has no model\.safetensors\."),
        ("./wavlm", "Did you mean wavlm_base_plus"),
        ("quite something else", "`wavprobe list` shows the names"),
        ("absent/model.safetensors", "`wavprobe list` shows the names"),
        ("wavlm_huge", "Of that kind there are wavlm_base, wavlm_base_plus, wavlm_large, wavlm_tiny, wavlm_nano"),
    ],
)
def test_a_name_that_is_nothing_says_what_it_may_have_been(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        upstream.load(name.format(folder=tmp_path))


def test_a_colon_in_the_folder_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "run:1").mkdir()
    with pytest.raises(UserError, match="There is no file .*run:1/model.py"):
        upstream.load(f"{tmp_path}/run:1/model.py:build")
