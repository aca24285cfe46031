"""What storing frames in a codec does to the score.

A corpus goes once through the encoder. Every utterance's frames are written and read back in each codec, and their
means are kept. Then the recipe is learned on each codec's means, with several seeds.

Means are enough, although it is the frames that are stored: the head is affine up to its mean over time, so what it
makes of stored frames it makes of their mean, and learning on the means of frames that went through a codec is
learning on the frames of that codec (`UtteranceClassifier` says why).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

import upstream
from downstream.data.choice import Choice
from downstream.data.dataset import Dataset, read_dataset
from downstream.data.division import divide
from downstream.states.sources import Means
from downstream.tasks.classification import Classification, ClassificationRecipe
from downstream.tasks.classification.data import with_class_targets
from downstream.training.learning import learn
from downstream.training.loop import Snapshots
from downstream.training.scoring import score_heads
from downstream.training.sweep import Config, choose
from upstream.base import Upstream
from upstream.encode import Item, encode, waveforms_ahead, workers_for
from upstream.extract import plan
from upstream.files import DEFAULT_STORE
from upstream.store import CODECS, StoreKey, estimate_bytes
from upstream.store.codecs import BY_NAME, Codec

from . import common

SMALL = {"upstream": "wavlm_nano", "random_init": True, "limit": 60, "seeds": 2, "updates": 100}
REFERENCE = "float32"  # keeps every bit of an encoder that computes in it


@dataclass
class Coded:
    """What a codec made of a corpus.

    means: (L, D) float32 of each utterance's frames, by its digest.
    frame_error: the largest root mean square error of a frame, as a share of the root mean square of its layer in its
        utterance; mean_error: the same of the mean over frames.
    """

    means: dict[str, Tensor] = field(default_factory=dict)
    frame_error: float = 0.0
    mean_error: float = 0.0


def main() -> None:
    made = common.parser(__doc__)
    made.add_argument("--data", type=Path, help="folder of the corpus, as for run_downstream.py", default=None)
    made.add_argument("--corpus", default="ravdess", help="a corpus of --list")
    made.add_argument("--upstream", default="wavlm_base", help="as for run_downstream.py")
    made.add_argument("--random-init", action="store_true", help="untrained weights, drawn from seed 0")
    made.add_argument("--device", default="auto", help="of the encoder")
    made.add_argument("--limit", type=int, help="utterances, drawn at random; all where nothing is said")
    made.add_argument("--seeds", type=int, default=5, help="of the heads")
    made.add_argument("--updates", type=int, default=4000, help="of each fold's heads")
    options = common.parse(made, SMALL)

    recipe = common.classifier("emotion", [f"corpus.name={options.corpus}", f"training.steps={options.updates}"])
    dataset = read_dataset(recipe, Classification(recipe), options.data, DEFAULT_STORE)
    if options.limit:
        dataset = part_of(dataset, recipe, options.limit)
    encoder = upstream.load(options.upstream, device=options.device, random_init=options.random_init, seed=0)
    coded = code(encoder, dataset.items)
    scores = {codec: learn_on(codec, coded[codec], encoder, recipe, dataset, options.seeds) for codec in CODECS}
    report(coded, scores, encoder, dataset, options)


def part_of(dataset: Dataset, recipe: ClassificationRecipe, count: int) -> Dataset:
    """Utterances of the corpus drawn at random, divided anew."""
    drawn = torch.randperm(len(dataset.items), generator=torch.Generator().manual_seed(6))[:count]
    kept = sorted(drawn.tolist())
    utterances = tuple(dataset.utterances[i] for i in kept)
    labels = tuple(dataset.labels[i] for i in kept)
    _, split = divide(Choice(dataset.column, utterances, dataset.classes, labels), recipe)
    items = tuple(dataset.items[i] for i in kept)
    return with_class_targets(replace(dataset, utterances=utterances, labels=labels, items=items, split=split))


# ---------------------------------------------------------------- through the codecs


def code(encoder: Upstream, items: Sequence[Item]) -> dict[str, Coded]:
    """One pass of the corpus through the encoder, and its frames through every codec."""
    coded = {codec: Coded() for codec in CODECS}
    batches = plan(items)
    with (
        closing(waveforms_ahead(batches, workers_for(encoder.device))) as decoded,
        tqdm(total=sum(map(len, batches)), desc="frames", unit=" utterances") as bar,
    ):
        for batch, waveforms in zip(batches, decoded, strict=True):
            for item, states in zip(batch, encode(encoder, batch, waveforms, "frames"), strict=True):
                frames = states.cpu().float()
                for codec in CODECS:
                    take_in(coded[codec], item, frames, there_and_back(BY_NAME[codec], frames))
            bar.update(len(batch))
    return coded


def there_and_back(codec: Codec, frames: Tensor) -> Tensor:
    """Frames (L, T, D) as the store would give them back."""
    codes = torch.empty(frames.shape, dtype=codec.dtype)
    scales = torch.empty(frames.shape[0], codec.scales, frames.shape[2])
    codec.encode(frames, codes, scales)
    return codec.decode(codes, scales)


def take_in(coded: Coded, item: Item, frames: Tensor, decoded: Tensor) -> None:
    """Keep the mean of an utterance's decoded frames, and note how far they are from the right ones."""
    error = decoded - frames
    size = root_mean_square(frames.flatten(1))  # (L,)
    means = decoded.mean(dim=1)
    coded.means[item.digest] = means
    of_frames = root_mean_square(error).amax(dim=1) / size
    of_means = root_mean_square(means - frames.mean(dim=1)) / size
    coded.frame_error = max(coded.frame_error, float(of_frames.max()))
    coded.mean_error = max(coded.mean_error, float(of_means.max()))


def root_mean_square(values: Tensor) -> Tensor:
    """Over the last dimension."""
    return values.square().mean(dim=-1).sqrt()


# ---------------------------------------------------------------- and learned


def learn_on(
    codec: str, coded: Coded, encoder: Upstream, recipe: ClassificationRecipe, dataset: Dataset, seeds: int
) -> list[float]:
    """Accuracy of each seed, mean over folds, on this codec's means."""
    common.say(f"learning on {codec}")
    source = Means(torch.stack([coded.means[item.digest] for item in dataset.items], dim=1))
    task = Classification(recipe).task(dataset, encoder)
    configs = [Config(recipe.optimizer.lr, seed) for seed in range(seeds)]
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(Path(folder) / "snapshot")
        fits = learn(recipe, dataset, task, source, configs, encoder.device, snapshots, show_progress=False)
    accuracies: dict[int, list[float]] = {}
    for one in score_heads(choose(fits, [None]), dataset, task, source):
        (evaluation,) = one.evaluations.values()
        accuracies.setdefault(one.fit.config.seed, []).append(evaluation.value("accuracy"))
    return [statistics.mean(accuracies[seed]) for seed in range(seeds)]


def report(
    coded: dict[str, Coded],
    scores: dict[str, list[float]],
    encoder: Upstream,
    dataset: Dataset,
    options: argparse.Namespace,
) -> None:
    seconds = [item.seconds for item in dataset.items]
    reference = statistics.mean(scores[REFERENCE])
    rows = []
    for codec, own in scores.items():
        nbytes = estimate_bytes(StoreKey.of(encoder, "frames", codec), encoder.stride, seconds)
        rows.append(
            [
                codec,
                f"{nbytes / sum(seconds):,.0f}",
                f"{coded[codec].frame_error:.2g}",
                f"{coded[codec].mean_error:.2g}",
                f"{100 * statistics.mean(own):.2f}",
                f"{100 * (statistics.mean(own) - reference):+.2f}",
                f"{100 * statistics.stdev(own):.2f}" if len(own) > 1 else "-",
            ]
        )
    untrained = ", untrained" if encoder.provenance.random_init else ""
    common.show(
        f"emotion on {dataset.corpus.title}, {len(seconds):,} utterances, {sum(seconds) / 60:.1f} min; "
        f"{options.upstream}{untrained}",
        (
            "codec",
            "bytes a second",
            "largest error\nof a frame",
            "of a mean",
            "accuracy %",
            f"against\n{REFERENCE}",
            "deviation\nof seeds",
        ),
        rows,
        [
            "Errors: root mean square of a frame's (a mean's) error, as a share of the root mean square of all frames "
            "of that layer in that utterance; the largest one is shown.",
            f"Accuracy: mean over {len(dataset.split.folds)} folds and {options.seeds} seeds, {options.updates} "
            "updates each; the deviation is the standard deviation of the seeds' means over folds.",
            "Everything was measured but the bytes, which are the store's estimate.",
        ],
        encoder.device,
    )


if __name__ == "__main__":
    common.carry_out(main)
