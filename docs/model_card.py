"""Write the model card of wavlm_tiny from the record of its training and from its scores, so that no number is typed.

    python docs/model_card.py                     # README.md again, from the files beside it
    python docs/model_card.py --weights FOLDER    # first take the weights and the record that `wavprobe pretrain` left
    python docs/model_card.py --results FOLDER    # first read the scores from the records below a folder of results;
                                                  # --other-seed FOLDER has those of one more training

The files lie in upstream/models/wavlm_tiny, the text in docs/model_card.jinja. `tests/test_model_card.py`
checks that nobody edited the card by hand. docs/model_scores.py reads the scores.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "upstream" / "models" / "wavlm_tiny"
TEMPLATE = HERE / "model_card.jinja"
WEIGHTS = ("config.json", "model.safetensors", "preprocessor_config.json")
RECORD, SCORES, CARD = "pretraining.json", "scores.json", "README.md"
POINTS = 6  # of the curve, in each stage

ATTRIBUTIONS = {
    "librispeech": "LibriSpeech (https://www.openslr.org/12), CC BY 4.0: V. Panayotov, G. Chen, D. Povey, S. "
    "Khudanpur, “LibriSpeech: an ASR corpus based on public domain audio books”, ICASSP 2015; from LibriVox.",
    "speechocean762": "speechocean762 (https://www.openslr.org/101), free for commercial and non-commercial use: "
    "J. Zhang et al., “speechocean762: An Open-Source Non-native English Speech Corpus For Pronunciation Assessment”, "
    "Interspeech 2021.",
    "speech_commands_v1": "Speech Commands v0.01 (https://arxiv.org/abs/1804.03209), CC BY 4.0: P. Warden, “Speech "
    "Commands: A Dataset for Limited-Vocabulary Speech Recognition”, 2018; Google.",
}
LICENCES = {  # of the folders that examples/synthetic_speech.py makes; their manifests state none
    "espeak": "GPL for the program, which does not cover its sound",
    "flite": "Carnegie Mellon's, like BSD",
    "hibari": "Apache 2.0",
    "kokoro": "Apache 2.0",
    "asterisk": "CC BY 3.0",
}

Content = dict[str, Any]


def main() -> None:
    """Take what is named, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="what `wavprobe pretrain wavlm_tiny` left")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="records of wavlm_tiny and its baselines")
    parser.add_argument("--other-seed", type=Path, metavar="FOLDER", action="append", default=[], help="its records")
    given = parser.parse_args()
    if given.weights is not None:
        take(given.weights, FOLDER)
    if given.results is not None:
        from model_scores import scores_below  # beside this file

        write_json(FOLDER / SCORES, scores_below(given.results, given.other_seed))
    (FOLDER / CARD).write_text(card(FOLDER), encoding="utf-8")


def take(trained: Path, to: Path) -> None:
    """Copy the weights and the record of a pre-training, whose command then names no folder of the machine it ran on.

    Scores of the weights that were there are removed.
    """
    record = read_json(trained / RECORD)
    for name in WEIGHTS:
        shutil.copyfile(trained / name, to / name)
    write_json(to / RECORD, record | {"command": command_without_paths(record["command"], record["recipe"]["name"])})
    (to / SCORES).unlink(missing_ok=True)


def command_without_paths(command: str, recipe: str) -> str:
    """Return what decides the weights in a command of `wavprobe pretrain`: recipe, names of folders, seed, settings."""
    words = shlex.split(command)
    kept = ["wavprobe", "pretrain", recipe.removeprefix("pretrain/")]
    for flag, value in pairwise(words):
        if flag == "--data":
            name = value.partition("=")[0]
            kept += [flag, f"{name}=path/to/{name}"]
        elif flag in ("-o", "--seed"):
            kept += [flag, value]
    return shlex.join(kept)


def card(folder: Path) -> str:
    """Return the model card of the model in a folder; without scores where there are none yet."""
    record = read_json(folder / RECORD)
    sources = record["speech"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        record=record,
        recipe=record["recipe"],
        config=read_json(folder / "config.json"),
        preprocessor=read_json(folder / "preprocessor_config.json"),
        scores=read_json(folder / SCORES) if (folder / SCORES).exists() else [],
        bytes=(folder / "model.safetensors").stat().st_size,
        hours=sum(one["hours"] for one in sources),
        joined=joined,
        stages=[stage_of(record, number) for number in range(len(record["recipe"]["stages"]))],
        made=[one["name"] for one in sources if one["name"] in LICENCES],
        title=lambda one: one["name"] if one["name"] in LICENCES else one["title"],
        licence=lambda one: LICENCES.get(one["name"], one["licence"]),
        attribution=attribution_of,
        ends=with_ends,
    )


def stage_of(record: Content, number: int) -> Content:
    """Return what the card says of a stage: settings, targets, and points of its curve."""
    settings, measured = record["recipe"]["stages"][number], [h for h in record["history"] if h["stage"] == number]
    first = measured[0]["predictions"] if measured else []
    return {
        "steps": settings["steps"],
        "rate": settings["optimizer"]["lr"],
        "batch": settings["batch"] or record["recipe"]["batch"],
        "inner": settings["objective"]["inner"],
        "logits": settings["objective"]["logits"],
        "unmasked": " falling to ".join(dict.fromkeys(f"{weight:g}" for weight in settings["objective"]["unmasked"])),
        "targets": [target_of(one) for one in record["targets"][number]],
        "codebooks": [book["name"] for book in first],
        "ignorant": [book["ignorant"] for book in first],
        "curve": evenly(measured, POINTS),
    }


def target_of(target: Content) -> str:
    """Return a codebook in words: "100 clusters of mfcc (perplexity 87)"."""
    what = f"layer {target['layer']}" if target["features"] == "layer" else target["features"].replace("_", "-")
    return f"{target['clusters']} clusters of {what} (perplexity {target['perplexity']:.0f})"


def attribution_of(source: Mapping[str, Any]) -> str:
    """Return whose speech a source is; of a synthetic one, what examples/synthetic_speech.py writes beside it."""
    name = source["name"]
    if name not in LICENCES:
        return ATTRIBUTIONS[name]
    if str(HERE.parent / "examples") not in sys.path:
        sys.path.append(str(HERE.parent / "examples"))
    from synthetic_speech import ABOUT_ASTERISK, ABOUT_SYNTHETIC

    return f"{name}: {ABOUT_SYNTHETIC.get(name, ABOUT_ASTERISK)}"


def with_ends(score: Sequence[float | None] | None, sign: str = "") -> str:
    """Return [value, low, high] as "48.1 (44.0 to 52.3)"; "-" for none, and no ends where there is no interval."""
    if score is None:
        return "-"
    value, *ends = ("" if number is None else f"{number:{sign}.1f}" for number in score)
    return f"{value} ({' to '.join(ends)})" if all(ends) else value


def evenly(points: Sequence[Any], count: int) -> list[Any]:
    """Return the first and the last point and others at even distances, `count` at most."""
    if len(points) <= count:
        return list(points)
    return [points[round(number * (len(points) - 1) / (count - 1))] for number in range(count)]


def joined(numbers: Sequence[float]) -> str:
    """Return numbers in words, each once: "2, 4 and 6"."""
    *first, last = (f"{number:g}" for number in sorted(set(numbers)))
    return f"{', '.join(first)} and {last}" if first else last


def read_json(path: Path) -> Any:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, as the record of a pre-training is written."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
