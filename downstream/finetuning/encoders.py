"""The encoders that came out: each a Hugging Face directory in the run's folder, which any run takes as an upstream."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.data import Dataset
from downstream.results import ENCODERS, LEARNED, SNAPSHOT, EncoderRecord, head_name
from downstream.training import FACTS_OF_FIT, Config, Fit, code_version, read_snapshot, write_snapshot
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError, words_of
from upstream.unfinished import unfinished_folder


@dataclass(frozen=True)
class Kept:
    """What a run that is not recorded yet has finished: fits with the weights of their heads, and encoders.

    folder: of the run. question: digest of what its heads depend on. competing: several learning rates compete.
    """

    folder: Path
    dataset: Dataset
    question: str
    competing: bool

    @property
    def snapshot(self) -> Path:
        """The snapshot of the training at which the run is."""
        return self.folder / SNAPSHOT

    def name(self, fold: int, config: Config) -> str:
        """Return the name of an encoder: that of its head, and the learning rate where several compete."""
        rate = f"-lr{config.lr:g}" if self.competing else ""
        return head_name(self.dataset.split.folds[fold].name, config.seed, config.layer) + rate

    def encoder(self, fit: Fit) -> Path:
        """Return the directory of a fit's encoder."""
        return self.folder / ENCODERS / self.name(fit.fold, fit.config)

    def fit(self, fold: int, config: Config) -> Fit | None:
        """Return a fit that was finished; None where there is none, or one of other code or of another question."""
        found = read_snapshot(self._file(fold, config))
        if found is None:
            return None
        weights, facts = found
        if {key: facts.get(key) for key in self._identity()} != self._identity():
            return None
        fit = Fit(fold, config, weights=weights, **{name: facts[name] for name in FACTS_OF_FIT})
        fit.history = [(step, loss, score) for step, loss, score in fit.history]
        return fit

    def keep(self, fit: Fit, save: Callable[[Path], object]) -> None:
        """Keep a fit, whose weights are those of its head, and its encoder, which `save` writes into a folder.

        The snapshot of its training is removed. Raises UserError where they cannot be written.
        """
        place, file = self.encoder(fit), self._file(fit.fold, fit.config)
        try:
            for folder in (place.parent, file.parent):
                folder.mkdir(exist_ok=True)
            if fit.weights:
                with unfinished_folder(place.parent) as unfinished:
                    save(unfinished / place.name)
                    shutil.rmtree(place, ignore_errors=True)  # of a run that was killed just behind this
                    os.replace(unfinished / place.name, place)
            facts: dict[str, Any] = {name: getattr(fit, name) for name in FACTS_OF_FIT}
            write_snapshot(file, fit.weights, facts | self._identity())
        except (OSError, UserError) as error:  # the latter of whatever writes files, which it names
            raise UserError(
                f"The encoder {place} was learned and cannot be kept ({words_of(error.__cause__ or error)}). Make room "
                "there, and run the same command again: it goes on from the last snapshot."
            ) from error
        self.snapshot.unlink(missing_ok=True)

    def drop_worse(self, fits: Sequence[Fit]) -> None:
        """Remove the encoders of learning rates that development does not choose among the fits so far."""
        best: dict[tuple[int, int], Fit] = {}
        for fit in fits:
            before = best.setdefault((fit.fold, fit.config.seed), fit)
            if fit.development > before.development:  # of equals the first one is chosen
                best[fit.fold, fit.config.seed] = fit
        for fit in fits:
            if fit is not best[fit.fold, fit.config.seed]:
                shutil.rmtree(self.encoder(fit), ignore_errors=True)

    def _file(self, fold: int, config: Config) -> Path:
        return self.folder / LEARNED / self.name(fold, config)

    def _identity(self) -> dict[str, str]:
        return {"code": code_version(), "question": self.question}


def loaded_encoder(folder: Path, upstream: Upstream) -> Upstream:
    """Return a fine-tuned encoder as it was saved, frozen, where the upstream is that it was made from.

    Raises UserError where it was removed.
    """
    if not folder.is_dir():
        raise UserError(
            f"The encoder {folder} was removed before it was tested. Add --fresh, which begins the run again."
        )
    return load(str(folder), device=str(upstream.device), dtype=upstream.dtype_name)


def record_of(encoder: Upstream, folder: Path) -> EncoderRecord:
    """Return the record of an encoder in a run's folder."""
    digest = encoder.provenance.file_sha256
    assert digest is not None  # it was loaded from a file
    return EncoderRecord(folder=f"{ENCODERS}/{folder.name}", fingerprint=encoder.fingerprint, file_sha256=digest)
