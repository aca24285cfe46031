"""s3prl's keys of `-o`, as recipes here call them: a table, and what it does with the values.

The keys are those of the config.yaml files in s3prl 0.4.18's downstream folder. `-o` takes several, separated by two
commas, as there: -o "config.optimizer.lr=1e-3,,config.runner.total_steps=100".
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upstream.errors import UserError
from upstream.nearest import nearest

SEPARATOR = ",,"
SAMPLE_RATE = 16_000  # of s3prl's counts of samples

DATARC, MODELRC = "downstream_expert.datarc", "downstream_expert.modelrc"
DECODER, LOSS, CTC = f"{DATARC}.decoder_args", f"{MODELRC}.LossConfig.AMSoftmaxLoss", "downstream_expert.corpus"

# s3prl's key without "config." -> the key of a recipe here, or a flag of the command.
HERE = {
    "runner.total_steps": "training.steps",
    "runner.gradient_clipping": "training.clip",
    "runner.gradient_accumulate_steps": "training.accumulate",
    "runner.eval_step": "training.evaluate_every",
    "optimizer.name": "optimizer.name",
    "optimizer.torch_optim_name": "optimizer.name",
    "optimizer.lr": "optimizer.lr",
    "optimizer.weight_decay": "optimizer.weight_decay",
    "scheduler.name": "optimizer.schedule",
    "scheduler.num_warmup_steps": "optimizer.warmup",
    "specaug.time_warp_window": "head.spec_augment.time_warp_window",
    "specaug.num_freq_mask": "head.spec_augment.frequency_masks",
    "specaug.num_time_mask": "head.spec_augment.time_masks",
    "specaug.freq_mask_width_range": "head.spec_augment.frequency_width",
    "specaug.time_mask_width_range": "head.spec_augment.time_width",
    f"{DATARC}.root": "--data",
    f"{DATARC}.file_path": "--data",
    f"{DATARC}.libri_root": "--data",
    f"{DATARC}.speech_commands_root": "--data",
    f"{CTC}.path": "--data",
    f"{DATARC}.batch_size": "training.batch",
    f"{DATARC}.train_batch_size": "training.batch",
    f"{CTC}.batch_size": "training.batch",
    f"{DATARC}.train": "split.train",
    f"{DATARC}.max_timestep": "training.crop.seconds",
    f"{DATARC}.vad_config.min_sec": "split.longer_than",
    f"{DATARC}.test_meta_data": "trials.list",
    f"{DECODER}.decoder_type": "decoding.method",
    f"{DECODER}.kenlm_model": "decoding.language_model",
    f"{DECODER}.lexicon": "decoding.lexicon",
    f"{DECODER}.beam": "decoding.beam",
    f"{DECODER}.beam_threshold": "decoding.threshold",
    f"{DECODER}.lm_weight": "decoding.lm_weight",
    f"{DECODER}.word_score": "decoding.word_score",
    f"{MODELRC}.projector_dim": "head.projection",
    f"{MODELRC}.project_dim": "head.projection",
    "downstream_expert.model.project_dim": "head.projection",
    f"{MODELRC}.input_dim": "head.projection",
    f"{MODELRC}.UtteranceLevel.pooling": "head.pooling",
    f"{LOSS}.s": "head.scale",
    f"{LOSS}.m": "head.margin",
}

# Key here -> s3prl's word for a value -> the word here.
WORDS: Mapping[str, Mapping[str, str]] = {
    "optimizer.name": {"Adam": "adam", "AdamW": "adamw"},
    "optimizer.schedule": {
        "linear_schedule_with_warmup": "linear",
        "cosine_schedule_with_warmup": "cosine",
    },
    "decoding.method": {"None": "greedy", "kenlm": "beam"},
    "head.pooling": {"MeanPooling": "mean", "AttentivePooling": "attention"},
}

# s3prl's key and a value of it that is the only way here -> what the note calls it.
ALWAYS = {
    ("optimizer.name", "TorchOptim"): "PyTorch's optimisers",
    (f"{MODELRC}.select", "UtteranceLevel"): "the head of classification",
    (f"{MODELRC}.select", "RNNs"): "the head of recognition",
    (f"{MODELRC}.module", "XVector"): "the head of verification",
    (f"{MODELRC}.agg_module", "SP"): "statistics pooling",
    (f"{MODELRC}.ObjectiveLoss", "AMSoftmaxLoss"): "the loss of verification",
}

# s3prl's key, or the section that it lies in -> what to type instead.
NOT_HERE = {
    "runner.eval_dataloaders": "development chooses the step, and every test part is tested at the end",
    "runner.train_dataloader": "name the training parts: -o split.train=[train-clean-100]",
    "runner.log_step": "curves have a point at every evaluation: -o training.evaluate_every=500",
    "runner.save_step": "snapshots are written by the clock: --snapshot-seconds 30",
    "runner.max_keep": "only the last snapshot and the best heads are kept; leave it out",
    "runner.fp16": "the upstream's precision is --dtype bfloat16 (or auto), heads learn in float32",
    "runner": "leave it out",
    "optimizer": "the optimiser's settings are optimizer.name, lr, weight_decay, schedule and warmup",
    "scheduler": "the schedule is -o optimizer.schedule=linear -o optimizer.warmup=1400",
    "specaug": "SpecAugment's settings are head.spec_augment.time_warp_window, time_masks, time_width, "
    "frequency_masks and frequency_width; -o head.spec_augment=null leaves it out",
    f"{DATARC}.speech_commands_test_root": "the test archive lies beside the words' folder and is found there: "
    "--data DIR with both",
    f"{DATARC}.test_fold": "one run tests all folds and reports their mean, with each fold's score; leave it out",
    f"{DATARC}.valid_ratio": "the division is the recipe's: -o split.rule=..., see docs/recipes.md",
    f"{DATARC}.num_workers": "recordings are read as fast as the upstream takes them; leave it out",
    f"{DATARC}.eval_batch_size": "batches of evaluation change no score and are chosen here; leave it out",
    f"{DECODER}": "the decoder's settings are decoding.method, beam, threshold, language_model, lexicon, lm_weight "
    "and word_score",
    f"{DATARC}": "the data are --data DIR, -c CORPUS and keys such as corpus.name and split.train",
    f"{CTC}": "the data are --data DIR, -c CORPUS and keys such as corpus.name and split.train",
    "downstream_expert.text": "the tokens are -o text.vocabulary=characters (or superb)",
    f"{MODELRC}.RNNs": "the LSTMs are -o head.hidden=1024 -o head.depth=2 -o head.dropout=0.2",
    f"{MODELRC}.select": "the head follows from the recipe's task; -d another recipe for another one",
    "downstream_expert": "the head's settings are keys such as head.projection",
}
ALL_KEYS = "`wavprobe validate RECIPE --show` prints every key of a recipe."


def seconds(value: Any) -> float:
    """Return a number of samples in seconds."""
    return float(value) / SAMPLE_RATE


def upper_end(value: Any) -> Any:
    """Return the end of a range [0, 40]."""
    return value[-1]


CONVERTED: Mapping[str, Callable[[Any], Any]] = {  # by s3prl's key
    f"{DATARC}.max_timestep": seconds,
    f"{DATARC}.vad_config.min_sec": seconds,
    "specaug.freq_mask_width_range": upper_end,
    "specaug.time_mask_width_range": upper_end,
}


@dataclass
class Translated:
    """Overrides of `-o` in the words used here.

    overrides: key=value of recipes. flags: words of a command line, for what is no setting of a recipe.
    notes: sentences on what changes nothing.
    """

    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def translated(given: Sequence[str]) -> Translated:
    """Return overrides with s3prl's keys translated; others stay as they are.

    Raises UserError for a key of s3prl without a meaning here, with what to type instead.
    """
    found = Translated()
    for text in given:
        for one in text.split(SEPARATOR):
            if one.strip() or not text.strip():  # nothing may stand behind the last separator
                place(found, one.strip())
    return found


def place(found: Translated, given: str) -> None:
    """Add the translation of one `key=value` to what was found."""
    key, equals, text = (piece.strip() for piece in given.partition("="))
    section, _, name = key.partition(".")
    if section not in ("config", "args") or not equals:
        found.overrides.append(given)
    elif section == "args":
        found.flags += flag(name, text)
    elif same := ALWAYS.get((name, str(literal(text)))):
        found.notes.append(f"-o {given} changes nothing: {same} it is.")
    elif (here := HERE.get(name)) is None:
        raise UserError(f"-o config.{name}: {instead_of(name)}")
    elif here.startswith("--"):
        found.flags.append(f"{here}={written(name, here, text)}")
    else:
        found.overrides.append(f"{here}={written(name, here, text)}")


def written(key: str, here: str, text: str) -> str:
    """Return the text of a value, as `-o` takes it here."""
    value, words = literal(text), WORDS.get(here, {})
    if key in CONVERTED:
        try:
            return json.dumps(CONVERTED[key](value))
        except (TypeError, ValueError, LookupError) as error:
            raise UserError(f"-o config.{key}={text[:80]}: that is no value of s3prl's; type -o {here}=...") from error
    if words and str(value) not in words:
        known = ", ".join(f"{word} ({own})" for word, own in words.items())
        raise UserError(
            f"-o config.{key}={text[:80]}: there are {known}; type -o {here}=... with the word in brackets."
        )
    if words:
        return words[str(value)]
    return "null" if value is None else value if isinstance(value, str) else text


def literal(text: str) -> Any:
    """Return the value of Python's notation, in which s3prl reads values; other text as it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def instead_of(key: str) -> str:
    """Return what to type instead of one of s3prl's keys that has no translation."""
    near = nearest(key, HERE)
    if near and key not in NOT_HERE:
        return f"did you mean config.{near[0]} ({HERE[near[0]]} here)?"
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        if (section := ".".join(parts[:end])) in NOT_HERE:
            return f"{NOT_HERE[section]}. {ALL_KEYS}"
    return f"there is no such key here. {ALL_KEYS}"


def flag(name: str, text: str) -> list[str]:
    """Return the words of `args.NAME=VALUE`, which sets a flag of s3prl's command."""
    value = literal(text)
    if value is None or value is False:
        return []
    return [f"--{name}" if value is True else f"--{name}={value}"]
