"""Scores as Hugging Face's model-index, in the front matter of a model card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from downstream.exports.one_upstream import refuse_several_upstreams
from downstream.recipes import FINE_TUNED
from downstream.report import layer_words
from downstream.results import Result, Score
from downstream.tasks import family_of_record
from upstream.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

SOURCE = "wavprobe"


def model_card(results: Sequence[Result], existing: str | None = None) -> str:
    """Return a model card whose model-index has the scores of one upstream's runs.

    existing: a card that is kept, but for scores of the same metric on the same recipe, corpus and part.

    The format has no place for intervals: a metric's `args` hold them, with how they were found, the caveats and what
    was run. Values are in percent where tables show percent.

    Raises UserError for records of several upstreams, of an untrained one, and for two runs with the same score.
    """
    from huggingface_hub import ModelCard, ModelCardData

    refuse_mixtures(results)
    found = [one for result in results for one in eval_results(result)]
    name = results[0].upstream.name
    if existing is None:
        fields = ModelCardData(model_name=name, eval_results=found).to_yaml()
        return f"---\n{fields}\n---\n\n# {name}\n\nThe metadata above hold scores of heads on frozen states.\n"
    card = ModelCard(existing)
    data: Any = card.data  # a ModelCardData, though it is declared more widely
    new = {key_of(one) for one in found}
    data.eval_results = [*(one for one in data.eval_results or () if key_of(one) not in new), *found]
    data.model_name = data.model_name or name
    return str(card)


def eval_results(result: Result) -> Iterator[EvalResult]:
    """Yield every metric of a record on every test part, of its first layer setting."""
    from huggingface_hub import EvalResult

    for score in result.layers[0].scores:
        metric = result.metric_types[score.metric]
        yield EvalResult(
            task_type=family_of_record(result.task, result.folder).hub_task,
            dataset_type=result.corpus.name,
            dataset_name=result.corpus.title,
            dataset_split=score.part,
            dataset_revision=result.corpus.revision,
            metric_type=score.metric,
            metric_name=f"{metric.title}{f' ({metric.unit.strip()})' if metric.unit else ''}, {recipe_of(result)}",
            metric_value=shown(score.value, metric.scale),
            metric_args=arguments(result, score, metric.scale),
        )


def recipe_of(result: Result) -> str:
    """Return the recipe of a result, and whether the encoder learned with the head."""
    return result.recipe.name if result.finetuning is None else f"{result.recipe.name}, {FINE_TUNED}"


def arguments(result: Result, score: Score, scale: float) -> dict[str, object]:
    """Return what a reader of the value should know: its interval, what was run, and the caveats."""
    interval = None
    if score.low is not None and score.high is not None:
        interval = {"level": 0.95, "low": shown(score.low, scale), "high": shown(score.high, scale)}
    return {
        **({"interval": interval} if interval else {}),
        "interval_method": score.interval,
        "recipe": result.recipe.name,
        "recipe_version": result.recipe.version,
        "overrides": result.recipe.overrides,
        "protocol": result.recipe.protocol,
        "layer": layer_words(result.layers[0].layer),
        "folds": len(result.folds),
        "seeds": sorted(score.by_seed),
        "harness": SOURCE,
        "caveats": result.caveats,
    }


def shown(value: float, scale: float) -> float:
    """Return a value in its unit, without digits that no test set tells apart."""
    return round(scale * value, 4)


def key_of(one: EvalResult) -> tuple[object, ...]:
    """Return what a score is of; a new one takes the place of an earlier one with the same key."""
    return one.task_type, one.dataset_type, one.dataset_split, one.metric_type, one.metric_name


def refuse_mixtures(results: Sequence[Result]) -> None:
    """Raise UserError where the records are not of one trained upstream, or say the same score twice."""
    refuse_several_upstreams(results, "A model card")
    seen: dict[tuple[object, ...], Result] = {}
    for result in results:
        if result.upstream.random_init:
            raise UserError(f"{result.folder} is of an untrained upstream, a control; a card has no scores of it.")
        for key in {key_of(one) for one in eval_results(result)}:
            if key in seen:
                raise UserError(
                    f"{result.folder} and {seen[key].folder} are both runs of {result.recipe.name}; name one of them."
                )
            seen[key] = result
