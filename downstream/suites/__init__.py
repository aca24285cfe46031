"""Suites: lists of recipes that one command runs, for the rows of a leaderboard. Read `running.py` first."""

from downstream.suites.carrying_out import SuiteOutcome, SuiteRun
from downstream.suites.places import Places, parse_places
from downstream.suites.plan import plans_of
from downstream.suites.reading import choose_recipes
from downstream.suites.row import rows_of
from downstream.suites.running import begun, loaders_of, run_suite
from downstream.suites.suite import Suite, is_suite, named_suite

__all__ = [
    "Places",
    "Suite",
    "SuiteOutcome",
    "SuiteRun",
    "begun",
    "choose_recipes",
    "is_suite",
    "loaders_of",
    "named_suite",
    "parse_places",
    "plans_of",
    "rows_of",
    "run_suite",
]
