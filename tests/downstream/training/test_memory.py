"""Heads that do not fit into memory: a sentence with the longest utterance, and what to type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from chosen_heads import MEANS, AskedFor, chosen, many, task_of
from torch import Tensor

from downstream.data.audio import AudioCut, AudioFile
from downstream.data.splits import Fold
from downstream.states.sources import Means
from downstream.tasks.registry import load_recipe
from downstream.training import loop, snapshot
from downstream.training.learning import learn
from downstream.training.loop import Fit, Snapshots
from downstream.training.memory import enough_memory, smaller
from downstream.training.scoring import score_heads
from downstream.training.sweep import Config
from upstream.encode import Item, waveforms_ahead
from upstream.errors import UserError

ITEMS = [
    Item(f"u{n}.wav", AudioCut(AudioFile(Path("unread"))), str(n), seconds) for n, seconds in enumerate((2.0, 600.0))
]


def torch_runs_out() -> None:
    torch.empty(2**60, dtype=torch.uint8)  # for the allocator's real message


def gpu_runs_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def python_runs_out() -> None:
    raise MemoryError


def the_system_runs_out() -> None:
    raise OSError(12, "Cannot allocate memory")


def no_thread_starts() -> None:
    raise RuntimeError("can't start new thread")


RUN_OUT = [torch_runs_out, gpu_runs_out, python_runs_out, the_system_runs_out, no_thread_starts]


@pytest.mark.parametrize("run_out", RUN_OUT)
def test_the_longest_utterance_is_named(run_out: Callable[[], None]) -> None:
    with (
        pytest.raises(UserError, match=r"while heads were learned. .* u1.wav with 600.0 s: cut it .* or wait"),
        enough_memory("heads were learned", ITEMS, "wait"),
    ):
        run_out()


def test_other_errors_stay_what_they_are() -> None:
    for error in (
        RuntimeError("shapes differ"),
        OSError(28, "No space left on device"),
        KeyError("x"),
        UserError("no"),
    ):
        with pytest.raises(type(error)), enough_memory("heads were learned", ITEMS, "wait"):
            raise error


@pytest.mark.parametrize(
    ("recipe", "overrides", "words"),
    [
        (
            "asr",
            ["training.batch_seconds=40"],
            "-o training.batch_seconds=20 or a smaller head (head.hidden, head",
        ),
        ("sv_xvector", ["training.batch=6", "training.accumulate=3"], "-o training.batch=3 -o training.accumulate=6"),
        ("superb/asr", [], "-o training.sampling=shuffled -o training.batch=4 or a smaller head"),
        ("keyword", ["training.batch=1"], "take a smaller head (head.projection)"),
    ],
)
def test_what_to_type_holds_less_and_is_taken(recipe: str, overrides: list[str], words: str) -> None:
    given = load_recipe(recipe, overrides)
    found = smaller(given)
    assert words in found
    typed = [word for word in found.split() if "=" in word]
    load_recipe(recipe, [*overrides, *typed])


class Forgetful(AskedFor):
    def batches(self, groups: object, places: object = None) -> Iterator[Tensor]:
        torch_runs_out()
        yield MEANS


def test_learning_and_testing_end_in_a_sentence(tmp_path: Path) -> None:
    dataset = many()
    recipe = load_recipe("emotion", ["training.steps=2", "training.evaluate_every=2"])
    given = recipe, dataset, task_of(dataset), Forgetful(), [Config(1e-3, 0)], torch.device("cpu")
    with pytest.raises(UserError, match="while heads were learned. The longest utterance is u0 with 1.5 s"):
        learn(*given, Snapshots(tmp_path / "snapshot"), False)
    with pytest.raises(UserError, match="Memory ran out while heads were tested"):
        score_heads(chosen(), dataset, task_of(dataset), Forgetful())


def test_a_decoding_thread_names_its_recording() -> None:
    class Endless:
        def load(self) -> Tensor:
            return torch.empty(2**60)

    with pytest.raises(UserError, match="while call.flac was decoded, which lasts 7200.0 s; cut it"):
        list(waveforms_ahead([[Item("call.flac", Endless(), "d", 7200.0)]], 1))


def test_a_snapshot_that_cannot_be_written_is_warned_of_once_and_learning_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def learned(path: Path) -> list[Fit]:
        dataset = many([Fold("small", (0, 1, 2), (3, 4, 5), (6, 7))])
        recipe = load_recipe("emotion", ["training.steps=6", "training.evaluate_every=2"])
        given = recipe, dataset, task_of(dataset), Means(MEANS), [Config(1e-2, 0)], torch.device("cpu")
        return learn(*given, Snapshots(path, seconds=0.0), False)

    monkeypatch.setattr(loop, "STRETCH_SECONDS", 0.0)
    monkeypatch.setattr(snapshot, "SNAPSHOT_SHARE", 1e9)
    (tmp_path / "file").touch()
    whole = learned(tmp_path / "snapshot")
    assert "cannot resume" not in caplog.text
    without = learned(tmp_path / "file/snapshot")  # below a file there is no folder to write to
    assert caplog.text.count("The training goes on, and cannot resume if it is interrupted.") == 1
    for one, other in zip(whole, without, strict=True):
        assert one.history == other.history
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())
