"""Many records of upstreams and tasks that nobody ran: variations of one record, with its parts in agreement."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from chosen_heads import classification_run

from downstream.leaderboards.board import Board, board_of
from downstream.leaderboards.gathering import Found, Gathered
from downstream.results.build import build_record
from downstream.results.record import Result

TASKS = ("emotion", "keyword", "superb/ks", "superb/er", "demo/emotion", "demo/keyword")
UPSTREAMS = ("hubert_base", "wavlm_base", "wavlm_base_plus", "wavlm_large", "wav2vec2_base_960")


@cache
def base() -> Result:
    """The record that others are variations of: two folds, two seeds, two layer settings."""
    return build_record(classification_run())


def varied(
    *,
    upstream: str = "wavlm_base",
    recipe: str = "keyword",
    value: float = 0.5,
    half: float | None = 0.02,
    seeds: Sequence[int] = (0,),
    overrides: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    random_init: bool = False,
    development: float = 0.75,
    **changed: Any,
) -> Result:
    """Return a record of another upstream, recipe, score, or setting.

    half: of the interval's length; None for no interval. seeds: each has the score `value`. settings: of the recipe, by
    section. changed: sections of the record, such as corpus={"title": "Other"}.
    """
    content = base().model_dump(mode="json", by_alias=True)
    low, high = (None, None) if half is None else (value - half, value + half)
    protocol = recipe.partition("/")[0] if "/" in recipe else "clean"
    content["recipe"] |= {"name": recipe, "protocol": protocol, "overrides": list(overrides)}
    content["recipe"]["resolved"] |= {"name": recipe, "protocol": protocol, "title": f"The task {recipe}"}
    content["recipe"]["version"] = content["recipe"]["resolved"]["version"] = 1
    content["recipe"]["resolved"]["sweep"]["layer"] = []
    for section, values in (settings or {}).items():
        content["recipe"]["resolved"][section] |= values
    source = {"wavlm_base": "microsoft/wavlm-base", "hubert_base": "facebook/hubert-base-ls960"}.get(upstream, upstream)
    content["upstream"] |= {
        "name": upstream,
        "source": source,
        "fingerprint": f"{random.Random(f'{upstream}{random_init}').getrandbits(256):064x}",
        "random_init": random_init,
        "notes": [],
    }
    content["corpus"] |= {"name": recipe, "title": f"Corpus of {recipe}", "synthetic": protocol == "demo"}
    content["seeds"]["head"] = list(seeds)
    content["caveats"] = []
    for section, values in changed.items():
        content[section] = content[section] | values if isinstance(values, dict) else values
    first = content["layers"][0]["scores"][0]
    first |= {"value": value, "low": low, "high": high, "by_seed": {str(seed): value for seed in seeds}}
    content["primary"] |= {"value": value, "low": low, "high": high}
    for head in content["heads"]:
        head["development"] = development
    return Result.model_validate(content)


def board(*results: Result) -> Board:
    """Return the board of records, each in a folder of its own."""
    found = [Found.of(result, f"{result.recipe.name}/{number:03d}") for number, result in enumerate(results)]
    return board_of(Gathered(tuple(found)))


def many(count: int) -> list[Result]:
    """Return that many records, of several protocols, tasks and upstreams; one in eight is an untrained control."""
    drawn = random.Random(count)
    tasks = [*TASKS, *(f"task{number}" for number in range(max(0, count // 30 - len(TASKS))))]
    found = []
    for number in range(count):
        name = number // len(tasks)
        upstream = UPSTREAMS[name] if name < len(UPSTREAMS) else f"encoder_{name:02d}"
        score, half = round(drawn.uniform(0.3, 0.95), 3), drawn.uniform(0.005, 0.03)
        found.append(
            varied(
                upstream=upstream,
                recipe=tasks[number % len(tasks)],
                value=score,
                half=half,
                random_init=name % 8 == 7,
                caveats=["The step was chosen on the test set."] if number % 5 == 0 else [],
            )
        )
    return found
