"""Where models of transformers come from: the hub, its cache, directories and single files."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_encoders import KINDS, noise, save

import upstream
from upstream import huggingface
from upstream.errors import UserError


class TestHub:
    REVISION = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty local cache and no network."""
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        return tmp_path

    def put(self, cache: Path) -> None:
        """Lay a checkpoint into the cache as the hub's client would."""
        repository = cache / "models--ORG--NAME"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(self.REVISION)
        save(KINDS["hubert"], repository / "snapshots" / self.REVISION)

    @pytest.mark.parametrize("typed", ["hf:ORG/NAME", "hf:ORG/NAME@main", f"hf:ORG/NAME@{REVISION}", "ORG/NAME"])
    def test_cached(self, typed: str, cache: Path) -> None:
        self.put(cache)
        encoder = huggingface.load(typed)
        assert (encoder.name, encoder.provenance.source) == (typed, "ORG/NAME")
        assert encoder.provenance.revision == self.REVISION

    @pytest.mark.parametrize("typed", ["hf:ORG/OTHER", "hf:ORG/NAME@v2"])
    def test_not_cached(self, typed: str, cache: Path) -> None:
        self.put(cache)
        repository = typed.removeprefix("hf:").partition("@")[0]
        with pytest.raises(UserError, match=f"not in the local cache.*hf download {repository}"):
            huggingface.load(typed)

    def test_a_repository_that_is_an_adapter(self, cache: Path) -> None:
        self.put(cache)
        snapshot = cache / "models--ORG--NAME" / "snapshots" / self.REVISION
        for file in snapshot.iterdir():
            file.unlink()
        (snapshot / "adapter_config.json").write_text('{"base_model_name_or_path": "facebook/hubert-base-ls960"}')
        with pytest.raises(
            UserError, match=r"an adapter \(LoRA\) .* type the model's own name: hf:facebook/hubert-base"
        ):
            huggingface.load("hf:ORG/NAME")

    def test_what_the_hubs_client_raises(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("huggingface_hub.snapshot_download", full)
        with pytest.raises(UserError, match=r"Fetching ORG/NAME from the Hugging Face hub failed: OSError: .*No space"):
            huggingface.load("hf:ORG/NAME")

    def test_untrained_weights_are_no_way_out_where_the_configuration_is_missing(self, cache: Path) -> None:
        with pytest.raises(UserError, match=r"give the path of a folder with a config\.json to -u\.$"):
            huggingface.load("hf:ORG/NAME", random_init=True)
        with pytest.raises(UserError, match=r"or add --random-init for untrained weights\.$"):
            upstream.load("wavlm_base")

    @pytest.mark.network
    def test_fetched(self) -> None:
        encoder = huggingface.load("hf:hf-internal-testing/tiny-random-Wav2Vec2Model")
        assert encoder.provenance.revision is not None
        assert encoder([noise(16_000)]).layers.shape[0] == encoder.num_layers
