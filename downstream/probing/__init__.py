"""Layer probes: a head for each layer of one or several upstreams on one or several recipes. Read `flow.py` first."""

from downstream.probing.flow import probe
from downstream.probing.probe import Probe
from downstream.probing.probed import Probed
from downstream.probing.recipes import SEEDS, ProbedRecipe, probed_recipes

__all__ = ["Probe", "Probed", "ProbedRecipe", "SEEDS", "probe", "probed_recipes"]
