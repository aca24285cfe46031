"""Compatibility with older runs: upgrade of records of schema 3, and digests that find their folders again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

SCHEMA = 3

METRICS = {
    "accuracy": ("accuracy", True, True),
    "unweighted_accuracy": ("unweighted accuracy", True, True),
    "macro_f1": ("macro F1", True, True),
    "wer": ("WER", False, True),
    "cer": ("CER", False, True),
    "eer": ("EER", False, True),
    "min_dcf_0.01": ("minDCF 0.01", False, False),
    "min_dcf_0.05": ("minDCF 0.05", False, False),
}  # title, higher is better, percent

NO_INTERVAL = "none: records of schema 3 have one of the primary metric alone"

# Until schema 3 the digest of a question held the sections of all families, whichever the recipe was of. These are
# their defaults; today's settings are merged over them, so that a question keeps its digest and its folder.
SECTIONS: dict[str, Any] = {
    "corpus": {"label": [], "classes": None, "others": None, "silence": None},
    "head": {
        "projection": None,
        "hidden": 1024,
        "depth": 2,
        "dropout": 0.2,
        "spec_augment": None,
        "margin": 0.4,
        "scale": 30.0,
    },
    "text": {"vocabulary": "characters"},
    "decoding": {
        "method": "greedy",
        "beam": 5,
        "threshold": 25.0,
        "language_model": None,
        "lexicon": None,
        "lm_weight": 2.0,
        "word_score": -1.0,
    },
    "trials": {
        "list": "published",
        "most": 40000,
        "seed": 0,
        "normalisation": "none",
        "cohort": 300,
        "top": 100,
    },
}

# Test settings in the digests of all runs, and their names there.
TEST_SETTINGS = {
    "trials.normalisation": "normalisation",
    "trials.cohort": "cohort",
    "trials.top": "top",
    "decoding": "decoding",
}


def with_all_sections(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a question with the sections of all families that schema 3 knew."""
    merged = copy.deepcopy(SECTIONS)
    for name, value in settings.items():
        merged[name] = merged[name] | value if name in SECTIONS and isinstance(value, dict) else value
    return merged


# ---------------------------------------------------------------- records


def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of schema 3 in the form of schema 4.

    It has intervals of the primary metric alone. Metrics of further test parts were called "wer_test-other".
    """
    new = dict(record)
    primary, parts = record["primary"], part_names(record)
    new["schema"] = 4
    new["details"] = {"classes": new.pop("classes")} if record["classes"] else {}
    training = record["recipe"]["resolved"]["training"]
    new["metric_types"] = {
        name: dict(zip(("title", "higher_is_better", "percent"), METRICS[name], strict=True))
        for name in by_part(record["metrics"], parts)[parts[0]]
    }
    new["select"] = training["select"] or primary["name"]
    new["primary"] = primary | {"part": parts[0]}
    new["folds"] = [
        fold | {"metrics": by_part(fold["metrics"], parts), "parts": {} if len(parts) > 1 else {parts[0]: fold["test"]}}
        for fold in record["folds"]
    ]
    new["heads"] = [upgraded_head(head, parts) for head in record["heads"]]
    first = record["layers"][0]["layer"]
    new["layers"] = [
        {"layer": layer["layer"], "scores": scores_of(layer, record, parts, layer["layer"] == first)}
        for layer in record["layers"]
    ]
    for name in ("classes", "metrics", "selected"):
        new.pop(name, None)
    return new


def part_names(record: Mapping[str, Any]) -> list[str]:
    """Return the test parts of a record, the primary one first."""
    names = record["metrics"]
    base = [name for name in names if not any(name.startswith(f"{other}_") for other in names)]
    further = [name.removeprefix(f"{base[0]}_") for name in names if name.startswith(f"{base[0]}_")]
    named = record["recipe"]["resolved"]["split"]["test"]
    if further:
        return [next((name for name in named if name not in further), "test"), *further]
    is_other_corpus = any("names parts of another corpus" in note for note in record["corpus"]["notes"])
    first = named[0] if len(named) == 1 and not is_other_corpus else "test"
    return [first, *further]


def by_part(metrics: Mapping[str, float], parts: list[str]) -> dict[str, dict[str, float]]:
    """Return metrics by test part."""
    endings = {f"_{part}": part for part in parts[1:]}
    found: dict[str, dict[str, float]] = {part: {} for part in parts}
    for name, value in metrics.items():
        ending = next((ending for ending in endings if name.endswith(ending)), "")
        found[endings.get(ending, parts[0])][name.removesuffix(ending)] = value
    return found


def upgraded_head(head: Mapping[str, Any], parts: list[str]) -> dict[str, Any]:
    """Return the record of a head; values of its family were in separate fields."""
    new = {name: value for name, value in head.items() if name not in ("confusion", "errors", "trials")}
    details = {name: head[name] for name in ("confusion", "errors", "trials") if head.get(name) is not None}
    return new | {
        "setting": head["layer"],
        "metrics": by_part(head["metrics"], parts),
        "details": {parts[0]: details},
    }


def scores_of(
    layer: Mapping[str, Any], record: Mapping[str, Any], parts: list[str], is_first: bool
) -> list[dict[str, Any]]:
    """Return the scores on a layer: the primary one, and of the first layer the other metrics without intervals."""
    primary = record["primary"]["name"]
    kept = {name: layer[name] for name in ("value", "low", "high", "interval", "by_seed")}
    scores = [{"part": parts[0], "metric": primary, "chance": record["chance"], **kept}]
    if not is_first:
        return scores
    for part, metrics in by_part(record["metrics"], parts).items():
        scores += [
            {
                "part": part,
                "metric": name,
                "value": value,
                "low": None,
                "high": None,
                "interval": NO_INTERVAL,
                "chance": None,
                "by_seed": seed_means(record, parts, part, name),
            }
            for name, value in metrics.items()
            if (part, name) != (parts[0], primary)
        ]
    return scores


def seed_means(record: Mapping[str, Any], parts: list[str], part: str, metric: str) -> dict[int, float]:
    """Return the mean of a metric over folds for each seed, of the heads on the first layer."""
    own = [head for head in record["heads"] if head["layer"] == record["layers"][0]["layer"]]
    values: dict[int, list[float]] = {}
    for head in own:
        values.setdefault(head["seed"], []).append(by_part(head["metrics"], parts)[part][metric])
    return {seed: sum(found) / len(found) for seed, found in values.items()}
