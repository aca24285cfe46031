"""The contrastive objective against transformers' Wav2Vec2ForPreTraining, and against itself, alone and in batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import KINDS, SMALL, relative_error, shaken, transformers_model
from safetensors.torch import load_file
from torch import Tensor, nn

import upstream
from upstream.errors import UserError
from upstream.learned import Learned
from upstream.wavlm import checkpoint, names
from upstream.wavlm.checkpoint import Checkpoint
from upstream.wavlm.config import NANO, WavLMConfig
from upstream.wavlm.masking import Masks
from upstream.wavlm.pretraining.contrastive import (
    ContrastiveLoss,
    ContrastiveObjective,
    drawn_negatives,
    predicted_frames,
)
from upstream.wavlm.pretraining.quantizer import GumbelQuantizer, gumbel_temperature, perplexity_of
from upstream.wavlm.training import TrainableWavLM
from upstream.wavlm.upstream import drawn

CPU = torch.device("cpu")
SIZES = {
    "num_codevectors_per_group": 5,
    "num_codevector_groups": 2,
    "codevector_dim": 12,
    "proj_codevector_dim": 20,
    "num_negatives": 30,
    "contrastive_logits_temperature": 0.2,
    "diversity_loss_weight": 0.3,
}
NOTHING_RANDOM = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"), 0.0
)
CONFIG = replace(NANO, **SIZES)
LENGTHS, SEEDS = [40, 25, 31], [3, 1, 4]
LIMIT = 1e-5


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def masks(lengths: Sequence[int], seed: int = 0) -> Tensor:
    return torch.rand(sum(lengths), generator=torch.Generator().manual_seed(seed)) < 0.5


def objective(seed: int = 0, **changes: Any) -> ContrastiveObjective:
    """With weights that hide nothing: no bias is zero, and the choice of codes is not certain."""
    made = ContrastiveObjective.untrained(replace(CONFIG, **changes), seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shaken(made)
    with torch.no_grad():
        made.quantizer.weight_proj.weight *= 0.2
    return made


@dataclass
class Batch:
    """A packed batch, with all that is drawn for it."""

    states: Tensor
    features: Tensor
    lengths: list[int]
    masked: Tensor
    negatives: Tensor
    noise: Tensor

    def through(self, module: ContrastiveObjective) -> ContrastiveLoss:
        return module(
            self.states, self.features, self.lengths, self.masked, SEEDS, negatives=self.negatives, noise=self.noise
        )


def batch(lengths: Sequence[int] = LENGTHS) -> Batch:
    masked = masks(lengths)
    _, counts = predicted_frames(masked, lengths)
    uniform = torch.rand(sum(counts), 2, 5, generator=torch.Generator().manual_seed(5))
    return Batch(
        noise(sum(lengths), 64, seed=1).requires_grad_(),
        noise(sum(lengths), 32, seed=2).requires_grad_(),
        list(lengths),
        masked,
        drawn_negatives(counts, CONFIG.num_negatives, SEEDS[: len(counts)]),
        -(-uniform.log()).log(),
    )


# ---------------------------------------------------------------- transformers


class Given(nn.Module):
    """In place of transformers' encoder: states and features as given, padded."""

    def __init__(self, states: Tensor, features: Tensor) -> None:
        super().__init__()
        self.states, self.features = states, features

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import Wav2Vec2BaseModelOutput

        return Wav2Vec2BaseModelOutput(last_hidden_state=self.states, extract_features=self.features)


def peer_of(module: ContrastiveObjective, **changes: Any) -> Any:
    """transformers' pre-training class with the weights of an objective."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    with torch.random.fork_rng():
        peer = Wav2Vec2ForPreTraining(Wav2Vec2Config(**(SMALL | SIZES | NOTHING_RANDOM | changes)))
    peer.load_state_dict(module.state_dict(), strict=False)
    return peer.train(module.training)


@contextmanager
def gumbel_noise(monkeypatch: pytest.MonkeyPatch, own: Tensor, masked: Tensor) -> Iterator[None]:
    """Let torch's Gumbel softmax draw this noise in masked frames: own (M, groups, codes), masked (B, T)."""
    exponential = torch.ones(*masked.shape, *own.shape[1:])
    exponential[masked] = (-own).exp()  # torch takes the negative logarithm of what it draws

    def drawn_instead(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        return tensor.copy_(exponential.view_as(tensor))

    with monkeypatch.context() as patched:
        patched.setattr(Tensor, "exponential_", drawn_instead)
        yield


def padded(packed: Tensor, lengths: Sequence[int]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(packed.split(list(lengths))), batch_first=True)


def their_negatives(own: Tensor, masked: Tensor) -> Tensor:
    """Negatives of all frames as transformers counts them, (B, T, K): frames of the padded batch."""
    everywhere = torch.zeros(*masked.shape, own.shape[1], dtype=torch.int64)
    rows = torch.arange(masked.numel()).view(masked.shape)
    counts = masked.sum(dim=1).tolist()
    for index, drawn_here in enumerate(own.split(counts)):
        everywhere[index, masked[index]] = rows[index, masked[index]][drawn_here]
    return everywhere


def assert_equal_losses(found: ContrastiveLoss, expected: Any) -> None:
    pairs = {
        "loss": (found.loss, expected.loss),
        "contrastive": (found.contrastive_loss, expected.contrastive_loss),
        "diversity": (found.diversity_loss, expected.diversity_loss),
        "perplexity": (found.perplexity, expected.codevector_perplexity),
    }
    for name, (ours, theirs) in pairs.items():
        torch.testing.assert_close(ours, theirs, rtol=LIMIT, atol=0.0, msg=name)


@pytest.mark.parametrize("codes", [5, 2], ids=["5 codes", "2 codes"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_losses_and_gradients_are_those_of_transformers(
    training: bool, codes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On states and features of three lengths; of few combinations of codes, many negatives equal the positive."""
    ours = objective(num_codevectors_per_group=codes).train(training)
    ours.quantizer.temperature = 0.7
    one = batch()
    one.noise = one.noise[..., :codes]
    found = one.through(ours)
    found.loss.backward()

    peer = peer_of(ours, num_codevectors_per_group=codes)
    peer.set_gumbel_temperature(0.7)
    states, features = (own.detach().clone().requires_grad_() for own in (one.states, one.features))
    peer.wav2vec2 = Given(padded(states, LENGTHS), padded(features, LENGTHS))
    masked = padded(one.masked, LENGTHS)
    with gumbel_noise(monkeypatch, one.noise, masked):
        negatives = their_negatives(one.negatives, masked)
        expected = peer(None, mask_time_indices=masked, sampled_negative_indices=negatives)
    expected.loss.backward()

    assert_equal_losses(found, expected)
    assert found.masked_frames == int(masked.sum())
    assert bool(found.logits.isneginf().any()), "no negative equals the positive"
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = theirs[name].grad
        if gradient is None or not bool(gradient.any()):  # the choice of evaluation has no gradient
            assert parameter.grad is None or float(parameter.grad.norm()) < LIMIT, name
        else:
            assert relative_error(parameter.grad, gradient) < LIMIT, name
    for mine, own in ((one.states, states), (one.features, features)):
        if own.grad is None or not bool(own.grad.any()):
            assert mine.grad is None or not bool(mine.grad.any())
        else:
            assert relative_error(mine.grad, own.grad) < LIMIT


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_quantized_vectors_and_logits_are_those_of_transformers(
    training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, one = objective().train(training), batch()
    rows, counts = predicted_frames(one.masked, LENGTHS)
    peer, everywhere = peer_of(ours), torch.ones(1, len(rows), dtype=torch.bool)
    with torch.no_grad():
        quantized = ours.quantizer(one.features[rows], counts, SEEDS, one.noise)
        with gumbel_noise(monkeypatch, one.noise, everywhere):
            expected, perplexity = peer.quantizer(one.features[rows][None], everywhere)
        assert relative_error(quantized.vectors, expected[0]) < LIMIT
        assert relative_error(quantized.perplexity, perplexity) < LIMIT
        assert len(quantized.codes.unique(dim=0)) > 10
        targets = peer.project_q(expected[0])
        utterances = zip(targets.split(counts), one.negatives.split(counts), strict=True)
        wrong = torch.cat([own[negatives] for own, negatives in utterances]).transpose(0, 1)
        logits = peer.compute_contrastive_logits(targets[None], wrong, peer.project_hid(one.states[rows]), 0.2).T
        found = one.through(ours).logits
    kept = ~found.isneginf()
    assert relative_error(found[kept], logits[kept]) < LIMIT
    assert torch.equal(~kept[:, 1:], (targets == wrong).all(dim=-1).T)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_encoder_all_gradients_are_those_of_transformers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From waveforms to the gradient of every parameter: transformers' WavLMModel in its class of wav2vec 2.0."""
    settings = KINDS[kind] | NOTHING_RANDOM | {"mask_time_prob": 0.5}
    encoder = transformers_model(settings).train()
    config = WavLMConfig(**{name: tuple(own) if isinstance(own, list) else own for name, own in settings.items()})
    config = replace(config, **SIZES)
    learner = TrainableWavLM(Checkpoint(config, encoder.state_dict(), "", ""), Learned(front_end=True), CPU).train()
    ours = objective()
    waveforms, lengths = noise(2, 8_000) * 0.1, [24, 24]
    masked = masks(lengths)
    _, counts = predicted_frames(masked, lengths)
    negatives, gumbel = drawn_negatives(counts, 30, SEEDS[:2]), batch([48]).noise.repeat(2, 1, 1)[: sum(counts)]
    states = learner.encode(list(waveforms), SEEDS[:2], Masks(masked, None, lengths)).layers[-1].flatten(0, 1)
    found = ours(states, learner.features(list(waveforms)), lengths, masked, SEEDS[:2], negatives, gumbel)
    found.loss.backward()

    peer = peer_of(ours)
    peer.wav2vec2 = encoder
    grid = masked.view(2, 24)
    with gumbel_noise(monkeypatch, gumbel, grid):
        expected = peer(waveforms, mask_time_indices=grid, sampled_negative_indices=their_negatives(negatives, grid))
    expected.loss.backward()
    assert_equal_losses(found, expected)
    gradients = names.from_native({name: own.grad for name, own in learner.model.named_parameters()}, config)
    for name, parameter in encoder.named_parameters():
        if not name.endswith("k_proj.bias"):  # the same for all scores of a query: rounding alone
            assert relative_error(gradients[name], parameter.grad) < LIMIT, name
    for name, parameter in ours.named_parameters():
        assert relative_error(parameter.grad, dict(peer.named_parameters())[name].grad) < LIMIT, name


def test_new_weights_have_the_distributions_of_transformers() -> None:
    """Means, deviations and bounds of each tensor, beside theirs; and nobody's generator is used."""
    config = replace(CONFIG, num_codevectors_per_group=64, codevector_dim=128, proj_codevector_dim=128)
    before = torch.get_rng_state()
    ours = ContrastiveObjective.untrained(config, 0)
    assert torch.equal(torch.get_rng_state(), before)
    sizes = {name: getattr(config, name) for name in SIZES}
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    with torch.random.fork_rng():
        torch.manual_seed(0)
        peer = Wav2Vec2ForPreTraining(Wav2Vec2Config(**(SMALL | sizes)))
    for name, found in ours.state_dict().items():
        expected = peer.state_dict()[name]
        assert found.shape == expected.shape, name
        spread, error = float(expected.std()), 6.0 / math.sqrt(found.numel())
        assert abs(float(found.mean() - expected.mean())) <= error * spread, name
        assert abs(float(found.std()) - spread) <= error * spread, name
        if name != "quantizer.weight_proj.weight":  # the only normal one
            assert float(found.abs().max()) <= 1.1 * float(expected.abs().max()), name
    again, other = ContrastiveObjective.untrained(config, 0), ContrastiveObjective.untrained(config, 1)
    assert torch.equal(again.project_q.weight, ours.project_q.weight)
    assert not torch.equal(other.project_q.weight, ours.project_q.weight)


# ---------------------------------------------------------------- by hand


def quantizer_by_hand() -> GumbelQuantizer:
    """Two groups of two vectors, chosen by the sign of a feature each."""
    config = replace(NANO, conv_dim=(2,) * 7, num_codevectors_per_group=2, num_codevector_groups=2, codevector_dim=2)
    quantizer = GumbelQuantizer(config)
    with torch.no_grad():
        quantizer.weight_proj.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        quantizer.weight_proj.bias.zero_()
        quantizer.codevectors.copy_(torch.tensor([[[10.0], [20.0], [30.0], [40.0]]]))
    return quantizer


def test_vectors_and_perplexity_by_hand() -> None:
    """The first group uses its codes in 3 and 1 of 4 frames, the second in 2 and 2."""
    features = torch.tensor([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    with torch.no_grad():
        found = quantizer_by_hand().eval()(features, [4], [0])
    assert found.vectors.tolist() == [[10.0, 30.0], [10.0, 40.0], [10.0, 30.0], [20.0, 40.0]]
    assert found.codes.tolist() == [[0, 0], [0, 1], [0, 0], [1, 1]]
    assert float(found.perplexity) == pytest.approx(4 / 3**0.75 + 2)  # exp of an entropy of ln 4 - 3/4 ln 3, and 2
    assert float(perplexity_of(torch.full((7, 2, 5), 0.2))) == pytest.approx(10.0)


@torch.no_grad()
def test_losses_by_hand() -> None:
    """Two frames whose targets are orthogonal, each the other's negative; and two frames with the same codes."""
    one = objective(codevector_dim=2, proj_codevector_dim=2, num_negatives=3, num_codevectors_per_group=2).eval()
    one.quantizer.weight_proj.weight.zero_()[0, 0] = 1.0  # the first group by the sign of the first feature
    one.quantizer.weight_proj.bias.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
    one.quantizer.codevectors.copy_(torch.tensor([[[4.0], [0.0], [2.0], [0.0]]]))
    one.project_q.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 2.0]]))
    one.project_q.bias.zero_()  # targets (4, 0) and (0, 4)
    one.project_hid.weight.zero_()[:, :2] = torch.eye(2)
    one.project_hid.bias.zero_()
    features, states = torch.zeros(2, 32), torch.zeros(2, 64)
    features[:, 0] = torch.tensor([1.0, -1.0])
    states[:, :2] = torch.tensor([[3.0, 0.0], [5.0, 5.0]])
    masked = torch.tensor([True, True])
    found = one(states, features, [2], masked, [0])
    right, both = 5.0, 5.0 / math.sqrt(2)  # cosines over 0.2
    assert torch.allclose(found.logits, torch.tensor([[right, 0.0, 0.0, 0.0], [both] * 4]))
    assert float(found.contrastive_loss) == pytest.approx(math.log(1 + 3 * math.exp(-right)) + math.log(4))
    assert float(found.perplexity) == pytest.approx(2 + 1)
    assert float(found.diversity_loss) == pytest.approx((4 - 3) / 4 * 2)
    assert float(found.loss) == pytest.approx(float(found.contrastive_loss) + 0.3 * 0.5)
    same = one(states, features.abs(), [2], masked, [0])
    assert bool(same.logits[:, 1:].isneginf().all())
    assert float(same.contrastive_loss) == 0.0
    assert float(same.diversity_loss) == pytest.approx((4 - 2) / 4 * 2)


def test_the_temperature_falls_to_its_minimum() -> None:
    assert gumbel_temperature(0) == 2.0
    assert gumbel_temperature(100_000) == pytest.approx(2.0 * math.exp(100_000 * math.log(0.999995)))
    assert gumbel_temperature(10**9) == 0.5
    assert [gumbel_temperature(update, 8.0, 0.5, 1.5) for update in range(4)] == [8.0, 4.0, 2.0, 1.5]


# ---------------------------------------------------------------- what is drawn


def test_negatives_are_the_other_masked_frames_of_an_utterance_drawn_alike() -> None:
    counts, number = [7, 0, 2], 30_000
    drawn_here = drawn_negatives(counts, number, SEEDS)
    first, none, last = drawn_here.split(counts)
    assert none.shape == (0, number)
    assert torch.equal(last, torch.tensor([[1], [0]]).expand(2, number))
    for frame, own in enumerate(first):
        times = torch.bincount(own, minlength=7).double()
        assert times[frame] == 0
        expected, error = number / 6, math.sqrt(number * (1 / 6) * (5 / 6))
        assert len(times) == 7
        assert float((times[torch.arange(7) != frame] - expected).abs().max()) < 4.5 * error
    assert torch.equal(drawn_negatives([2, 7], number, [4, 3])[2:], first), "they depend on more than the seed"
    assert not torch.equal(drawn_negatives([7], number, [4]), first)


def test_noise_is_gumbels() -> None:
    """Mean, variance and median; another for another seed."""
    quantizer = GumbelQuantizer(CONFIG)
    own = quantizer.drawn_noise([4000], [0], CPU).double()
    number = own.numel()
    assert float(own.mean()) == pytest.approx(0.577216, abs=4.5 * 1.2825 / math.sqrt(number))
    assert float(own.var()) == pytest.approx(math.pi**2 / 6, rel=0.05)
    assert float(own.median()) == pytest.approx(-math.log(math.log(2)), abs=0.03)
    both = quantizer.drawn_noise([4000, 3], [0, 1], CPU)
    assert torch.equal(both[:4000].double(), own)
    assert not torch.equal(both[4000:], quantizer.drawn_noise([3], [0], CPU))


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_logits_of_an_utterance_do_not_depend_on_its_batch(training: bool) -> None:
    """Nor on the global generator, which is not used."""
    module, one = objective(extra=(("feat_quantizer_dropout", 0.3),)).train(training), batch()
    before = torch.get_rng_state()
    together = module(one.states, one.features, LENGTHS, one.masked, SEEDS).logits
    _, counts = predicted_frames(one.masked, LENGTHS)
    parts = zip(*(own.split(LENGTHS) for own in (one.states, one.features, one.masked)), strict=True)
    total = torch.zeros(())
    for own, parameters, frames, seed in zip(together.split(counts), parts, LENGTHS, SEEDS, strict=True):
        states, features, masked = parameters
        alone = module(states, features, [frames], masked, [seed])
        torch.testing.assert_close(alone.logits, own, rtol=1e-5, atol=1e-5)
        total += alone.contrastive_loss.detach()
    whole = module(one.states, one.features, LENGTHS, one.masked, SEEDS)
    assert relative_error(whole.contrastive_loss.detach(), total) < LIMIT
    assert torch.equal(whole.logits, together), "the same seeds drew something else"
    assert torch.equal(torch.get_rng_state(), before)
    others = module(one.states, one.features, LENGTHS, one.masked, [7, 8, 9]).logits
    assert not torch.equal(others, together)


def test_the_dropout_of_quantized_features_is_where_transformers_has_it() -> None:
    """With probability one, where it is certain: all features are zero, so the biases alone choose the codes."""
    module, one = objective(extra=(("feat_quantizer_dropout", 1.0),)), batch()
    zero = replace(one, features=torch.zeros_like(one.features))
    assert torch.equal(one.through(module).logits, zero.through(module).logits)
    assert not torch.equal(one.through(module.eval()).logits, zero.through(module).logits)
    with pytest.raises(UserError, match=r"feat_quantizer_dropout = 1\.5; expected a probability"):
        objective(extra=(("feat_quantizer_dropout", 1.5),))


# ---------------------------------------------------------------- degenerate batches


def test_an_utterance_with_fewer_than_two_masked_frames_changes_nothing() -> None:
    """No other frame could be its negative. The rest of the batch is as without it."""
    module, one = objective(), batch()
    more = torch.zeros(6, dtype=torch.bool)
    more[2] = True
    states, features = (
        torch.cat([noise(6, own.shape[1]), own, noise(4, own.shape[1])]) for own in (one.states, one.features)
    )
    masked = torch.cat([more, one.masked, torch.zeros(4, dtype=torch.bool)])
    found = module(states, features, [6, *LENGTHS, 4], masked, [9, *SEEDS, 8])
    expected = module(one.states, one.features, LENGTHS, one.masked, SEEDS)
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(found.perplexity, expected.perplexity)
    assert found.masked_frames == expected.masked_frames == int(one.masked.sum())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("masked", [[], [1], [0, 5]], ids=["none", "one", "one each"])
def test_without_a_frame_to_predict_losses_and_gradients_are_zero(masked: list[int], training: bool) -> None:
    """Every parameter that learns has a gradient, as processes that learn together expect."""
    module = objective().train(training)
    frames = torch.zeros(9, dtype=torch.bool)
    frames[masked] = True
    states = noise(9, 64).requires_grad_()
    found = module(states, noise(9, 32), [4, 5], frames, SEEDS[:2])
    assert (found.loss.item(), found.diversity_loss.item(), found.masked_frames) == (0.0, 0.0, 0)
    assert found.logits.shape == (0, 31)
    found.loss.backward()
    assert not bool(states.grad.any())
    for name, parameter in module.named_parameters():
        if training or not name.startswith("quantizer.weight_proj"):
            assert parameter.grad is not None, name
            assert not bool(parameter.grad.any()), name


def test_codes_of_no_probability_have_finite_gradients() -> None:
    """A collapsed codebook: the entropy's gradient at zero would be infinite."""
    module, one = objective(), batch()
    with torch.no_grad():
        module.quantizer.weight_proj.bias[0] = module.quantizer.weight_proj.bias[5] = 1000.0
    found = one.through(module)
    assert found.perplexity.item() == pytest.approx(2.0)
    found.loss.backward()
    assert all(bool(own.grad.isfinite().all()) for own in module.parameters())


def test_in_bfloat16_losses_stay_in_float32_and_near() -> None:
    module, one = objective(), batch()
    expected = one.through(module)
    with torch.autocast("cpu", torch.bfloat16):
        found = one.through(module)
    found.loss.backward()
    assert found.loss.dtype == found.logits.dtype == found.perplexity.dtype == torch.float32
    assert relative_error(found.perplexity.detach(), expected.perplexity.detach()) < 0.01
    assert relative_error(found.contrastive_loss.detach(), expected.contrastive_loss.detach()) < 0.05
    assert all(bool(own.grad.isfinite().all()) and own.grad.any() for own in module.parameters())


# ---------------------------------------------------------------- settings and checkpoints


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codevector_dim": 13}, r"codevector_dim = 13; expected a multiple of num_codevector_groups, 2\."),
        ({"contrastive_logits_temperature": 0.0}, r"contrastive_logits_temperature = 0\.0; expected a number above 0"),
    ],
    ids=["groups", "temperature"],
)
def test_wrong_settings_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ContrastiveObjective.untrained(replace(CONFIG, **changes), 0)


def test_a_checkpoint_keeps_the_objective_beside_the_encoder(tmp_path: Path) -> None:
    """Its names are transformers'; the encoder alone is read by everybody else, with one note on the rest."""
    from transformers import AutoModel

    module = objective()
    learner = TrainableWavLM(drawn(CONFIG, 0), Learned(), CPU)
    learner.save(tmp_path, module.tensors())
    tensors = load_file(tmp_path / "model.safetensors")
    result = peer_of(objective(seed=1)).load_state_dict(tensors, strict=False)
    assert all(name.startswith("wavlm.") for name in result.unexpected_keys)
    assert all(name.startswith("wav2vec2.") for name in result.missing_keys)

    read = checkpoint.read(tmp_path)
    again = ContrastiveObjective.from_checkpoint(read, str(tmp_path))
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert read.config.architectures == ("WavLMForPreTraining",)
    assert read.notes_on_encoder[-1].startswith("Ignored 7 tensors beside the encoder (project_hid.bias first)")

    waveform = noise(4_000) * 0.1
    with torch.no_grad():
        loaded = upstream.load(str(tmp_path))([waveform]).layers
        assert relative_error(loaded, learner.eval()([waveform]).layers) < LIMIT
        theirs = AutoModel.from_pretrained(tmp_path)(waveform[None]).last_hidden_state
    assert relative_error(loaded[-1], theirs) < LIMIT


def test_a_checkpoint_without_an_objective_or_with_part_of_one_is_told(tmp_path: Path) -> None:
    learner = TrainableWavLM(drawn(CONFIG, 0), Learned(), CPU)
    learner.save(tmp_path)
    with pytest.raises(UserError, match="has no contrastive objective beside its encoder"):
        ContrastiveObjective.from_checkpoint(checkpoint.read(tmp_path), "HERE")
    tensors = objective().tensors()
    del tensors["project_q.bias"]
    learner.save(tmp_path, tensors)
    with pytest.raises(UserError, match=r"HERE .* 1 missing: project_q\.bias"):
        ContrastiveObjective.from_checkpoint(checkpoint.read(tmp_path), "HERE")
