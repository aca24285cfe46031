"""Records that somebody changed and signed anew: every digest is right, and the file of heads agrees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from downstream.results.artifacts import HEADS, PREDICTIONS
from downstream.results.folder import RECORD
from downstream.results.head_file import HeadFile, of_record, opened_heads, written_heads
from downstream.results.integrity import digest_of, digests
from downstream.results.record import DIGEST, Result

Content = dict[str, Any]
Rows = list[dict[str, Any]]


def forged(
    result: Result,
    to: Path,
    change: Callable[[Content], object] = lambda content: None,
    change_rows: Callable[[Rows], object] | None = None,
) -> Path:
    """Copy a run's folder, change its record and its predictions, and write every digest anew; return the folder."""
    assert result.folder is not None
    shutil.copytree(result.folder, to)
    if change_rows is not None:
        rows = [json.loads(line) for line in (to / PREDICTIONS).read_text().splitlines()]
        change_rows(rows)
        (to / PREDICTIONS).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    content = json.loads((to / RECORD).read_text())
    change(content)
    sign(to, content)
    return to


def sign(folder: Path, content: Content) -> None:
    """Write a record with the digests of what lies beside it, and a file of heads that agrees with it."""
    content.pop(DIGEST, None)
    record = Result.model_validate(content)
    with opened_heads(folder / HEADS) as tensors:
        about = tensors.metadata()
    assert isinstance(about, HeadFile)
    fitting = of_record(record, about.folds, about.states.reduction, about.upstream_seed)
    (folder / HEADS).write_bytes(written_heads(load_file(folder / HEADS), fitting))
    content["artifacts"] = digests({name: (folder / name).read_bytes() for name in content["artifacts"]})
    (folder / RECORD).write_text(json.dumps({**content, DIGEST: digest_of(content)}))


def set_score(content: Content, value: float) -> None:
    """Give every head, fold, layer and the leaderboard one value of the primary metric."""
    metric, part = content["primary"]["name"], content["primary"]["part"]
    content["primary"]["value"] = value
    for one in (*content["heads"], *content["folds"]):
        one["metrics"][part][metric] = value
    for layer in content["layers"]:
        for score in layer["scores"]:
            if (score["metric"], score["part"]) == (metric, part):
                score["value"], score["by_seed"] = value, dict.fromkeys(score["by_seed"], value)
