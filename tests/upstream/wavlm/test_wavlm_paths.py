"""The fast code paths of WavLM against the plain ones, and its rounding against that of transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from peers import relative_error, transformers_model, transformers_states
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import upstream
from upstream.errors import UserError
from upstream.wavlm import attention, attention_kernels, checkpoint, front_end, onednn, products, ways
from upstream.wavlm.config import BASE, LARGE, NANO, WavLMConfig
from upstream.wavlm.front_end import FrontEnd
from upstream.wavlm.model import WavLM, untrained
from upstream.wavlm.products import Convolution, Linear
from upstream.wavlm.upstream import load_untrained

CPU = torch.device("cpu")
LARGE_NANO = WavLMConfig(**(vars(NANO) | {"feat_extract_norm": "layer", "do_stable_layer_norm": True}))
CONFIGS = {
    "base": NANO,
    "large": LARGE_NANO,
    "with biases in the front end": WavLMConfig(**(vars(NANO) | {"conv_bias": True})),
    "an odd positional kernel": WavLMConfig(**(vars(NANO) | {"num_conv_pos_embeddings": 17})),
    "few distances": WavLMConfig(**(vars(NANO) | {"num_buckets": 16, "max_bucket_distance": 20})),
}
needs_packing = pytest.mark.skipif(
    not onednn.available(torch.float32), reason="this PyTorch has no oneDNN to pack weights for"
)


def noise(samples: int, seed: int) -> Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.fixture
def utterances() -> list[Tensor]:
    """Lengths around those of pieces, tiles and blocks: 1, 128, 129, 300 and 49 frames."""
    return [noise(frames * 320 + 80, seed) for seed, frames in enumerate((1, 128, 129, 300, 49))]


def states_of(config: WavLMConfig, utterances: list[Tensor], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    states = load_untrained("test", config, 0, CPU, dtype)(utterances)
    return [states.utterance(index) for index in range(len(utterances))]


def assert_equal_to_rounding(found: list[Tensor], expected: list[Tensor], tolerance: float = 3e-6) -> None:
    errors = [relative_error(a, b) for a, b in zip(found, expected, strict=True)]
    assert max(errors) < tolerance, errors


def only(way: str) -> Callable[[str, torch.dtype], str]:
    """A replacement of `ways.way_of`: that way for operations that have it, else oneDNN's if it is one of oneDNN's."""

    def chosen(operation: str, dtype: torch.dtype) -> str:
        return ways.ONEDNN if way == ways.PIECES and operation != ways.POSITIONAL else way

    return chosen


@needs_packing
@pytest.mark.parametrize("way", [ways.ONEDNN, ways.PIECES])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_way_gives_the_plain_ways_states(
    name: str, way: str, utterances: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "way_of", only(way))
    fast = states_of(CONFIGS[name], utterances)
    monkeypatch.setattr(ways, "way_of", only(ways.PLAIN))
    assert_equal_to_rounding(fast, states_of(CONFIGS[name], utterances))


@needs_packing
@pytest.mark.parametrize("way", [ways.ONEDNN, ways.PIECES])
def test_a_packed_model_holds_its_weights_once_and_computes_as_before(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "way_of", only(way))
    model = untrained(NANO, 0).requires_grad_(False)
    layer, convolution = model.blocks[0].feed_forward_in, model.positional_conv
    assert isinstance(layer, Linear)
    assert isinstance(convolution, Convolution)
    x, rows = noise(7 * 64, 1).view(7, 64), noise(90 * 64, 2).view(1, 90, 64)
    plain = layer(x), layer(x, gelu=True), convolution(rows, gelu=True), layer(x) + 1
    with torch.no_grad():
        products.pack(model)
        packed = layer(x), layer(x, gelu=True), convolution(rows, gelu=True), layer(x, plus=torch.ones(7, 128))
    assert (layer.way, convolution.way) == (ways.ONEDNN, way)
    assert_equal_to_rounding(list(packed), list(plain))
    assert "blocks.0.feed_forward_in.weight" not in dict(model.named_parameters())
    with pytest.raises(RuntimeError, match=r"feed_forward_in\.weight is packed|weight is packed"):
        model.state_dict()
    for module, given in ((layer, x), (convolution, rows)):
        with pytest.raises(RuntimeError, match="have no gradients"):
            module(given.requires_grad_())


def test_weights_that_learn_are_not_packed() -> None:
    model = untrained(NANO, 0)
    names = set(model.state_dict())
    products.pack(model)
    assert set(model.state_dict()) == names


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", CONFIGS)
def test_the_gpu_code_path_gives_the_same_states(
    name: str, utterances: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of all utterances at once, plain products, and one FlexAttention over all utterances, here uncompiled."""
    expected = states_of(CONFIGS[name], utterances)

    def all_at_once(projected: Tensor, gate: Tensor, by_distance: Tensor, lengths: list[int]) -> Tensor:
        return attention_kernels.attend_packed(projected, gate, by_distance, lengths, flex_attention)

    monkeypatch.setattr(ways, "way_of", only(ways.PLAIN))
    monkeypatch.setattr(FrontEnd, "_pieces", FrontEnd._together)
    monkeypatch.setattr(front_end, "PIECES_ON_GPU", 7)
    monkeypatch.setattr(attention, "attend", all_at_once)
    assert_equal_to_rounding(states_of(CONFIGS[name], utterances), expected)


@pytest.mark.parametrize("lengths", [[1], [128, 128], [127, 2, 300], [129], [40] * 7, [1, 500, 1]])
def test_the_mask_has_exactly_the_non_empty_tiles(lengths: list[int]) -> None:
    """Against the tiles that PyTorch finds by looking at every query and key."""
    mask = attention_kernels.same_utterance(tuple(lengths), CPU)
    frames = sum(lengths)
    expected = create_block_mask(
        mask.mask_mod, None, None, frames, frames, device="cpu", BLOCK_SIZE=attention_kernels.TILE
    )
    assert torch.equal(mask.to_dense(), expected.to_dense())


CAPABLE = [{"avx512_bf16": True, "amx_bf16": False}, {"avx512_bf16": False, "amx_bf16": True}]
INCAPABLE = [{"avx512_bf16": False, "amx_bf16": False}, {}]


@pytest.mark.parametrize("capabilities", CAPABLE + INCAPABLE)
@pytest.mark.parametrize("of_float32", [0.5, 0.9, 2.0])
def test_auto_is_bfloat16_where_it_is_in_hardware_and_faster(
    capabilities: dict[str, bool], of_float32: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = {torch.bfloat16: of_float32, torch.float32: 1.0}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)  # new in 2.11
    monkeypatch.setattr(onednn, "available", lambda dtype: True)
    monkeypatch.setattr(ways, "seconds_of_base", lambda device, dtype: took[dtype])
    is_faster = capabilities in CAPABLE and of_float32 == 0.5
    assert ways.fastest_dtype(CPU) == (torch.bfloat16 if is_faster else torch.float32)


@pytest.mark.parametrize(("generation", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_auto_on_a_gpu(generation: tuple[int, int], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    monkeypatch.setattr(ways, "seconds_of_base", lambda device, dtype: 1.0 if dtype == torch.bfloat16 else 2.0)
    assert ways.fastest_dtype(torch.device("cuda")) == expected


def test_auto_is_for_wavlm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "fastest_dtype", lambda device: torch.bfloat16)
    assert upstream.load("wavlm_nano", random_init=True, dtype="auto").dtype == torch.bfloat16
    assert upstream.load("fbank", dtype="auto").dtype == torch.float32
    with pytest.raises(UserError, match="float16, auto"):
        upstream.load("wavlm_nano", random_init=True, dtype="float8")


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_failing_compiler_falls_back_to_single_utterances(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Compilers work on some versions and GPUs only; a run must not fail without one."""

    compiler = torch.compile

    def compiled_to(made: Callable[..., Tensor]) -> Callable[..., object]:
        """Replace torch.compile, except for the call inside uncompiled FlexAttention."""
        return lambda function, **options: compiler(function, **options) if "backend" in options else made

    def broken(*_: object, **__: object) -> Tensor:
        raise RuntimeError("no such architecture")

    def wrong(*arguments: Any, **more: Any) -> Any:
        return flex_attention(*arguments, **more) * 1.1  # type: ignore[operator]  # one tensor without return_aux

    for made, said in ((broken, "no such architecture"), (wrong, "off here")):
        caplog.clear()
        monkeypatch.setattr(torch, "compile", compiled_to(made))
        assert attention_kernels.compiled_flex_attention.__wrapped__(CPU, torch.float32, 4, 16) is None
        assert said in caplog.text
    monkeypatch.setattr(torch, "compile", compiled_to(flex_attention))  # type: ignore[arg-type]
    for flex, one_by_one, expected in ((1.0, 1.2, flex_attention), (1.0, 0.5, None)):
        took = {"FlexAttention": flex, "utterance by utterance": one_by_one}
        monkeypatch.setattr(attention_kernels, "take_turns", lambda *_, took=took: took)
        assert attention_kernels.compiled_flex_attention.__wrapped__(CPU, torch.float32, 4, 16) is expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_utterance_is_the_same_in_any_batch(dtype: torch.dtype, utterances: list[Tensor]) -> None:
    tolerance = 3e-6 if dtype == torch.float32 else 1e-2
    together = states_of(NANO, utterances, dtype)
    for index, utterance in enumerate(utterances):
        assert_equal_to_rounding([together[index]], states_of(NANO, [utterance], dtype), tolerance)


def test_means_are_those_of_the_frames(utterances: list[Tensor]) -> None:
    for name in ("wavlm_nano", "fbank_no_cmvn"):
        encoder = upstream.load(name, random_init=name == "wavlm_nano")
        assert relative_error(encoder.means(utterances), encoder(utterances).means()) < 1e-6


def test_gradients_pass_through_blocks_of_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long utterance in training: gradients in blocks against gradients of the whole."""

    def gradients() -> Iterator[Tensor]:
        model: WavLM = untrained(NANO, 0).eval()  # no dropout
        *_, last = model([noise(16_000, 1)])
        (last * noise(last.numel(), 2).view_as(last)).sum().backward()
        return (parameter.grad for parameter in model.parameters() if parameter.grad is not None)

    whole = list(gradients())
    monkeypatch.setattr(attention_kernels, "LARGEST_BLOCK", 100)
    monkeypatch.setattr(attention_kernels, "FEWEST_QUERIES", 20)
    for ours, expected in zip(gradients(), whole, strict=True):
        assert relative_error(ours, expected) < 1e-4


def test_the_bias_beyond_its_table_is_that_at_its_end() -> None:
    by_distance = torch.tensor([[5.0, 1.0, 0.0, -1.0, -5.0]])  # key - query from 2 to -2
    reversed_keys = attention_kernels.bias_of_reversed_keys(by_distance, 5)
    assert reversed_keys.flip(2)[0].tolist() == [
        [0.0, 1.0, 5.0, 5.0, 5.0],
        [-1.0, 0.0, 1.0, 5.0, 5.0],
        [-5.0, -1.0, 0.0, 1.0, 5.0],
        [-5.0, -5.0, -1.0, 0.0, 1.0],
        [-5.0, -5.0, -5.0, -1.0, 0.0],
    ]


def test_moments_are_those_of_the_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_end, "MOMENTS_AT_ONCE", 100)
    waveforms = torch.stack([noise(5003, 3) + 0.5, noise(5003, 4) - 0.2])
    means, covariances = front_end.moments(waveforms, 10, 5)
    for waveform, mean, covariance in zip(waveforms, means, covariances, strict=True):
        windows = waveform.double().unfold(0, 10, 5)
        assert torch.allclose(mean, windows.mean(dim=0), rtol=1e-12)
        assert torch.allclose(covariance, torch.cov(windows.T, correction=0), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("config", [BASE, LARGE])
@pytest.mark.parametrize(("dtype", "times"), [(torch.float32, 5.0), (torch.bfloat16, 2.0)])
def test_rounding_is_near_that_of_transformers(config: WavLMConfig, dtype: torch.dtype, times: float) -> None:
    """At the published widths, in each of the first layers; the truth is transformers in float64."""
    config = replace(config, num_hidden_layers=4)
    peer = transformers_model(config.to_hugging_face())
    waveform = noise(16_000, 6)
    ours = checkpoint.Checkpoint(config, peer.state_dict(), "", "").build().requires_grad_(False).eval().to(dtype)
    products.pack(ours)
    with torch.no_grad():
        found = list(ours([waveform]))
    theirs = transformers_states(peer.to(dtype), waveform.to(dtype))
    truth = transformers_states(transformers_model(config.to_hugging_face()).double(), waveform.double())
    for layer, exact in enumerate(truth):
        own, others = relative_error(found[layer], exact), relative_error(theirs[layer], exact)
        assert own < times * others, (layer, own, others)
