"""Equal error rates of the ways of verification on one corpus and several encoders, with their wall time.

Each way is a whole run of `wavprobe run` with its defaults. The encoder's pass over the corpus stands with the first
way that reads what it keeps, means or statistics, and the seconds of learning and test beside it. x-vectors read all
frames and take long on a processor: --xvector-steps shortens them, and without it they are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from downstream.experiment import run_named
from downstream.results import Result
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError

from . import common

SMALL = {"upstreams": ["fbank_no_cmvn"], "corpus": "demo", "data": None, "xvector_steps": 2, "overrides": []}
HEADINGS = (
    "encoder",
    "way",
    "layer",
    "dev EER, %",
    "test EER, %",
    "95 % interval",
    "encoder, s",
    "learning and test, s",
)
WAYS: dict[str, tuple[str, ...]] = {
    "cosine of the mean": ("sv", "head.pooling=mean", "head.transform=none"),
    "cosine of mean and deviation": ("sv", "head.transform=none"),
    "the same, centred": ("sv", "head.transform=centred"),
    "the same, whitened": ("sv", "head.transform=whitened"),
    "the same, whitened within speakers (`sv`)": ("sv",),
    "LDA": ("sv", "head.kind=lda"),
    "PLDA": ("sv", "head.kind=plda"),
    "linear, AM-softmax (`sv_linear`)": ("sv_linear",),
}


def xvectors(steps: int) -> tuple[str, ...]:
    """The recipe of x-vectors, shortened to so many updates."""
    every = max(1, steps // 5)
    return "sv_xvector", f"training.steps={steps}", f"training.evaluate_every={every}"


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--upstreams", nargs="*", default=["fbank_no_cmvn"], help="as for `wavprobe run -u`")
    made.add_argument("--untrained", nargs="*", default=[], help="the same, with --random-init")
    made.add_argument("--corpus", default="speechocean762", help="as for `wavprobe run -c`")
    made.add_argument("--data", type=Path, help="folder of the corpus")
    made.add_argument("--overrides", nargs="*", default=[], help="of every recipe, key=value, such as a split")
    made.add_argument("--xvector-steps", type=int, default=0, help="updates of x-vectors; 0: without them")
    options = common.parse(made, SMALL)

    ways = WAYS | (
        {f"x-vectors, {options.xvector_steps} steps": xvectors(options.xvector_steps)} if options.xvector_steps else {}
    )
    encoders = [load(name) for name in options.upstreams]
    encoders += [load(name, random_init=True) for name in options.untrained]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for encoder in encoders:
            for title, (recipe, *overrides) in ways.items():
                given = [f"corpus.name={options.corpus}", *options.overrides, *overrides]
                result = scored(encoder, recipe, given, Path(folder), options.data)
                rows.append(row_of(encoder, title, result))
                common.say(" | ".join(rows[-1]))
    print("\n".join(" | ".join(("", *cells, "")).strip() for cells in [HEADINGS, ["---"] * len(HEADINGS), *rows]))
    print(f"\n{common.machine()}")


def scored(encoder: Upstream, recipe: str, overrides: Sequence[str], folder: Path, data: Path | None) -> Result:
    """Carry out one way; states are kept in `folder` for those after it."""
    options = replace(common.quiet_options(folder), data=data)
    outcome = run_named(recipe, encoder, options, overrides=overrides)
    if outcome is None:
        raise UserError("This process records nothing; start it alone.")
    return outcome.result


def row_of(encoder: Upstream, title: str, result: Result) -> list[str]:
    """Return the cells of a row of the table."""
    heads, score, timing = result.primary_heads(), result.primary, result.timing
    layers = sorted({"mix" if head.layer is None else str(head.layer) for head in heads})
    development = 100 * sum(head.development for head in heads) / len(heads)
    interval = "-" if score.low is None or score.high is None else f"{100 * score.low:.1f} to {100 * score.high:.1f}"
    return [
        f"{encoder.name.rsplit('/', 1)[-1]}{', untrained' if encoder.provenance.random_init else ''}",
        title,
        ", ".join(layers),
        f"{development:.1f}",
        f"{100 * score.value:.1f}",
        interval,
        f"{timing.extraction:.1f}",
        f"{timing.training + timing.evaluation:.1f}",
    ]


if __name__ == "__main__":
    common.carry_out(main)
