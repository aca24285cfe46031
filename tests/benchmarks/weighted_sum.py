"""The weighted sum of layers against single layers, as SUPERB has it and with what could help it, on one corpus.

Each row is a whole run of a recipe of classification, on all layers and their sum: layers as they are or standardised
by the training utterances, and the weights of the layers at the rate of the head or at one of their own. The training
loss is that of the sum's heads at the last step: where it falls and the scores do not rise, the weights were learned by
heart. Best is the single layer that development chose, chosen the recipe's rule (docs/weighted_sum.md). All are means
over folds and seeds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from downstream.experiment import run_named
from downstream.recipes import BEST, CHOSEN
from downstream.results import Result
from upstream.base import Upstream
from upstream.catalog import load
from upstream.errors import UserError

from . import common

SMALL = {
    "upstreams": ["fbank_no_cmvn"],
    "recipe": "demo/emotion",
    "data": None,
    "overrides": ["training.steps=20", "training.evaluate_every=10"],
}
HEADINGS = (
    "encoder",
    "layers",
    "rate of the mix",
    "training loss",
    "dev: mix",
    "dev: best layer",
    "test: mix",
    "test: best layer",
    "test: chosen",
    "95 % interval",
    "weight of each layer",
)


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--upstreams", nargs="*", default=["wavlm_base"], help="as for `wavprobe run -u`")
    made.add_argument("--untrained", nargs="*", default=[], help="the same, with --random-init")
    made.add_argument("--recipe", default="emotion", help="as for `wavprobe run -d`, of classification")
    made.add_argument("--data", type=Path, help="folder of the corpus")
    made.add_argument("--rates", nargs="*", type=float, default=[0.0, 0.03], help="of the mix; 0: that of the head")
    made.add_argument("--overrides", nargs="*", default=[], help="of every run, key=value")
    made.add_argument("--store", type=Path, help="folder of states to keep and to find again")
    options = common.parse(made, SMALL)

    encoders = [load(name) for name in options.upstreams]
    encoders += [load(name, random_init=True) for name in options.untrained]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        places = replace(common.quiet_options(Path(folder)), data=options.data)
        places = replace(places, store=options.store) if options.store else places
        for encoder in encoders:
            for standardised in (False, True):
                for rate in options.rates:
                    settings = [
                        f"sweep.layer=[{CHOSEN}, mix, {BEST}]",
                        f"head.standardised={str(standardised).lower()}",
                        f"optimizer.mix_lr={rate or 'null'}",
                        *options.overrides,
                    ]
                    outcome = run_named(options.recipe, encoder, places, overrides=settings)
                    if outcome is None:
                        raise UserError("This process records nothing; start it alone.")
                    way = ["standardised" if standardised else "as they are", f"{rate:g}" if rate else "of the head"]
                    rows.append([name_of(encoder), *way, *row_of(outcome.result)])
                    common.say(" | ".join(rows[-1]))
    print("\n".join(" | ".join(("", *cells, "")).strip() for cells in [HEADINGS, ["---"] * len(HEADINGS), *rows]))
    print(f"\n{common.machine()}")


def name_of(encoder: Upstream) -> str:
    return f"{encoder.name.rsplit('/', 1)[-1]}{', untrained' if encoder.provenance.random_init else ''}"


def row_of(result: Result) -> list[str]:
    """Return the cells behind the way."""
    metric = result.metric_types[result.primary.name]
    test = {scores.layer: metric.written(scores.score(result.primary.name).value) for scores in result.layers}
    development = {
        setting: metric.written(mean([head.development for head in result.heads if head.setting == setting]))
        for setting in (None, BEST)
    }
    sums = [head for head in result.heads if head.setting is None]
    losses = [fit.curve[-1][1] for fit in result.grid if fit.layer is None and fit.curve]
    low, high = result.primary.low, result.primary.high
    return [
        f"{mean([loss for loss in losses if loss is not None]):.3f}",
        development[None],
        development[BEST],
        test[None],
        test[BEST],
        test[CHOSEN],
        "-" if low is None or high is None else f"{metric.written(low)} to {metric.written(high)}",
        " ".join(f"{weight:.2f}" for weight in np.mean([head.layer_weights for head in sums], axis=0)),
    ]


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


if __name__ == "__main__":
    common.carry_out(main)
