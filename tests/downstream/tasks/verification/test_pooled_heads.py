"""Heads on pooled states: fitted to training speakers alone, the same from frames, rebuilt from their tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_datasets import small_dataset
from torch import Tensor

from downstream.data.splits import Fold
from downstream.recipes import Recipe
from downstream.tasks import HeadContext, load_recipe
from downstream.tasks.registry import family_of
from downstream.tasks.verification.closed_form import TwoCovariances, whitening, within_speakers
from downstream.tasks.verification.comparison import comparison_of
from downstream.tasks.verification.family import SpeakerTargets, VerificationTask
from downstream.tasks.verification.pooled import ClosedFormHead, PLDAHead
from downstream.tasks.verification.trial_scores import normalise_scores, score_trials
from downstream.tasks.verification.trials import Trials
from downstream.training.fitting import fit
from upstream.base import HiddenStates
from upstream.errors import UserError

LAYERS, DIM, SPEAKERS, EACH = 2, 6, 5, 4
COUNT = SPEAKERS * EACH
FOLD = Fold("one", tuple(range(COUNT)), (), ())
WAYS = [
    ["head.transform=none"],
    ["head.transform=centred"],
    ["head.transform=whitened"],
    ["head.transform=wccn"],
    ["head.kind=lda"],
    ["head.kind=plda"],
    ["head.kind=plda", "head.projection=2"],
]


def states_of(count: int, seed: int = 0) -> HiddenStates:
    """Frames of utterances, of whom each speaker has a mean of their own."""
    generator = torch.Generator().manual_seed(seed)
    voices = torch.randn(LAYERS, SPEAKERS, DIM, generator=generator)
    return HiddenStates.from_utterances(
        [
            voices[:, number // EACH % SPEAKERS, None] + torch.randn(LAYERS, 4 + number % 3, DIM, generator=generator)
            for number in range(count)
        ]
    )


FRAMES = states_of(COUNT)


def pooled(states: HiddenStates, recipe: Recipe) -> Tensor:
    """What heads of a recipe read of states, (L, U, width)."""
    own = states.statistics() if recipe.head.pooling == "statistics" else states.means()  # type: ignore[attr-defined]
    return own.transpose(0, 1)


def task_of(recipe: Recipe, counts: tuple[int, ...] = (EACH,) * SPEAKERS) -> VerificationTask:
    numbers = tuple(number for number, count in enumerate(counts) for _ in range(count))
    fold = replace(FOLD, train=tuple(range(len(numbers))))
    dataset = small_dataset([f"s{number}" for number in numbers], [fold])
    targets = SpeakerTargets(tuple(f"s{n}" for n in range(len(counts))), numbers, {})
    return VerificationTask(replace(dataset, targets=targets), LAYERS, DIM, recipe.head, recipe.trials)  # type: ignore[attr-defined]


class InMemory:
    """States of all utterances, as a source."""

    audio_seconds = computed_seconds = 0.0

    def __init__(self, states: Tensor | HiddenStates) -> None:
        self._states = states

    def batches(self, groups: object, places: object = None) -> Iterator[Tensor | HiddenStates]:
        for group in groups:  # type: ignore[attr-defined]
            if isinstance(self._states, Tensor):
                yield self._states[:, group]
            else:
                yield HiddenStates.from_utterances([self._states.utterance(int(index)) for index in group])


def fitted(recipe: Recipe, states: Tensor | HiddenStates, layer: int | None = 1) -> ClosedFormHead:
    task = task_of(recipe)
    head = task.build(0, layer)
    assert isinstance(head, ClosedFormHead)
    fit([head], task, FOLD.train, InMemory(states), torch.device("cpu"))
    return head


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_frames_give_what_their_statistics_give(way: list[str], pooling: str) -> None:
    recipe = load_recipe("sv", [*way, f"head.pooling={pooling}"])
    for layer in (1, None):
        short, long = (fitted(recipe, given, layer) for given in (pooled(FRAMES, recipe), FRAMES))
        for name, tensor in short.state_dict().items():
            torch.testing.assert_close(tensor, long.state_dict()[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(short(pooled(FRAMES, recipe)), long(FRAMES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_heads_on_means_read_them_from_statistics(way: list[str]) -> None:
    """One pass of the encoder serves every way, and no score depends on which was first."""
    recipe = load_recipe("sv", [*way, "head.pooling=mean"])
    assert family_of(recipe).needs() == "statistics"
    means, statistics = (own.transpose(0, 1) for own in (FRAMES.means(), FRAMES.statistics()))
    for layer in (1, None):
        one, other = fitted(recipe, means, layer), fitted(recipe, statistics, layer)
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
        assert torch.equal(one(means), other(statistics))


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_a_head_is_rebuilt_from_its_tensors_and_outputs(way: list[str]) -> None:
    recipe = load_recipe("sv", way)
    given = pooled(FRAMES, recipe)
    head = fitted(recipe, given)
    context = HeadContext(tuple(f"s{n}" for n in range(SPEAKERS)), {}, num_layers=LAYERS, dim=DIM, stride=320)
    predictor = family_of(recipe).predictor(context)
    rebuilt = predictor.build(1)
    rebuilt.load_state_dict(head.state_dict())
    embeddings = predictor.predict(rebuilt.eval(), given)
    assert torch.equal(torch.as_tensor(embeddings), head(given))
    one, other = torch.tensor([0, 0, 5]), torch.tensor([1, 9, 3])
    trials = Trials(one, other, torch.tensor([True, False, False]), "")
    scores = predictor.similarities(rebuilt, embeddings, one, other)
    compare = comparison_of(recipe.head.kind)  # type: ignore[attr-defined]
    assert torch.equal(scores, score_trials(head(given), torch.arange(COUNT), trials, compare))
    assert scores[0] > scores[1:].max()


def test_wccn_divides_by_the_covariance_within_speakers_of_its_layer() -> None:
    recipe = load_recipe("sv", ["head.shrinkage=0.2"])
    given = pooled(FRAMES, recipe)
    head = fitted(recipe, given, layer=0)
    vectors = given[0].double()
    white = whitening(within_speakers(vectors, torch.arange(COUNT) // EACH), 0.2)
    torch.testing.assert_close(head(given).double(), (vectors - vectors.mean(dim=0)) @ white, rtol=1e-4, atol=1e-4)


def test_scores_of_plda_are_log_likelihood_ratios() -> None:
    recipe = load_recipe("sv", ["head.kind=plda", "head.transform=none"])
    given = pooled(FRAMES, recipe)
    head = fitted(recipe, given)
    assert isinstance(head, PLDAHead)
    assert head.centre is not None
    assert head.map is not None
    discriminated = F.normalize((given[1] - head.centre) @ head.map, dim=1) * (SPEAKERS - 1) ** 0.5
    model = TwoCovariances.of(discriminated.double(), torch.arange(COUNT) // EACH, "auto")
    product, square, constant = model.weights()
    x, y = ((discriminated[index].double() - model.centre) @ model.map for index in (0, 7))
    expected = (product.square() * x * y - square * (x * x + y * y) / 2).sum() + constant
    trials = Trials(torch.tensor([0]), torch.tensor([7]), torch.tensor([False]), "")
    found = score_trials(head(given), torch.arange(COUNT), trials, comparison_of("plda"))
    assert float(found) == pytest.approx(float(expected), abs=1e-3)


def test_scores_of_plda_are_normalised_against_a_cohort_of_ratios() -> None:
    recipe = load_recipe("sv", ["head.kind=plda"])
    embeddings = fitted(recipe, pooled(FRAMES, recipe))(pooled(FRAMES, recipe))
    compare, rows = comparison_of("plda"), torch.arange(COUNT)
    trials = Trials(torch.tensor([0, 4]), torch.tensor([1, 9]), torch.tensor([True, False]), "")
    scores = score_trials(embeddings, rows, trials, compare)
    cohort = rows[10:]
    found = normalise_scores(scores, trials, rows, embeddings, embeddings[cohort], None, compare)
    for position, (one, other) in enumerate([(0, 1), (4, 9)]):
        sides = []
        for side in (one, other):
            pairs = Trials(torch.full_like(cohort, side), cohort, torch.zeros(len(cohort), dtype=torch.bool), "")
            against = score_trials(embeddings, rows, pairs, compare).double()
            sides.append((scores[position] - against.mean()) / against.std(correction=0))
        assert float(found[position]) == pytest.approx(float(sum(sides)) / 2, rel=1e-4)


@pytest.mark.parametrize("way", [way for way in WAYS if way != ["head.kind=plda", "head.projection=2"]], ids=" ".join)
def test_states_that_say_nothing_score_alike(way: list[str]) -> None:
    """An encoder that gives the same for any audio: no division by zero, and no trial is told from another."""
    recipe = load_recipe("sv", way)
    given = torch.full((LAYERS, COUNT, 2 * DIM), 0.7)
    embeddings = fitted(recipe, given)(given)
    assert bool(torch.isfinite(embeddings).all())
    trials = Trials(torch.arange(6), torch.arange(6) + 3, torch.tensor([True, False] * 3), "")
    scores = score_trials(embeddings, torch.arange(COUNT), trials, comparison_of(recipe.head.kind))  # type: ignore[attr-defined]
    assert bool((scores == scores[0]).all())


@pytest.mark.parametrize(
    ("way", "counts", "words"),
    [
        (["head.kind=lda"], (20,), "one speaker, s0, and there is nobody to tell them from"),
        (["head.transform=wccn"], (1, 1, 1), r"head\.transform wccn is fitted .* choose -o head\.kind=cosine"),
        (["head.kind=plda"], (1, 1, 1), r"one utterance of each speaker, and head\.kind plda"),
        (["head.transform=whitened"], (1,), r"has one utterance, and head\.transform whitened needs several"),
    ],
)
def test_too_little_training_data_is_refused(way: list[str], counts: tuple[int, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        task_of(load_recipe("sv", way), counts).caveats()
    assert task_of(load_recipe("sv", ["head.transform=none"]), counts).caveats() == ()


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("sv", ["training={steps: 5, batch: 2, evaluate_every: 1}"], "choose -d sv_linear or -d sv_xvector"),
        ("sv", ["training.steps=5"], "head.kind cosine is not trained by gradient descent"),
        ("sv", ["head.projection=9"], "head.projection is the width of a linear layer, and head.kind cosine has none"),
        ("sv", ["head.transform=none", "head.shrinkage=0.1"], "head.shrinkage is of a covariance"),
        ("sv", ["head.shrinkage=1.5"], "head.shrinkage"),
        ("sv", ["head.kind=lda", "head.transform=whitened"], "head.transform whitened is of the kind cosine"),
        ("sv", ["head.kind=linear"], "optimizer and training is missing; take -d sv_linear"),
        ("sv", ["head.kind=xvector"], "optimizer and training is missing; take -d sv_xvector"),
        ("sv_xvector", ["training=null"], "training is missing; take -d sv_xvector"),
        ("sv", ["sweep.seed=[0, 1]"], "sweep.seed lists seeds, and head.kind cosine draws nothing"),
        ("sv", ["sweep.lr=superb"], "nothing is learned by gradient descent"),
        ("sv_xvector", ["head.transform=wccn"], "head.transform wccn is of the kind cosine"),
        ("sv_xvector", ["head.pooling=mean"], "head.kind xvector pools mean and standard deviation"),
    ],
)
def test_settings_that_do_not_go_together_are_sentences(name: str, overrides: list[str], words: str) -> None:
    with pytest.raises(UserError) as refusal:
        load_recipe(name, overrides)
    assert words in str(refusal.value)
