"""Model repositories of the Hugging Face hub: downloaded when online, else read from the local cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upstream.errors import UserError, words_of
from upstream.foreign import foreign_code

# adapter_config.json only to say that the repository is an adapter, whose weights are not read.
SMALL_FILES = ["config.json", "preprocessor_config.json", "processor_config.json", "adapter_config.json"]
SMALL_FILES += ["vocab.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json"]  # of CTC models
SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]  # read weights-only


@dataclass(frozen=True)
class Repository:
    """A downloaded repository.

    folder: its files on this machine. revision: the commit.
    """

    folder: Path
    revision: str


def fetch(
    name: str,
    revision: str | None = None,
    instead: str = "give the path of a checkpoint to -u",
    weights: bool = True,
) -> Repository:
    """Download the repository `name` ("microsoft/wavlm-base"), or find it in huggingface_hub's cache when offline.

    revision: branch, tag or commit; None is the default branch.
    instead: what to do where the hub cannot be reached, for the message.
    weights: False for the configuration alone, of untrained weights. They are downloaded as safetensors where there are
        any, else as .bin files.

    Raises UserError for an unknown repository or revision, or if neither hub nor cache has it.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    with foreign_code(f"Fetching {name} from the Hugging Face hub", "Check the network and the disk, and try again."):
        try:
            folder = _snapshot(name, revision, SMALL_FILES + (SAFETENSORS if weights else []))
            if weights and not any(folder.glob("model*.safetensors")):
                folder = _snapshot(name, folder.name, SMALL_FILES + PICKLES)
        except GatedRepoError as error:
            raise UserError(
                f"The hub requires a licence for {name}. Accept it on the repository's page, then type `hf auth login`."
            ) from error
        except RevisionNotFoundError as error:
            raise UserError(
                f"The hub's repository {name} has no revision {revision!r}; check what follows the @."
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"The hub has no repository {name!r}, and there is no such folder here; check the name, or type "
                "`hf auth login` if it is private."
            ) from error
        except LocalEntryNotFoundError as error:
            at = f" at revision {revision}" if revision else ""
            pinned = f" --revision {revision}" if revision else ""
            what = "" if weights else ", whose configuration untrained weights need,"
            raise UserError(
                f"Cannot reach the Hugging Face hub, and {name}{at}{what} is not in the local cache "
                f"({constants.HF_HUB_CACHE}), or not all of it. On a machine with a network type `hf download "
                f"{name}{pinned}` and copy the cache, or {instead}."
            ) from error
        except HFValidationError as error:
            raise UserError(f"{name!r} is not a valid repository name; type ORG/NAME, or a directory.") from error
        except HfHubHTTPError as error:
            raise UserError(f"The Hugging Face hub refused {name}: {words_of(error)}. Try again later.") from error
    return Repository(folder, folder.name)


def _snapshot(name: str, revision: str | None, patterns: list[str]) -> Path:
    """Return the folder with those files of a repository, downloaded, or from the cache in offline mode."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except OfflineModeIsEnabled:  # versions before 2 ask the hub what a commit in the cache should have
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))
