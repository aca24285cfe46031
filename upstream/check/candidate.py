"""The upstream to be checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from upstream import catalog
from upstream.base import Upstream


@dataclass(frozen=True)
class Candidate:
    """An upstream to be checked: any name that `upstream.load` knows, and how to load it."""

    name: str
    device: str = "auto"
    dtype: str = "float32"
    random_init: bool = False
    seed: int = 0

    def load(self) -> Upstream:
        """Load it."""
        return catalog.load(
            self.name, device=self.device, dtype=self.dtype, random_init=self.random_init, seed=self.seed
        )

    def but(self, **changes: object) -> Candidate:
        """Return the same upstream, loaded in another way."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def next_command(self) -> str:
        """Return the command to type next."""
        untrained = f" --random-init{f' --seed {self.seed}' if self.seed else ''}" if self.random_init else ""
        return f"wavprobe run -u {self.name} -d demo/emotion{untrained}"
