"""What the next update needs is prepared while the present one is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Prepared = TypeVar("Prepared")


class Ahead(Generic[Prepared]):
    """Prepares things by number, and the next one in a thread meanwhile.

    A GPU would wait for its processor otherwise; the processor itself gains nothing. prepare: whose results depend on
    the number alone.
    """

    def __init__(self, prepare: Callable[[int], Prepared]) -> None:
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="next update")
        self._next: tuple[int, Future[Prepared]] | None = None

    def __call__(self, number: int, last: int) -> Prepared:
        """Return what was prepared for a number, and begin with the next one unless this is the last."""
        begun, self._next = self._next, None
        prepared = begun[1].result() if begun is not None and begun[0] == number else self._prepare(number)
        if number < last:
            self._next = number + 1, self._pool.submit(self._prepare, number + 1)
        return prepared
