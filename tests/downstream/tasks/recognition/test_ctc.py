"""The recurrent head and its loss are s3prl's; batch-mates do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peers import relative_error
from torch import Tensor, nn

from downstream.tasks.head import initialised
from downstream.tasks.recognition.ctc import CTCHead, ctc_losses
from downstream.tasks.recognition.spec_augment import SpecAugment
from upstream.base import HiddenStates

LAYERS, VOCABULARY = 3, 32


def random_states(lengths: Sequence[int], dim: int, seed: int = 0) -> HiddenStates:
    generator = torch.Generator().manual_seed(seed)
    return HiddenStates.from_utterances([torch.randn(LAYERS, n, dim, generator=generator) for n in lengths])


def random_targets(sizes: Sequence[int], seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, VOCABULARY, (size,), generator=generator) for size in sizes]


def small_head(dim: int = 12, **settings: Any) -> CTCHead:
    made = initialised(5, lambda: CTCHead(LAYERS, dim, VOCABULARY, projection=20, hidden=16, **settings))
    with torch.no_grad():
        made.weighted_sum.weights.copy_(torch.linspace(-1, 1, LAYERS))  # not the even mix of the beginning
    return made


class Peer(nn.Module):
    """s3prl's recogniser: its projector and its RNNs in SUPERB's setting, with our weights."""

    def __init__(self, head: CTCHead, dim: int, projection: int, hidden: int) -> None:
        super().__init__()
        model = pytest.importorskip("s3prl.downstream.asr.model")
        settings = {"module": "LSTM", "bidirection": True, "dim": [hidden] * 2, "dropout": [0.2, 0.2]}
        plain = {"layer_norm": [False] * 2, "proj": [False] * 2, "sample_rate": [1, 1], "sample_style": "concat"}
        self.weights = nn.Parameter(head.weighted_sum.weights.detach().clone())
        self.projector = nn.Linear(dim, projection)
        self.model = model.RNNs(projection, VOCABULARY, 320, **settings, **plain)
        self.projector.load_state_dict(head.projection.state_dict())
        self.model.linear.load_state_dict(head.output.state_dict())
        for theirs, ours in zip(self.model.rnns, head.recurrent, strict=True):
            theirs.layer.load_state_dict({peer_name(name): tensor for name, tensor in ours.state_dict().items()})

    def forward(self, states: HiddenStates) -> tuple[Tensor, Tensor]:
        mixed = torch.tensordot(self.weights.softmax(0), states.layers, dims=1)
        logits, lengths = self.model(self.projector(mixed), states.lengths.int())
        return logits.log_softmax(dim=-1), lengths

    def parameters_by_our_names(self) -> dict[str, nn.Parameter]:
        found = {"weighted_sum.weights": self.weights}
        found |= {f"projection.{name}": value for name, value in self.projector.named_parameters()}
        found |= {f"output.{name}": value for name, value in self.model.linear.named_parameters()}
        for index, rnn in enumerate(self.model.rnns):
            found |= {f"recurrent.{index}.{our_name(name)}": value for name, value in rnn.layer.named_parameters()}
        return found


def peer_name(name: str) -> str:
    """What PyTorch's bidirectional LSTM calls a weight of ours."""
    direction, _, weight = name.partition(".")
    return weight + ("_reverse" if direction == "backwards" else "")


def our_name(name: str) -> str:
    """The inverse of `peer_name`."""
    return f"{'backwards' if name.endswith('_reverse') else 'forwards'}.{name.removesuffix('_reverse')}"


def mean_loss_as_s3prl(log_posteriors: Tensor, lengths: Tensor, targets: list[Tensor]) -> Tensor:
    padded = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=1)
    sizes = torch.tensor([len(target) for target in targets])
    loss: Tensor = nn.CTCLoss(blank=0, zero_infinity=True)(log_posteriors.transpose(0, 1), padded, lengths, sizes)
    return loss


@pytest.mark.parametrize(
    ("dim", "projection", "hidden", "lengths"),
    [(12, 20, 16, (31, 9, 40, 1)), (768, 1024, 64, (25, 14))],
    ids=["small", "base"],
)
def test_equals_s3prl(dim: int, projection: int, hidden: int, lengths: tuple[int, ...]) -> None:
    """Log posteriors, loss and every gradient, one utterance with a target that does not fit."""
    head = initialised(0, lambda: CTCHead(LAYERS, dim, VOCABULARY, projection=projection, hidden=hidden)).eval()
    peer = Peer(head, dim, projection, hidden).eval()
    states, targets = random_states(lengths, dim), random_targets([7, 3, 11, 4][: len(lengths)])
    ours, valid = head(states)
    theirs, their_lengths = peer(states)
    assert torch.equal(valid, their_lengths.long())
    for index, length in enumerate(lengths):
        assert relative_error(ours[index, :length].detach(), theirs[index, :length].detach()) < 1e-5
    loss = ctc_losses(ours, valid, targets, blank=0).mean()
    expected = mean_loss_as_s3prl(theirs, their_lengths, targets)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    loss.backward()
    expected.backward()
    by_name = peer.parameters_by_our_names()
    assert set(by_name) == {name for name, _ in head.named_parameters()}
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None
        assert by_name[name].grad is not None
        assert float(parameter.grad.norm()) > 0, name
        assert relative_error(parameter.grad, by_name[name].grad) < 1e-5, name


class Halves(nn.Module):
    """Stands where dropout stands, without its chance."""

    def forward(self, values: Tensor) -> Tensor:
        return values / 2


def test_dropout_stands_where_s3prl_has_it() -> None:
    head = small_head()
    peer = Peer(head, 12, 20, 16)
    head.dropout = Halves()
    for rnn in peer.model.rnns:
        rnn.dp = Halves()
    states = random_states((20, 13), 12)
    with torch.no_grad():
        ours, theirs = head(states)[0], peer(states)[0]
        head.dropout = nn.Identity()
        without = head(states)[0]
    assert relative_error(ours[1, :13], theirs[1, :13]) < 1e-5
    assert relative_error(without[1, :13], theirs[1, :13]) > 1e-3


def test_superbs_head_has_43_million_parameters() -> None:
    with torch.device("meta"):
        head = CTCHead(13, 768, 32)
    assert round(sum(parameter.numel() for parameter in head.parameters()) / 1e6) == 43
    assert head.dropout.p == 0.2
    assert [recurrent.forwards.input_size for recurrent in head.recurrent] == [1024, 2048]


def test_batch_mates_and_padding_do_not_matter() -> None:
    head = small_head(augment=SpecAugment()).eval()
    states = random_states((30, 7, 18), 12)
    states.layers[:, 1, 7:] = 1e6
    targets = random_targets([5, 2, 4])
    together, lengths = head(states)
    losses = ctc_losses(together, lengths, targets, blank=0)
    for index, length in enumerate((30, 7, 18)):
        alone, own = head(HiddenStates.from_utterances([states.utterance(index)]))
        assert torch.allclose(alone[0], together[index, :length], rtol=1e-5, atol=1e-6)
        assert torch.allclose(ctc_losses(alone, own, [targets[index]], blank=0)[0], losses[index], rtol=1e-5)
    assert not together[1, 7:].any()


def test_padding_of_a_whole_batch_keeps_its_frames() -> None:
    """A part of a larger batch may be padded further than its own longest utterance."""
    states = random_states((9, 4), 12)
    longer = HiddenStates(nn.functional.pad(states.layers, (0, 0, 0, 3)), states.lengths)
    short, long = small_head().eval()(states)[0], small_head().eval()(longer)[0]
    assert long.shape == (2, 12, VOCABULARY)
    assert torch.equal(long[:, :9], short)


def test_posteriors_sum_to_one() -> None:
    log_posteriors, lengths = small_head()(random_states((8, 5), 12))
    sums = log_posteriors.exp().sum(dim=-1)
    assert torch.allclose(sums[0], torch.ones(8))
    assert torch.allclose(sums[1, : lengths[1]], torch.ones(5))


def test_augmentation_acts_in_training_alone_and_on_the_weighted_sum() -> None:
    states = random_states((30, 22), 12)
    plain, augmented = small_head(dropout=0.0), small_head(dropout=0.0, augment=SpecAugment())
    assert torch.equal(augmented.eval()(states)[0], plain.eval()(states)[0])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        trained = augmented.train()(states)[0]
        torch.default_generator.manual_seed(0)
        mixed = SpecAugment()(plain.weighted_sum(states.layers), states.lengths)
    alone = small_head(dropout=0.0)
    alone.weighted_sum = nn.Identity()
    assert torch.allclose(trained, alone(HiddenStates(mixed, states.lengths))[0], atol=1e-6)
    assert not torch.allclose(trained, plain(states)[0], atol=1e-3)


def test_first_weights_follow_the_seed_and_leave_the_generator() -> None:
    before = torch.get_rng_state()
    one, same = small_head(), small_head()
    other = initialised(6, lambda: CTCHead(LAYERS, 12, VOCABULARY, projection=20, hidden=16))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.output.weight, same.output.weight)
    assert not torch.equal(one.output.weight, other.output.weight)


def test_one_layer_alone() -> None:
    states = random_states((6,), 12)
    only = HiddenStates(states.layers[1:2].expand(LAYERS, -1, -1, -1), states.lengths)
    assert torch.allclose(small_head(layer=1).eval()(states)[0], small_head().eval()(only)[0], atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3])
def test_other_depths(depth: int) -> None:
    head = small_head(depth=depth)
    assert len(head.recurrent) == depth
    assert head(random_states((6,), 12))[0].shape == (1, 6, VOCABULARY)


def test_a_loss_worked_by_hand() -> None:
    """Two frames, P(blank) = 0.6 and P(a) = 0.4 in both: "a" is said by a-, -a and aa, 0.64 in all."""
    log_posteriors = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log().expand(2, 2, 2)
    lengths = torch.tensor([2, 2])
    losses = ctc_losses(log_posteriors, lengths, [torch.tensor([1]), torch.tensor([1, 1])], blank=0)
    assert losses.tolist() == pytest.approx([-torch.tensor(0.64).log().item(), 0])  # "aa" needs three frames
    empty = ctc_losses(log_posteriors, lengths, [torch.tensor([1]), torch.tensor([], dtype=torch.int64)], blank=0)
    assert float(empty[1]) == pytest.approx(-torch.tensor(0.36).log().item())


def test_each_loss_is_divided_by_its_own_target() -> None:
    log_posteriors = torch.randn(2, 30, VOCABULARY, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    lengths, targets = torch.tensor([30, 21]), random_targets([4, 9])
    losses = ctc_losses(log_posteriors, lengths, targets, blank=0)
    assert float(losses.mean()) == pytest.approx(float(mean_loss_as_s3prl(log_posteriors, lengths, targets)))
    for index, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        whole = nn.functional.ctc_loss(
            log_posteriors[index, :length], target, length, torch.tensor(len(target)), reduction="sum"
        )
        assert float(losses[index]) == pytest.approx(float(whole) / len(target))
