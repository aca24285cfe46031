"""Write the numbers and the picture of README.md from records, so that none of them is typed.

The records are those of the commands in RUNS (RAVDESS is free to download):

    for each of RUNS: wavprobe run ... --results results
    python docs/readme_numbers.py results

keeps what the README shows of them in docs/numbers.json and fills the README's generated blocks; with no argument it
fills the blocks from docs/numbers.json again. `tests/test_readme.py` checks that nobody edited them by hand.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from downstream import Result, load_results, read_result
from downstream.report import layer_score_picture, score_line, tables_of

HERE = Path(__file__).resolve().parent
README, KEPT, PICTURE = HERE.parent / "README.md", HERE / "numbers.json", HERE / "images" / "ravdess_layers.png"
WIDTH = 100  # columns of what the README prints

RUNS = {
    "demo": "-u wavlm_tiny -d demo/keyword",
    "wavlm_tiny": "-u wavlm_tiny -d emotion --data path/to/RAVDESS -o sweep.layer=all",
    "untrained": "-u wavlm_tiny --random-init -d emotion --data path/to/RAVDESS -o sweep.layer=all",
    "fbank_no_cmvn": "-u fbank_no_cmvn -d emotion --data path/to/RAVDESS",
    "fbank": "-u fbank -d emotion --data path/to/RAVDESS",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, help="folder of records; none: use docs/numbers.json")
    folder = parser.parse_args().results
    if folder is not None:
        found = {name: find(folder, command) for name, command in RUNS.items()}
        KEPT.write_text(json.dumps(kept(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        draw(found["wavlm_tiny"], {name: found[name] for name in ("untrained", "fbank_no_cmvn")}, PICTURE)
    README.write_text(filled(README.read_text(encoding="utf-8"), json.loads(KEPT.read_text(encoding="utf-8"))))


def find(folder: Path, command: str) -> Result:
    """Return the newest record below a folder of the command's upstream and recipe."""
    words = command.split()
    upstream, recipe = words[words.index("-u") + 1], words[words.index("-d") + 1]
    scores = load_results(folder)
    is_untrained = scores.random_init == ("--random-init" in words)
    own = scores[(scores.upstream == upstream) & (scores.recipe == recipe) & is_untrained & scores.is_primary]
    newest = max((Path(path) / "result.json" for path in own.folder), key=lambda path: path.stat().st_mtime)
    return read_result(newest)


def kept(found: dict[str, Result]) -> dict[str, Any]:
    """Return what the README shows of the records."""
    seconds = found["demo"].timing
    return {
        "printed": printed(found["demo"]),
        "seconds": round(seconds.reading + seconds.extraction + seconds.training + seconds.evaluation),
        "processor": found["demo"].environment["processor"],
        "scores": [
            {
                "command": RUNS[name],
                "score": score_line(result),
                "value": result.primary.value,
                "low": result.primary.low,
                "high": result.primary.high,
                "chance": result.chance,
            }
            for name, result in found.items()
            if name != "demo"
        ],
    }


def printed(result: Result) -> str:
    """Return the tables of scores and the score line, as the terminal shows them."""
    console = Console(file=io.StringIO(), width=WIDTH, record=True)
    for table in tables_of(result)[:2]:
        console.print(table)
    console.print(score_line(result), soft_wrap=True)
    return "\n".join(line.rstrip() for line in console.export_text().strip().splitlines())


def draw(layers: Result, baselines: dict[str, Result], path: Path) -> None:
    """Draw the score of each layer with its interval, the weighted sum, baselines by their names, and chance."""
    picture = layer_score_picture(layers, {name: result.primary.value for name, result in baselines.items()})
    assert picture is not None, "the record has no single layers"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(picture.rendered())


# ---------------------------------------------------------------- blocks


def blocks(numbers: dict[str, Any]) -> dict[str, str]:
    """Return the content of each generated block of the README."""
    rows = ["| `wavprobe run` | accuracy (95 % interval) | chance |", "|---|---:|---:|"]
    for score in numbers["scores"]:
        interval = "" if score["low"] is None else f" ({100 * score['low']:.1f} to {100 * score['high']:.1f})"
        rows.append(
            f"| `{score['command']}` | {100 * score['value']:.1f} %{interval} | {100 * score['chance']:.1f} % |"
        )
    return {
        "printed": f"```text\n{numbers['printed']}\n```",
        "time": f"It takes {numbers['seconds']} s on two cores of an {numbers['processor']}.",
        "scores": "\n".join(rows),
    }


def filled(readme: str, numbers: dict[str, Any]) -> str:
    """Return the README with its generated blocks filled."""
    for name, content in blocks(numbers).items():
        pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        assert pattern.search(readme), f"README.md has no generated block {name}"
        readme = pattern.sub(lambda match, text=content: f"{match[1]}{text}\n{match[2]}", readme)  # type: ignore[misc]
    return readme


if __name__ == "__main__":
    main()
