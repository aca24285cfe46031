"""Utterances that belong together because they share something: a speaker, a recording, the same audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence


def tied(shared: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Return the indices that are tied to each other, directly or through others, as lists; all indices are in one.

    shared: what each index shares with others; equal values tie. (A union-find with path halving; Tarjan 1975.)
    """
    first: dict[Hashable, int] = {}
    parent = list(range(len(shared)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index, own in enumerate(shared):
        for one in own:
            parent[root(index)] = root(first.setdefault(one, index))
    together = defaultdict(list)
    for index in range(len(shared)):
        together[root(index)].append(index)
    return list(together.values())
