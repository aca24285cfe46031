"""Updates of encoder and head, against a plain loop with transformers' model and PyTorch's optimisers."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import write_words
from torch import Tensor
from tuned_runs import TUNED, run_on, small_wavlm

import upstream
from downstream.finetuning.learner import FineTuning
from downstream.training import Update
from upstream.base import HiddenStates
from upstream.trainable import Learned

LR, HEAD_LR, STEPS, WARMUP = 3e-4, 1e-3, 4, 0.5
# Softmax ignores what is added to all keys: the gradient is rounding alone, of which Adam takes the sign.
WITHOUT_GRADIENT = "k_proj.bias"

pytest.importorskip("transformers")


def without_randomness(folder: Path) -> Path:
    """Write an untrained WavLM without dropouts, dropped blocks and masks."""
    small_wavlm().trainable(Learned()).save(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    none = {name: 0.0 for name in config if "dropout" in name or name == "layerdrop"}
    path.write_text(json.dumps(config | none | {"apply_spec_augment": False}))
    return folder


def test_they_are_those_of_a_plain_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two unequal micro-batches an update, one clipped norm for both, a rate and a schedule for each."""
    from transformers import WavLMModel

    folder, corpus = without_randomness(tmp_path / "wavlm"), write_words(tmp_path)
    learners: list[FineTuning] = []
    heads, updates, losses = [], [], []
    learn = FineTuning.learn

    def watched(self: FineTuning, some: Sequence[Update]) -> Tensor:
        learners.append(self)
        heads.append(copy.deepcopy(self._head))
        updates.extend(some)
        found = learn(self, some)
        losses.extend(found[0].tolist())
        return found

    monkeypatch.setattr(FineTuning, "learn", watched)
    recipe, *own = TUNED["class"]
    settings = (f"training.steps={STEPS}", "training.evaluate_every=4", "training.batch=7", "training.clip=0.5")
    rates = (f"finetune.lr={LR}", f"finetune.warmup={WARMUP}", f"optimizer.lr={HEAD_LR}", "optimizer.schedule=cosine")
    run_on(upstream.load(str(folder)), recipe, [*own, *settings, *rates], corpus, tmp_path)
    learner = learners[0]

    theirs: Any = WavLMModel.from_pretrained(folder).train()
    theirs.feature_extractor._freeze_parameters()
    head = heads[0].train()
    encoder = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizers = [torch.optim.AdamW(encoder, weight_decay=0.0), torch.optim.Adam(head.parameters())]
    # Warm-up over two updates, then 1 - x; cosine from the first one: (1 + cos(pi x)) / 2 at x = 0, 1/4, 1/2, 3/4.
    courses = [(0.5, 1.0, 1.0, 0.5), (1.0, 0.8535534, 0.5, 0.1464466)]
    prepared = small_wavlm().prepare
    sizes = set()
    for number, update in enumerate(updates):
        total = 0.0
        for part in update.parts:
            waveforms = [prepared(learner._items[index].audio.load()) for index in part.tolist()]
            each = [torch.cat(theirs(one[None], output_hidden_states=True).hidden_states) for one in waveforms]
            loss = learner._task.losses(head, HiddenStates.from_utterances(each), part).mean() / len(update.parts)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            sizes.add(len(part))
        assert losses[number] == pytest.approx(total, rel=1e-5)
        norm = torch.nn.utils.clip_grad_norm_([*encoder, *head.parameters()], 0.5)
        assert norm > 0.5  # it is clipped
        for optimizer, rate, course in zip(optimizers, (LR, HEAD_LR), courses, strict=True):
            optimizer.param_groups[0]["lr"] = rate * course[number]
            optimizer.step()
            optimizer.zero_grad()
    assert len(sizes) > 1

    learner._encoder.save(tmp_path / "ours")
    before, ours = (dict(WavLMModel.from_pretrained(one).named_parameters()) for one in (folder, tmp_path / "ours"))
    for name, parameter in theirs.named_parameters():
        if WITHOUT_GRADIENT not in name:
            torch.testing.assert_close(ours[name], parameter, rtol=1e-5, atol=1e-5, msg=name)
            learns = "feature_extractor" not in name and name != "masked_spec_embed"
            assert bool((ours[name] - before[name]).abs().max() > LR / 2) == learns, name
    for name, tensor in head.state_dict().items():
        torch.testing.assert_close(learner._head.state_dict()[name], tensor, rtol=1e-5, atol=1e-5)
