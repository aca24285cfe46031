"""Names of upstreams: spellings, aliases and repositories of one, s3prl's that are here and that are not."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path

import pytest
from places import REPOSITORY

import upstream
from upstream.errors import UserError
from upstream.names import BY_REPOSITORY, NAMED, is_repository, not_here, resolved, spellings
from upstream.nearest import plain
from upstream.request import NamedUpstream

COMMIT = re.compile("[0-9a-f]{40}")


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("wavlm_base", "wavlm_base"),
        ("wavlm-base", "wavlm_base"),
        ("WavLM-Base", "wavlm_base"),
        ("WAVLM_BASE_PLUS", "wavlm_base_plus"),  # torchaudio's
        ("wavlm_base+", "wavlm_base_plus"),
        ("wavlm", "wavlm_base_plus"),  # s3prl's default
        ("wavlm_base+@v1", "wavlm_base_plus@v1"),
        ("microsoft/wavlm-large", "wavlm_large"),
        ("hubert", "hubert_base"),
        ("HuBERT-Base", "hubert_base"),
        ("hubert-base-ls960", "hubert_base"),
        ("facebook/hubert-base-ls960@main", "hubert_base@main"),
        ("wav2vec2", "wav2vec2_base_960"),
        ("wav2vec2_large_lv60k", "wav2vec2_large_ll60k"),
        ("unispeech_sat", "unispeech_sat_base_plus"),
        ("whisper_tiny.en", "whisper_tiny_en"),
        ("openai/whisper-large-v2", "whisper_large_v2"),
        ("mHuBERT-147", "mhubert_147"),
        ("baseline", "fbank"),
        # Others are the hub's, or stay as they are.
        ("asapp/sew-tiny-100k", "hf:asapp/sew-tiny-100k"),
        ("asapp/sew-tiny-100k@v1", "hf:asapp/sew-tiny-100k@v1"),
        ("hf:microsoft/wavlm-large", "hf:microsoft/wavlm-large"),
        ("Facebook/hubert_base", "hf:Facebook/hubert_base"),
        ("models/base.pt", "models/base.pt"),
        ("models/mine.py:build", "models/mine.py:build"),
        ("./wavlm-base", "./wavlm-base"),
        ("", ""),
        ("a\0b", "a\0b"),
    ],
)
def test_what_a_name_stands_for(typed: str, name: str, elsewhere: Path) -> None:
    assert resolved(typed) == name


def test_a_folder_here_comes_before_aliases_and_the_hub(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("wavlm-base", "asapp/sew-tiny-100k", "microsoft/wavlm-large"):
        (elsewhere / name).mkdir(parents=True)
        with caplog.at_level(logging.WARNING):
            assert resolved(name) == name
    assert "wavlm-base is the file or folder here; type wavlm_base for that upstream." in caplog.text
    assert "type hf:asapp/sew-tiny-100k for that upstream" in caplog.text
    with pytest.raises(UserError, match="wavlm-base"):  # an empty folder is no checkpoint
        upstream.load("wavlm-base")


def test_a_name_of_the_table_comes_before_a_folder(elsewhere: Path, caplog: pytest.LogCaptureFixture) -> None:
    (elsewhere / "fbank").mkdir()
    assert upstream.load("fbank").name == "fbank"
    assert "fbank is the upstream of that name; type ./fbank for the file or folder here." in caplog.text


def test_a_path_into_a_folder_here_is_no_repository(elsewhere: Path) -> None:
    """A mistyped path asks nothing of the network."""
    (elsewhere / "models").mkdir()
    assert resolved("models/wavlm") == "models/wavlm"
    with pytest.raises(UserError, match="The folder models is here, but has no wavlm"):
        upstream.load("models/wavlm")


def test_the_record_has_the_name_of_the_table(elsewhere: Path) -> None:
    typed = upstream.load("WavLM-Nano", random_init=True)
    assert (typed.name, typed.fingerprint) == ("wavlm_nano", upstream.load("wavlm_nano", random_init=True).fingerprint)


def test_no_spelling_has_two_meanings() -> None:
    meant: dict[str, set[str]] = {}
    for name, row in spellings().items():
        meant.setdefault(plain(name), set()).add(row.name)
    assert {spelling: names for spelling, names in meant.items() if len(names) > 1} == {}
    assert not any(not_here(name) for name in spellings())


def test_cells_are_of_their_form() -> None:
    assert len(BY_REPOSITORY) == len([row for row in NAMED.values() if row.repository])
    for row in NAMED.values():
        assert row.repository is None or is_repository(row.repository)
        assert row.revision is None or COMMIT.fullmatch(row.revision)
        assert min(row.layers, row.width, row.stride) > 0


def names_of_s3prl() -> list[str]:
    """The names that `s3prl.hub` offers, from its text: importing it needs an older torchaudio."""
    spec = importlib.util.find_spec("s3prl")
    if spec is None or spec.origin is None:
        pytest.skip("s3prl is not installed")
    files = sorted((Path(spec.origin).parent / "upstream").glob("*/hubconf.py"))
    defined = [name for file in files for name in re.findall(r"^def ([a-z]\w*)\(", file.read_text(), re.MULTILINE)]
    assert len(defined) > 100
    return defined


def test_every_name_of_s3prl_is_here_or_said_not_to_be() -> None:
    known = {plain(name) for name in spellings()}
    silent = [name for name in names_of_s3prl() if plain(name) not in known and not not_here(name)]
    assert silent == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("PASE+", r"PASE\+ is PASE\+, which is not available here"),
        ("pase_plus", r"pase_plus is PASE\+, which is not available here"),
        ("apc_360hr", "is APC"),
        ("wav2vec_large", "wav2vec 2.0 is wav2vec2_base_960"),
        ("hubert_local", "name the checkpoint itself, -u PATH"),
        ("hf_wav2vec2_custom", "name the repository itself, -u ORG/NAME"),
        ("spectrogram", "fbank_no_cmvn and mfcc"),
    ],
)
def test_what_is_not_here_says_so_and_suggests_no_other(name: str, words: str, elsewhere: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        upstream.load(name)
    assert "Did you mean" not in str(caught.value)


def test_the_beginning_of_a_name_is_no_slip_in_the_first_letter_of_another(elsewhere: Path) -> None:
    with pytest.raises(UserError, match=r"Did you mean mhubert_147\?"):
        upstream.load("mhubert")


def line_of(row: NamedUpstream) -> str:
    """The line of a named upstream in docs/names.md."""
    aliases = ", ".join(f"`{alias}`" for alias in row.aliases)
    where = row.repository or ("shipped" if row.folder else "")
    return f"| `{row.name}` | {aliases} | {row.description} | {row.layers} × {row.width} | {where} |"


def test_the_page_of_names_has_the_table() -> None:
    page = (REPOSITORY / "docs" / "names.md").read_text(encoding="utf-8")
    table = "\n".join(map(line_of, NAMED.values()))
    assert f"\n{table}\n" in page, f"docs/names.md should have these lines:\n{table}"
