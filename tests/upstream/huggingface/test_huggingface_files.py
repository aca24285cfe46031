"""Where models of transformers come from: the hub, its cache, directories and single files."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_encoders import KINDS, noise, save

import upstream
from upstream import huggingface
from upstream.catalog import NAMED
from upstream.errors import UserError
from upstream.request import NamedUpstream


class TestHub:
    REVISION = "0123456789abcdef0123456789abcdef01234567"

    @pytest.fixture
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty local cache and no network."""
        constants = pytest.importorskip("huggingface_hub.constants")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        return tmp_path

    def put(self, cache: Path, name: str = "ORG/NAME", revision: str = REVISION, kind: str = "hubert") -> Path:
        """Lay a checkpoint into the cache as the hub's client would; return its folder."""
        repository = cache / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(revision)
        return save(KINDS[kind], repository / "snapshots" / revision)

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
        with pytest.raises(
            UserError, match=r"a folder with a config\.json to -u \(there is no file or folder ORG/NAME here\)\.$"
        ):
            huggingface.load("hf:ORG/NAME", random_init=True)
        with pytest.raises(
            UserError, match=r"add --random-init for untrained weights, or name wavlm_tiny, which needs no network\.$"
        ):
            upstream.load("wavlm_base")
        with pytest.raises(UserError, match=r"or type hubert_base@main for the newest commit, which may be there\.$"):
            upstream.load("hubert")

    @pytest.mark.parametrize(("name", "kind"), [("hubert_base", "hubert"), ("whisper_tiny", "whisper")])
    def test_a_name_of_the_table(self, name: str, kind: str, cache: Path) -> None:
        """However it is typed, it is the commit of the table, else the newest; untrained, it needs no weights."""
        row = NAMED[name]
        assert row.repository is not None
        folder = self.put(cache, row.repository, row.revision or self.REVISION, kind)
        typed = [upstream.load(one) for one in (name, name.upper(), row.repository, f"{name}@main")]
        assert [one.name for one in typed] == [name, name, name, f"{name}@main"]
        assert {one.provenance.source for one in typed} == {row.repository}
        assert {one.provenance.revision for one in typed} == {row.revision or self.REVISION}
        assert {one.fingerprint for one in typed} == {upstream.load(f"hf:{row.repository}").fingerprint}
        (folder / "model.safetensors").unlink()
        drawn = upstream.load(name, random_init=True, seed=1)
        assert (drawn.name, drawn.provenance.random_init, drawn.num_layers) == (name, True, 3)

    def test_a_folder_with_the_name_of_a_repository(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is what ORG/NAME means here, and not what the table's name means."""
        monkeypatch.chdir(tmp_path)
        save(KINDS["hubert"], tmp_path / "facebook/hubert-base-ls960")
        assert upstream.load("facebook/hubert-base-ls960").provenance.revision is None
        with pytest.raises(UserError, match="not in the local cache"):
            upstream.load("hubert_base")

    @pytest.mark.network
    @pytest.mark.parametrize(
        "row", [row for row in NAMED.values() if row.repository and row.width <= 1024], ids=lambda row: row.name
    )
    def test_the_table_states_the_sizes_of_published_models(self, row: NamedUpstream) -> None:
        drawn = upstream.load(row.name, random_init=True)
        assert (drawn.num_layers, drawn.dim, drawn.stride) == (row.layers, row.width, row.stride)

    @pytest.mark.network
    def test_fetched(self) -> None:
        encoder = huggingface.load("hf:hf-internal-testing/tiny-random-Wav2Vec2Model")
        assert encoder.provenance.revision is not None
        assert encoder([noise(16_000)]).layers.shape[0] == encoder.num_layers
