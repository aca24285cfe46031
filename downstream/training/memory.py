"""Running out of memory while heads are learned or tested, as a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from downstream.recipes import Recipe
from upstream.encode import Item
from upstream.errors import UserError
from upstream.out_of_memory import is_out_of_memory


@contextmanager
def enough_memory(doing: str, items: Sequence[Item], fix: str) -> Iterator[None]:
    """Raise UserError, with the longest utterance's name, where memory runs out inside.

    doing: what is done inside. items: the utterances whose states it holds, some at a time. fix: what else can be done
    than to cut utterances.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        longest = max(items, key=lambda item: item.seconds)
        raise UserError(
            f"Memory ran out while {doing}. The longest utterance is {longest.name} with {longest.seconds:.1f} s: cut "
            f"it into shorter ones or leave it out, or {fix}."
        ) from error


def smaller_batches(recipe: Recipe) -> list[str]:
    """Return what to type for smaller micro-batches; nothing where they have one utterance, or nothing is trained."""
    if recipe.learned is None:
        return []
    training = recipe.learned.training
    if training.batch_seconds is not None:
        return [f"smaller batches with -o training.batch_seconds={training.batch_seconds / 2:g}"]
    if training.batch is None:
        return ["smaller batches with -o training.sampling=shuffled -o training.batch=4"]
    half, twice = training.batch // 2, 2 * training.accumulate
    return [f"smaller batches with -o training.batch={half} -o training.accumulate={twice}"] if half else []


def smaller(recipe: Recipe) -> str:
    """Return what to type to hold less at once while heads are learned."""
    ways = smaller_batches(recipe)
    head = getattr(recipe, "head", None)
    sizes = [f"head.{name}" for name in ("hidden", "projection") if hasattr(head, name)]
    ways += [f"a smaller head ({', '.join(sizes)})"] if sizes else []
    return f"take {' or '.join(ways or ['a smaller head'])}"
