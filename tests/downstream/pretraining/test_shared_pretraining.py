"""Two processes learn what one learns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY
from safetensors.torch import load_file
from small_pretraining import SHARED, pretrained, recipe_of, write_tones
from torch.testing import assert_close

from downstream.pretraining.folder import OBJECTIVE, RECORD, STAGES
from upstream.json_file import read_json_object


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, and the pre-trainings of two processes."""
    place = tmp_path_factory.mktemp("shared")
    (place / "tones").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = [sys.executable, str(REPOSITORY / "tests" / "small_pretraining.py"), str(write_tones(place / "tones"))]
    paths = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]), "OMP_NUM_THREADS": "1"}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = subprocess.run(
        [*program, str(place)],
        env=os.environ | meeting | paths,
        timeout=300,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_learn_what_one_learns(name: str, place: Path, tmp_path: Path) -> None:
    recipe = recipe_of(**SHARED[name])
    alone = pretrained(recipe, place / "tones", tmp_path, name=name)
    together = place / "results" / recipe.name / name
    record = read_json_object(together / RECORD)
    assert (record["processes"], alone.record["processes"]) == (2, 1)
    for mine, theirs in zip(alone.record["history"], record["history"], strict=True):
        for one, other in zip(mine["predictions"], theirs["predictions"], strict=True):
            assert one["masked_loss"] == pytest.approx(other["masked_loss"], rel=1e-5, abs=1e-6)
        assert mine["hours"] == theirs["hours"]
        assert mine["norm"] == pytest.approx(theirs["norm"], rel=1e-4)
    for number in range(1, len(recipe.stages) + 1):
        for file in ("model.safetensors", OBJECTIVE):
            one, other = (load_file(folder / STAGES / str(number) / file) for folder in (alone.folder, together))
            for key, weight in one.items():
                assert_close(weight, other[key], rtol=1e-4, atol=1e-5, msg=lambda said, key=key: f"{key}: {said}")


def test_one_of_them_writes(place: Path) -> None:
    for name in SHARED:
        assert len(list((place / "results" / "pretrain" / "small" / name / "events").iterdir())) == 1
