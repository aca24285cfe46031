"""WavLM's task models: outputs and losses are transformers', alone and in batches; checkpoints go both ways."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peers import KINDS, relative_error, save_transformers, transformers_model, transformers_states
from safetensors.torch import load_file, save_file
from task_peers import (
    BOTH_KINDS,
    CTC,
    FRAME,
    LAYER_SUMS,
    LIMIT,
    NONE,
    SPEAKER,
    SUM,
    TASKS,
    UTTERANCE,
    compared,
    labels_for,
    ours_of,
    task_peer,
)
from torch import Tensor

import upstream
from upstream import UserError
from upstream.wavlm import (
    TASK_MODELS,
    WavLMForCTC,
    WavLMForSequenceClassification,
    WavLMForXVector,
    WavLMModel,
    checkpoint,
    load_task_model,
)
from upstream.wavlm.config import NANO
from upstream.wavlm.task_models.vocabulary import CTCVocabulary

GENERATOR = torch.Generator().manual_seed(11)
EQUAL = torch.randn(2, 16_000, generator=GENERATOR) * 0.1  # one length: padding cannot matter
LONG, SHORT = torch.randn(16_000, generator=GENERATOR) * 0.1, torch.randn(9_000, generator=GENERATOR) * 0.1
PADDED = torch.stack([LONG, torch.nn.functional.pad(SHORT, (0, 7_000))])
MASK = (torch.arange(16_000)[None] < torch.tensor([[16_000], [9_000]])).long()


@pytest.mark.parametrize("layers", LAYER_SUMS)
@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("name", TASKS)
def test_logits_embeddings_and_losses_are_those_of_transformers(name: str, kind: str, layers: str) -> None:
    if name == CTC and layers != NONE:
        pytest.skip("CTC has no weighted sum in transformers")
    peer = task_peer(name, KINDS[kind] | LAYER_SUMS[layers])
    for one in compared(peer, EQUAL):
        assert one.error < one.limit, one
    with torch.no_grad():
        first, second = ours_of(peer)(list(EQUAL)).logits
    assert relative_error(first, second) > 0.01, "outputs that hardly depend on the audio show nothing"


@pytest.mark.parametrize("kind", BOTH_KINDS)
@pytest.mark.parametrize("name", TASKS)
def test_an_utterance_in_a_batch_is_the_utterance_alone(name: str, kind: str) -> None:
    """As in transformers. In a padded batch, its group norm (Base) and its x-vectors read the padding; ours do not."""
    peer = task_peer(name, KINDS[kind])
    ours = ours_of(peer)
    with torch.no_grad():
        listed, masked = ours([LONG, SHORT]), ours(PADDED, MASK)
        together = peer(PADDED, attention_mask=MASK)
        alone = [peer(waveform[None]) for waveform in (LONG, SHORT)]
    assert torch.equal(listed.logits, masked.logits)
    for own, expected, padded in zip(listed.logits, alone, together.logits, strict=True):
        frames = expected.logits.shape[1] if name in (CTC, FRAME) else None
        assert relative_error(own[:frames], expected.logits[0]) < LIMIT
        padding_matters = (kind == "base" or name == SPEAKER) and expected is alone[1]
        assert (relative_error(padded[:frames], expected.logits[0]) > 1e-3) == padding_matters


def test_losses_of_a_padded_batch_are_those_of_transformers_where_padding_does_not_matter() -> None:
    for name in (CTC, UTTERANCE):
        peer, labels = task_peer(name, KINDS["large"]), labels_for(name, 49)
        with torch.no_grad():
            loss, expected = ours_of(peer)([LONG, SHORT], labels=labels).loss, peer(PADDED, MASK, labels=labels).loss
        assert relative_error(loss, expected) < LIMIT


@pytest.mark.parametrize("settings", [{"ctc_loss_reduction": "sum"}, {"ctc_zero_infinity": True}])
def test_the_settings_of_the_ctc_loss(settings: dict[str, Any]) -> None:
    """Blanks among the labels are dropped; a transcript that is too long gives an infinite loss, or none."""
    peer = task_peer(CTC, KINDS["large"] | settings)
    labels = torch.tensor([[3, 0, 4, -100], [5, 6, 6, 1]])
    too_long = torch.randint(1, 11, (2, 60), generator=torch.Generator().manual_seed(0))
    for own in (labels, too_long):
        with torch.no_grad():
            loss, expected = ours_of(peer)(EQUAL, labels=own).loss, peer(EQUAL, labels=own).loss
        assert torch.isfinite(expected) or own is too_long
        assert torch.allclose(loss, expected, rtol=LIMIT)


@pytest.mark.parametrize("kind", BOTH_KINDS)
def test_the_encoder_class_gives_transformers_states(kind: str) -> None:
    peer = transformers_model(KINDS[kind])
    with torch.no_grad():
        output = ours_of(peer)([LONG, SHORT], output_hidden_states=True)
    for index, waveform in enumerate((LONG, SHORT)):
        expected = transformers_states(peer, waveform)
        frames = len(expected[0])
        own = [layer[index, :frames] for layer in output.hidden_states]
        assert max(relative_error(a, b) for a, b in zip(own, expected, strict=True)) < LIMIT
        assert torch.equal(output.last_hidden_state[index, :frames], own[-1])


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("name", TASKS)
def test_checkpoints_go_both_ways(name: str, tmp_path: Path) -> None:
    import transformers

    kind = BOTH_KINDS[TASKS.index(name) % 2]
    layers = SUM if name != CTC else NONE
    peer = task_peer(name, KINDS[kind] | LAYER_SUMS[layers])
    ours = load_task_model(save_transformers(peer, tmp_path / "theirs", do_normalize=False))
    assert type(ours) is TASK_MODELS[name]
    ours.save_pretrained(tmp_path / "ours")
    back, report = getattr(transformers, name).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    again = TASK_MODELS[name].from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        expected = peer(EQUAL).logits
        for logits in (ours(EQUAL).logits, back(EQUAL).logits, again(EQUAL).logits):
            assert relative_error(logits, expected) < LIMIT


def test_an_encoder_that_did_not_learn_is_saved_to_the_bit(tmp_path: Path) -> None:
    """Its weight norm too, which is folded within: states in a store are found again by the same fingerprint."""
    peer = task_peer(UTTERANCE, KINDS["base"])
    read = checkpoint.read(save_transformers(peer, tmp_path / "theirs", False))
    ours = load_task_model(tmp_path / "theirs")
    ours.head_tensors()["classifier.bias"].add_(1.0)
    ours.save_pretrained(tmp_path / "ours")
    WavLMForCTC.with_new_head(tmp_path / "theirs", vocab_size=7).save_pretrained(tmp_path / "new")
    WavLMModel.from_pretrained(tmp_path / "theirs").save_pretrained(tmp_path / "encoder")
    for name in ("ours", "new", "encoder"):
        again = checkpoint.read(tmp_path / name)
        assert again.fingerprint(1) == read.fingerprint(1), name
    with torch.no_grad():
        ours.wavlm.positional_conv.weight.mul_(1.5)
    ours.save_pretrained(tmp_path / "ours")
    learned = checkpoint.read(tmp_path / "ours").build().positional_conv.weight
    assert relative_error(learned, ours.wavlm.positional_conv.weight) < 1e-6


def test_without_masks_transformers_has_no_mask_vector(tmp_path: Path) -> None:
    import transformers

    peer = task_peer(UTTERANCE, KINDS["base"] | {"mask_time_prob": 0.0})
    load_task_model(save_transformers(peer, tmp_path / "theirs", False)).save_pretrained(tmp_path / "ours")
    kind = transformers.WavLMForSequenceClassification
    _, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_transformers(task_peer(UTTERANCE, KINDS["base"] | LAYER_SUMS[SUM]), tmp_path / "hf", False)


def test_a_task_checkpoint_is_an_upstream(folder: Path) -> None:
    """Its encoder, with the states of the encoder alone, and a note of what was left out."""
    states = upstream.load(str(folder))([LONG])
    expected = transformers_states(task_peer(UTTERANCE, KINDS["base"] | LAYER_SUMS[SUM]).wavlm, LONG)
    assert max(relative_error(a, b) for a, b in zip(states.utterance(0), expected, strict=True)) < LIMIT
    for name in (str(folder), f"hf:{folder}"):
        (note,) = [note for note in upstream.load(name).provenance.notes if "gnored" in note or "left out" in note]
        assert "layer_weights" in note or "classifier" in note


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("projector.bias"), ["1 missing", "projector.bias"]),
        (lambda t: t.update({"lm_head.bias": torch.zeros(2)}), ["1 unexpected", "lm_head.bias"]),
        (lambda t: t.update({"layer_weights": torch.zeros(9)}), ["wrong shape", "(9,)", "(4,)"]),
        (lambda t: t["classifier.weight"].fill_(float("inf")), ["infinite", "classifier.weight"]),
        (lambda t: t.update({"classifier.bias": torch.zeros(5, dtype=torch.int8)}), ["classifier.bias is int8"]),
        (lambda t: t.pop("wavlm.encoder.layer_norm.bias"), ["1 missing", "encoder.layer_norm.bias"]),
    ],
)
def test_wrong_tensors_of_a_head_are_named(change: Any, words: list[str], folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError) as refusal:
        load_task_model(folder)
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_task_model_within_a_larger_checkpoint_is_read(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    wrapped = {f"model.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, folder / "last.ckpt")
    head = load_task_model(folder / "last.ckpt").head_tensors()
    assert all(torch.equal(own, tensors[name]) for name, own in head.items())


@pytest.mark.parametrize(
    ("version", "ties", "is_told"), [("4.57.1", None, True), ("5.2.0", None, False), ("4.57.1", True, False)]
)
def test_a_sum_that_transformers_4_computed_otherwise_is_told(
    version: str, ties: bool | None, is_told: bool, tmp_path: Path
) -> None:
    save_transformers(task_peer(UTTERANCE, KINDS["large"] | LAYER_SUMS[SUM]), tmp_path, True)
    content = json.loads((tmp_path / "config.json").read_text())
    content |= {"transformers_version": version, "tie_last_hidden_states": ties}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert any("written by transformers 4.57.1" in note for note in load_task_model(tmp_path).notes) == is_told


def test_names_that_are_numbers_are_read(folder: Path) -> None:
    """As transformers reads them: digits, say."""
    content = json.loads((folder / "config.json").read_text())
    content |= {"id2label": {str(i): i + 10 for i in range(5)}, "label2id": {str(i + 10): i for i in range(5)}}
    (folder / "config.json").write_text(json.dumps(content))
    assert [load_task_model(folder).config.label(index) for index in (0, 4)] == ["10", "14"]


def test_another_class_and_no_head_are_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a WavLMForSequenceClassification, not a WavLMForCTC"):
        WavLMForCTC.from_pretrained(folder)
    WavLMModel.from_pretrained(folder).save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="is a WavLMModel, which has no head"):
        load_task_model(tmp_path / "encoder")
    with pytest.raises(UserError, match=r"encoder without a head.*with_new_head"):
        WavLMForCTC.from_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="neither a directory"):
        WavLMForCTC.from_pretrained(tmp_path / "nothing" / "there")


def test_a_new_head_on_a_trained_encoder_follows_its_seed(folder: Path) -> None:
    first, again, other = (WavLMForCTC.with_new_head(folder, seed, vocab_size=7) for seed in (0, 0, 1))
    assert torch.equal(first.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    trained = load_task_model(folder).wavlm.state_dict()
    assert all(torch.equal(own, trained[name]) for name, own in first.wavlm.state_dict().items())
    assert first([LONG]).logits.shape == (1, 49, 7)
    with_type = WavLMForSequenceClassification.with_new_head(
        folder, id2label={"0": "no", "1": "yes"}, problem_type="multi_label_classification"
    )
    assert (with_type.config.label(1), with_type.config.problem_type) == ("yes", "multi_label_classification")
    for wrong in ({"num_labels": "2"}, {"num_labels": 0}, {"num_labels": 2, "id2label": {0: "all"}}):
        with pytest.raises(UserError, match="num_labels is"):
            WavLMForSequenceClassification.with_new_head(folder, **wrong)
    with pytest.raises(UserError, match="no field vocab_sise"):
        WavLMForCTC.with_new_head(folder, vocab_sise=7)
    with pytest.raises(UserError, match="vocab_size = '7'"):
        WavLMForCTC.with_new_head(folder, vocab_size="7")


def test_new_heads_have_the_distributions_of_transformers() -> None:
    """Spread of every new tensor of the head; weights of layers are equal, biases zero."""
    import transformers

    config = NANO.to_hugging_face() | {"use_weighted_layer_sum": True}
    expected = transformers.WavLMForXVector(transformers.WavLMConfig(**config)).state_dict()
    ours = WavLMForXVector.untrained(
        ours_of(transformers.WavLMForXVector(transformers.WavLMConfig(**config))).config, 0
    )
    head = ours.head_tensors()
    assert set(head) == {name for name in expected if not name.startswith("wavlm.")}
    for name, own in head.items():
        assert float(own.std()) == pytest.approx(float(expected[name].std()), rel=0.15, abs=1e-7), name
        assert float(own.mean()) == pytest.approx(float(expected[name].mean()), abs=0.1), name


# ---------------------------------------------------------------- inputs


def test_wrong_batches_and_labels_are_said() -> None:
    ctc, speaker = WavLMForCTC.untrained(NANO, 0), WavLMForXVector.untrained(NANO, 0)
    for model, arguments, words in (
        (ctc, (torch.zeros(16_000),), "of one waveform make a batch".capitalize()),
        (ctc, ([torch.zeros(2, 16_000)],), r"Waveform 0 of the batch has shape \(2, 16000\)"),
        (ctc, ([torch.zeros(16_000, dtype=torch.int16)],), "int16"),
        (ctc, ([LONG, torch.zeros(399)],), "Waveform 1 of the batch has 399 samples; a frame takes 400"),
        (ctc, ([],), "The batch is empty"),
        (ctc, ([LONG], MASK), "not of the shape of its waveforms"),
        (ctc, (PADDED, MASK.flip(1)), "padding before samples"),
        (ctc, ([LONG], None, torch.tensor([[32]])), "There is a label 32; expected 0 to 31"),
        (ctc, ([LONG], None, torch.tensor([[-1]])), "There is a label -1"),
        (speaker, ([LONG, torch.zeros(5_000)],), "Waveform 1 of the batch has 15 frames; an x-vector takes 16, 5,200"),
        (ctc, ([LONG], None, torch.tensor([3, 4])), r"The labels have shape \(2,\); expected \(1, tokens\)"),
        (ctc, ([LONG], None, torch.tensor([[3.0]])), "labels are of type torch.float32"),
        (speaker, ([LONG],  None, torch.tensor([2])), "from 0 to 1, the speakers"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            model(*arguments)


def test_a_blank_that_is_no_token_is_said() -> None:
    for blank in (None, 32):
        model = WavLMForCTC.untrained(replace(NANO, pad_token_id=blank), 0)
        with pytest.raises(UserError, match=f"pad_token_id {blank}"):
            model([LONG], labels=torch.tensor([[3]]))


def test_what_a_feature_extractor_and_a_data_loader_give_is_taken() -> None:
    """NumPy's arrays, and labels of 32 bits."""
    for kind in (WavLMForCTC, WavLMForXVector):
        model = kind.untrained(NANO, 0)
        labels = torch.tensor([[1], [1]]) if kind is WavLMForCTC else torch.tensor([1, 0])
        expected, own = model(EQUAL, labels=labels), model(EQUAL.numpy(), labels=labels.int())
        assert torch.equal(own.logits, expected.logits)
        assert torch.equal(own.loss, expected.loss)
        expected = model(PADDED, MASK).logits
        for values, mask in ((PADDED.numpy(), MASK.numpy()), (list(PADDED.numpy()), list(MASK.numpy()))):
            assert torch.equal(model(values, mask).logits, expected)


# ---------------------------------------------------------------- tokens

TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "N", "'", "T")


@pytest.mark.parametrize("settings", [{}, {"do_lower_case": True, "clean_up_tokenization_spaces": True}])
@pytest.mark.parametrize("blank", ["<pad>", "[PAD]"])
def test_text_is_that_of_transformers_tokenizer(blank: str, settings: dict[str, bool], tmp_path: Path) -> None:
    """Of random best tokens, also where tokens were added to the vocabulary; and what we write is read alike."""
    from transformers import Wav2Vec2CTCTokenizer

    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), pad_token=blank, **settings)
    peer = task_peer(CTC, KINDS["base"])
    save_transformers(peer, tmp_path / "theirs", False)
    tokenizer.save_pretrained(tmp_path / "theirs")
    ours = WavLMForCTC.from_pretrained(tmp_path / "theirs")
    assert ours.vocabulary is not None
    ours.save_pretrained(tmp_path / "ours")
    again = WavLMForCTC.from_pretrained(tmp_path / "ours").vocabulary
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "ours")
    best = torch.randint(0, 12, (40, 30), generator=torch.Generator().manual_seed(1))
    best[::2] = best[::2].repeat_interleave(2, dim=1)[:, :30]
    for numbers in best.tolist():
        expected = tokenizer.decode(numbers)
        assert ours.vocabulary.text(numbers) == again.text(numbers) == theirs.decode(numbers) == expected
    with torch.no_grad():
        output = ours([LONG, SHORT])
        logits = peer(LONG[None]).logits
    assert ours.transcripts(output)[0] == tokenizer.decode(logits[0].argmax(-1))


def test_vocabularies_that_cannot_be_read_are_said(folder: Path, tmp_path: Path) -> None:
    ctc = WavLMForCTC.with_new_head(folder, vocab_size=11)
    ctc.save_pretrained(tmp_path / "ctc")
    with pytest.raises(UserError, match=r"no vocab\.json"):
        ctc.transcripts(ctc([LONG]))
    for content, words in (
        ('{"A": "one"}', "no number for the token 'A'"),
        ('{"deu": {"A": 0}, "eng": {"B": 0}}', r"several languages \(deu, eng\)"),
        ("[1]", "holds a list"),
    ):
        (tmp_path / "ctc" / "vocab.json").write_text(content)
        with pytest.raises(UserError, match=words):
            load_task_model(tmp_path / "ctc")


def test_repeated_tokens_are_one_and_blanks_keep_them_apart() -> None:
    vocabulary = CTCVocabulary(dict(enumerate(TOKENS)))
    assert vocabulary.text([0, 5, 5, 0, 5, 4, 4, 6, 99, 99, 4]) == "AA B<unk>"


# ---------------------------------------------------------------- published values


@pytest.mark.network
@pytest.mark.parametrize("kind", ["sd", "sv"])
def test_the_published_values(kind: str) -> None:
    """Expected values of transformers' own tests, for batches that are padded and masked.

    Their group norm reads the padding, which ours never does. So what transformers gives for the batch must be as
    published, and ours what it gives for the utterances alone.
    """
    from datasets import load_dataset
    from transformers import AutoFeatureExtractor, WavLMForAudioFrameClassification
    from transformers import WavLMForXVector as Theirs

    name = f"microsoft/wavlm-base-plus-{kind}"
    rows = load_dataset("anton-l/superb_dummy", {"sd": "sd", "sv": "si"}[kind], split="test")[:4]
    extractor = AutoFeatureExtractor.from_pretrained(name)
    batch = extractor(rows["speech"], return_tensors="pt", padding=True, return_attention_mask=True)
    waveforms = [torch.tensor(one, dtype=torch.float32) for one in rows["speech"]]
    ours = load_task_model(name)
    prepared = [ours.prepare(waveform) for waveform in waveforms]
    if kind == "sd":
        peer = WavLMForAudioFrameClassification.from_pretrained(name).eval()
        with torch.no_grad():
            theirs, alone = peer(**batch).logits, [peer(one[None]).logits[0] for one in prepared]
            mine = ours(prepared)
        assert torch.allclose(theirs[:, :4], PUBLISHED_DIARIZATION, atol=1e-2)
        assert ((theirs[0] > 0).sum(dim=0)).tolist() == [258, 647]
        for index, expected in enumerate(alone):
            assert relative_error(mine.logits[index, : len(expected)], expected) < 1e-4
        return
    peer = Theirs.from_pretrained(name).eval()
    with torch.no_grad():
        output = peer(**batch, labels=torch.tensor([5, 1, 1, 3]))
        alone = torch.cat([peer(one[None]).embeddings for one in prepared])
        mine = ours(prepared)
    embeddings = torch.nn.functional.normalize(output.embeddings, dim=-1)
    for one, other, cosine in ((1, 2, 0.9787), (0, 1, 0.5064), (2, 3, 0.4780)):
        assert float(embeddings[one] @ embeddings[other]) == pytest.approx(cosine, abs=1e-3)
    assert float(output.loss) == pytest.approx(18.4154, abs=1e-2)
    assert relative_error(mine.embeddings, alone) < 1e-4


PUBLISHED_DIARIZATION: Tensor = torch.tensor(
    [
        [[-5.9566, -8.6554], [-5.7137, -8.9386], [-5.7906, -7.0973], [-5.7829, -5.9999]],
        [[-5.2086, -7.7878], [-4.8890, -7.9312], [-4.2004, -3.9101], [-5.4480, -4.6932]],
        [[-4.6105, -6.7178], [-5.1930, -6.1635], [-2.6228, -4.1123], [-2.7646, -3.1576]],
        [[-4.4477, -7.9206], [-3.9339, -7.3707], [-4.9528, -4.8242], [-3.6921, -2.9687]],
    ]
)
