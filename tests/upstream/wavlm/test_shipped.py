"""The encoder that is shipped with the harness, wavlm_tiny: loaded by name, without a network; and its folder."""

from __future__ import annotations

import configparser
import json
import socket
from pathlib import Path

import pytest
import torch
from peers import relative_error
from places import REPOSITORY

import upstream
from downstream.cli import main as cli
from upstream.errors import UserError
from upstream.names import NAMED
from upstream.version import harness_version
from upstream.wavlm import WavLMUpstream, checkpoint, names, untrained_fingerprints

ROW = NAMED["wavlm_tiny"]
FOLDER = REPOSITORY / "upstream" / "models" / "wavlm_tiny"
LARGEST = 10e6  # bytes, in the repository and in every wheel


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whatever opens a connection fail."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def wavlm(**loading: object) -> WavLMUpstream:
    loaded = upstream.load("wavlm_tiny", **loading)  # type: ignore[arg-type]
    assert isinstance(loaded, WavLMUpstream)
    return loaded


def test_its_name_loads_the_folder_of_the_package(no_network: None, waveforms: list[torch.Tensor]) -> None:
    named, by_path = wavlm(), upstream.load(str(FOLDER))
    assert named.fingerprint == by_path.fingerprint
    assert torch.equal(named(waveforms).layers, by_path(waveforms).layers)
    assert named.name == "wavlm_tiny"
    assert named.provenance.source == f"shipped with wavprobe {harness_version()}"
    assert named.provenance.file_sha256 == by_path.provenance.file_sha256
    assert not named.provenance.random_init


def test_half_precision_is_read_exactly() -> None:
    stored, built = checkpoint.read(FOLDER), wavlm().checkpoint().build()
    assert {tensor.dtype for tensor in stored.tensors.values()} == {torch.float16}
    loaded = names.from_native(built.state_dict(), built.config)
    assert loaded.keys() == stored.tensors.keys()
    plain = [name for name in loaded if "parametrizations" not in name]  # the weight norm is folded into its weight
    assert all(torch.equal(loaded[name], stored.tensors[name].float()) for name in plain)
    assert wavlm(dtype="bfloat16").dtype == torch.bfloat16


def test_transformers_gives_the_same_states(waveforms: list[torch.Tensor]) -> None:
    transformers = pytest.importorskip("transformers")
    peer = transformers.WavLMModel.from_pretrained(FOLDER, dtype="float32").eval()
    states = wavlm()(waveforms)
    for index, waveform in enumerate(waveforms):
        with torch.no_grad():
            theirs = torch.stack(peer(waveform[None], output_hidden_states=True).hidden_states)[:, 0]
        assert relative_error(states.utterance(index), theirs) < 1e-4


def test_its_control_has_its_architecture_and_other_weights(no_network: None, waveforms: list[torch.Tensor]) -> None:
    trained, control = wavlm(), wavlm(random_init=True, seed=2)
    assert control.config == trained.config
    assert control.provenance.random_init
    assert control.provenance.source == "drawn from seed 2"
    assert relative_error(control(waveforms).layers[-1], trained(waveforms).layers[-1]) > 0.1
    assert untrained_fingerprints([2])[control.fingerprint] == "wavlm_tiny of seed 2"


def test_the_catalogue_has_what_the_record_says() -> None:
    record = json.loads((FOLDER / "pretraining.json").read_text(encoding="utf-8"))
    assert ROW.parameters == f"{record['parameters'] / 1e6:.1f} M"
    assert ROW.hours == round(sum(source["hours"] for source in record["speech"]))
    assert ROW.folder == FOLDER


def test_nothing_is_fetched_so_there_is_no_revision() -> None:
    with pytest.raises(UserError, match="wavlm_tiny@main: a revision has no meaning where nothing is fetched"):
        upstream.load("wavlm_tiny@main")


def test_a_copy_is_made_by_name(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", "WavLM-Tiny", "copy"]) == 0
    assert "wrote" in capsys.readouterr().out
    assert upstream.load("copy").fingerprint == wavlm().fingerprint
    assert cli.main(["convert", "wavlm_base", "other"]) == 2  # of the hub
    assert cli.main(["convert", "wavlm_tiny", str(FOLDER)]) == 2
    assert "checkpoint of its own" in capsys.readouterr().err
    (elsewhere / "wavlm_tiny").mkdir()  # what is here comes first
    assert cli.main(["convert", "wavlm_tiny", "third"]) == 2


def test_the_wheel_has_every_file_and_they_are_small() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    patterns = setup["options.package_data"]["upstream"].split()
    shipped = {path for pattern in patterns for path in (REPOSITORY / "upstream").glob(pattern)}
    files = set(FOLDER.iterdir())
    needed = {"config.json", "model.safetensors", "preprocessor_config.json", "pretraining.json", "README.md"}
    assert needed <= {path.name for path in files} <= needed | {"scores.json"}
    assert files <= shipped
    assert sum(path.stat().st_size for path in files) < LARGEST
