"""Sentences of the leaderboard that do not depend on records."""

from __future__ import annotations

from downstream.leaderboards.gathering import LeftOut
from downstream.recipes import FINE_TUNED
from downstream.results import GIVEN_PROTOCOL

TITLES = {
    "superb": "SUPERB's protocol",
    "clean": "Clean protocol",
    FINE_TUNED: "Fine-tuned encoders",
    "demo": "Demonstration on synthesised speech",
    GIVEN_PROTOCOL: "Heads that were learned before",
}
PROTOCOLS = {
    "superb": "The recipes of SUPERB as they are, with what they choose on test data. Published scores stand beside.",
    "clean": "This harness's own recipes: no speaker is in training and test, and development data choose everything.",
    FINE_TUNED: "Encoders that learned with their heads, on the same splits: not to be ranked with frozen ones.",
    "demo": "They show how the harness works, and say nothing about an encoder.",
    GIVEN_PROTOCOL: "Heads of other runs and programs, tested here alone: nobody here knows what they learned from.",
}
RULES = (
    "A column is one question: recipe and version, corpus (every recording of it), settings, metric and test part. "
    "Tables of different protocols, and different columns, are never ranked against each other.",
    "A row is an upstream as it was read: weights, precision, layer. Without a mark it was read in float32, and as the "
    "recipe has it: by the weighted sum of all layers, unless the heading says otherwise.",
    "Runs of a cell that differ in their seeds alone are merged: the score is the mean over seeds, each counted once; "
    "its interval is the mean of their intervals, with the uncertainty of a mean over seeds added. Of runs that differ "
    "in the learning rate, or in how states are stored, the one with the best development score is shown.",
    "Places: an upstream is behind another one where its whole 95 % interval is worse. “1=” is shared with others: "
    "their intervals overlap, and they cannot be told apart by them. Overlap shows no equality; wavprobe compare tests "
    "two upstreams on the same items.",
    "Untrained upstreams are controls and have no place; nor have scores without an interval, nor single layers in "
    "SUPERB's protocol.",
    "Published scores come without an interval or a spread over seeds. The difference is the reproduced score minus "
    "the published one; within means that the published score lies in the interval of the reproduced one.",
)


def protocol_title(protocol: str) -> str:
    """Return the heading of a protocol's table."""
    return TITLES.get(protocol, f"Protocol {protocol}")


def unread(one: LeftOut) -> str:
    """Return why a record was refused; the sentence names it."""
    return one.why if one.place in one.why else f"{one.place}: {one.why}"
