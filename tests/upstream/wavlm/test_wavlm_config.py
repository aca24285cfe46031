"""A configuration goes through unchanged, field by field, in every form that config.json has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from upstream.errors import UserError
from upstream.wavlm.config import BASE, LARGE
from upstream.wavlm.config_formats import from_hugging_face

transformers = pytest.importorskip("transformers")

# Values that differ from every default.
OTHER: dict[str, Any] = {
    "vocab_size": 41,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "hidden_dropout": 0.2,
    "activation_dropout": 0.3,
    "attention_dropout": 0.4,
    "feat_proj_dropout": 0.5,
    "final_dropout": 0.6,
    "layerdrop": 0,
    "initializer_range": 0.03,
    "layer_norm_eps": 1e-6,
    "feat_extract_norm": "layer",
    "conv_dim": [32, 16],
    "conv_stride": [5, 3],
    "conv_kernel": [10, 4],
    "conv_bias": True,
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "num_buckets": 16,
    "max_bucket_distance": 20,
    "do_stable_layer_norm": True,
    "apply_spec_augment": False,
    "mask_time_prob": 0.07,
    "mask_time_length": 7,
    "mask_time_min_masks": 1,
    "mask_feature_prob": 0.08,
    "mask_feature_length": 8,
    "num_codevectors_per_group": 64,
    "num_codevector_groups": 4,
    "contrastive_logits_temperature": 0.2,
    "num_negatives": 50,
    "codevector_dim": 128,
    "proj_codevector_dim": 100,
    "diversity_loss_weight": 0.3,
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": True,
    "use_weighted_layer_sum": True,
    "classifier_proj_size": 40,
    "tdnn_dim": [32, 48],
    "tdnn_kernel": [3, 1],
    "tdnn_dilation": [2, 1],
    "xvector_output_dim": 24,
    "num_ctc_classes": 20,
    "pad_token_id": None,
    "bos_token_id": 5,
    "eos_token_id": [2, 3],
    "add_adapter": True,
    "adapter_kernel_size": 5,
    "adapter_stride": 3,
    "num_adapter_layers": 2,
    "output_hidden_size": 48,
    "tie_last_hidden_states": True,
    "id2label": {0: "calm", 1: "sad", 2: "sad, too"},
    "label2id": {"calm": 0, "sad": 1, "sad, too": 2},
    "problem_type": "single_label_classification",
    "chunk_size_feed_forward": 1,
    "output_hidden_states": True,
    "somebody's own": {"kept": [1, None, "x"]},
}

# Its masking of features reads this field, which its configuration no longer has.
BESIDES = {"mask_feature_min_masks": 0}


def through(content: dict[str, Any]) -> dict[str, Any]:
    """What is written of what was read, by way of JSON."""
    written: dict[str, Any] = json.loads(
        json.dumps(from_hugging_face(json.loads(json.dumps(content)), None).to_hugging_face())
    )
    return written


def test_every_field_of_transformers_goes_through_unchanged(tmp_path: Path) -> None:
    theirs = transformers.WavLMConfig(**OTHER)
    default = transformers.WavLMConfig().to_dict()
    unset = set(transformers.WavLMConfig.__annotations__) - OTHER.keys()
    assert unset <= {"model_type", "hidden_act", "feat_extract_activation"}, "a field of a newer transformers"
    assert all(default.get(name) != value for name, value in theirs.to_dict().items() if name in OTHER)
    theirs.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    written = through(content)
    assert {name: written[name] for name in content} == content
    ours, expected = (transformers.WavLMConfig.from_dict(own).to_dict() for own in (written, content))
    assert ours == expected | BESIDES


@pytest.mark.parametrize("config", [BASE, LARGE])
def test_published_sizes_are_read_as_they_are_written(config: Any) -> None:
    assert from_hugging_face(config.to_hugging_face(), None).to_hugging_face() == config.to_hugging_face()


def test_what_config_json_leaves_out_is_transformers_default() -> None:
    written = transformers.WavLMConfig.from_dict(through({"model_type": "wavlm"})).to_dict()
    assert written == transformers.WavLMConfig().to_dict() | BESIDES


def test_labels_in_every_form() -> None:
    read = from_hugging_face({"model_type": "wavlm", "num_labels": 3}, None)
    assert (read.num_labels, read.label(2), read.label(7)) == (3, "LABEL_2", "LABEL_7")
    other = {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": "0", "b": "1"}}  # text for numbers, as some write it
    assert through({"model_type": "wavlm"} | other)["label2id"] == other["label2id"]
    for wrong, words in (
        ({"id2label": ["a", "b"]}, "expected names by number"),
        ({"id2label": {"first": "a"}}, "expected names by number"),
        ({"id2label": {}}, "id2label"),
        ({"id2label": {"0": None}}, "id2label"),
        ({"tdnn_dim": [512]}, "tdnn_dim .* as many entries as in tdnn_kernel"),
        ({"vocab_size": 2**40}, "vocab_size = 1099511627776"),
        ({"ctc_loss_reduction": "median"}, "ctc_loss_reduction = 'median'"),
    ):
        with pytest.raises(UserError, match=words):
            from_hugging_face({"model_type": "wavlm"} | wrong, None)
