"""Model repositories of the Hugging Face hub: downloaded when online, else read from the local cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from upstream.errors import UserError

SMALL_FILES = ["config.json", "preprocessor_config.json", "processor_config.json"]
SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "model-*.safetensors"]
PICKLES = ["pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"]  # read weights-only


@dataclass(frozen=True)
class Repository:
    """A downloaded repository.

    folder: its files on this machine. revision: the commit.
    """

    folder: Path
    revision: str


def fetch(name: str, revision: str | None = None) -> Repository:
    """Download the repository `name` ("microsoft/wavlm-base"), or find it in huggingface_hub's cache when offline.

    revision: branch, tag or commit; None is the default branch.
    Weights are downloaded as safetensors where there are any, else as .bin files.

    Raises UserError for an unknown repository or revision, or if neither hub nor cache has it.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=SMALL_FILES + SAFETENSORS))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(name, revision=folder.name, allow_patterns=SMALL_FILES + PICKLES))
    except GatedRepoError as error:
        raise UserError(
            f"The hub requires a licence for {name}. Accept it on the repository's page, then type `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"The hub's repository {name} has no revision {revision!r}; check what follows the @."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"The hub has no repository {name!r}; check the name, or log in if it is private.") from error
    except LocalEntryNotFoundError as error:
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"Cannot reach the Hugging Face hub, and {name}{at} is not in the local cache ({constants.HF_HUB_CACHE}). "
            f"On a machine with a network type `hf download {name}` and copy the cache, give the path of a checkpoint "
            "to -u, or add --random-init for untrained weights."
        ) from error
    except HFValidationError as error:
        raise UserError(f"{name!r} is not a valid repository name; type ORG/NAME, or a directory.") from error
    except HfHubHTTPError as error:
        raise UserError(
            f"The Hugging Face hub refused {name}: {str(error).splitlines()[0]} Try again later."
        ) from error
    return Repository(folder, folder.name)
