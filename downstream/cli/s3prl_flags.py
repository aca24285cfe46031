"""The flags of s3prl's run_downstream.py: those with a meaning here work, for others a sentence says what to type.

s3prl's -u, -d, -l, --seed, --device and --verbose are the flags of `wavprobe run`; its keys of -o are in s3prl_keys.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from downstream.cli.s3prl_keys import translated
from upstream import arguments
from upstream.errors import UserError

MODES = ("train", "evaluate")
ANY_CHECKPOINT = re.compile(r"\w+_(local|custom|url)|customized_upstream")  # names of upstreams that need -k
LAYER = "hidden_state_"  # s3prl's name of one layer, its number behind


class Refused(NamedTuple):
    """A flag without a meaning here; instead: what to type."""

    names: tuple[str, ...]
    instead: str
    takes_value: bool = True


REFUSED = (
    Refused(
        ("--upstream_feature_normalize",),
        "SUPERB's recipes sum layers as they are, and clean recipes standardise them (head.standardised); leave it out",
        takes_value=False,
    ),
    Refused(
        ("-g", "--upstream_model_config"),
        "a checkpoint's configuration is read from it, or lies beside it: type -u PATH of the checkpoint",
    ),
    Refused(
        ("--upstream_model_name",),
        "name the weight file itself: -u DIRECTORY/FILE, or -u hf:ORG/NAME for the usual one",
    ),
    Refused(
        ("--config",), "a recipe is a YAML file that -d takes, or a name of --list; one setting of it is -o key=value"
    ),
    Refused(("--downstream_variant",), "a variant is a recipe of its own: -d RECIPE; see --list"),
    Refused(
        ("--backend",),
        "processes share the extraction through the store, without a backend: start them with torchrun instead",
    ),
    Refused(("--push_to_hf_hub",), "nothing is uploaded; the files of a run can be, with `hf upload ORG/NAME FOLDER`"),
    Refused(("--hf_hub_org",), "nothing is uploaded; the files of a run can be, with `hf upload ORG/NAME FOLDER`"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add s3prl's flags, in a group of their own; those without a meaning are accepted and not listed."""
    group = parser.add_argument_group("flags of s3prl's run_downstream.py")
    group.add_argument(
        "-m", "--mode", metavar="MODE", help="train: learn and test, as without; evaluate: learn nothing"
    )
    group.add_argument("-a", "--auto_resume", action="store_true", help="resume, which is what happens without it")
    group.add_argument("-k", "--upstream_ckpt", metavar="PATH", help="the checkpoint of -u; the same as -u PATH")
    group.add_argument(
        "-s", "--upstream_feature_selection", metavar="NAME", help=f"hidden_states, last_hidden_state or {LAYER}N"
    )
    group.add_argument("-t", "--evaluate_split", metavar="PART", help="the test part; the same as -o split.test=[PART]")
    group.add_argument("--hub", metavar="HUB", help="huggingface: -u is a repository there")
    group.add_argument(
        "--upstream_revision", metavar="REVISION", help="of the repository; the same as -u NAME@REVISION"
    )
    group.add_argument("-r", "--upstream_refresh", action="store_true", help="ask the hub for newer files, as always")
    group.add_argument("--cache_dir", metavar="DIR", help="folder of downloaded weights; the same as HF_HUB_CACHE=DIR")
    group.add_argument(
        "-f", "--upstream_trainable", dest="finetune", action="store_true", help="the same as --finetune"
    )
    group.add_argument("--disable_cudnn", action="store_true", help="compute without cuDNN")
    for flag in ("-e", "--past_exp"), ("-i", "--init_ckpt"), ("--local_rank", "--local-rank"):
        group.add_argument(*flag, help=argparse.SUPPRESS)
    for names, _, takes_value in REFUSED:
        group.add_argument(*names, action="store" if takes_value else "store_true", help=argparse.SUPPRESS)
    for long, name, kind in (
        ("expname", "name", str),
        ("expdir", "folder", arguments.folder),
        ("upstream_layer_selection", "layer", arguments.layer),
    ):
        group.add_argument(f"--{long}", dest=name, type=kind, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def applied(options: argparse.Namespace, add: Callable[[argparse.ArgumentParser], None]) -> list[str]:
    """Put what s3prl's flags mean into the options of `wavprobe run`; return a sentence on each that changes nothing.

    add: adds all arguments of the command; `-o args.NAME=VALUE` sets one of them.
    Raises UserError for a flag, a key or a value without a meaning here, with what to type instead.
    """
    found = translated(options.override)
    options.override = found.overrides
    if found.flags:
        parser = OfOverrides(prog="-o", add_help=False, allow_abbrev=False)
        add(parser)
        for name in ("upstream", "downstream"):  # of which several may be typed
            if f"--{name}" in found.flags:
                setattr(options, name, None)
        parser.parse_args(found.flags, options)
    refuse(options)
    take_layer(options)
    take_upstream(options)
    take_machine(options)
    if options.evaluate_split not in (None, "test"):
        options.override.append(f"split.test={json.dumps([options.evaluate_split])}")
    return [*found.notes, *notes(options)]


class OfOverrides(argparse.ArgumentParser):
    """A parser of what `-o` says of flags."""

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"-o: {message}. The flags of the command are in --help.")


def refuse(options: argparse.Namespace) -> None:
    """Raise UserError for the first flag that has no meaning here."""
    for names, instead, _ in REFUSED:
        if getattr(options, names[-1].lstrip("-")) not in (None, False):
            raise UserError(f"{' / '.join(names)}: {instead}.")
    if options.mode not in (None, *MODES):
        other = "`wavprobe predict` answers for new recordings" if options.mode == "inference" else "type one of them"
        raise UserError(f"-m {options.mode}: the modes are {' and '.join(MODES)}; {other}.")
    if options.corpus is not None and options.corpus.endswith((".yaml", ".yml")):
        raise UserError(
            f"-c {options.corpus}: -c names a corpus here. A recipe of your own is a YAML file that -d takes; one "
            "setting of a recipe is -o key=value, also with s3prl's keys."
        )
    for flag, path in ("-e", options.past_exp), ("-i", options.init_ckpt):
        if path is not None:
            raise UserError(f"{flag} {path}: {instead_of_checkpoint(path)}")


def instead_of_checkpoint(path: str) -> str:
    """Return what to type instead of the checkpoint of an experiment: for a run of the harness, its command."""
    from downstream.results import RECORD, read_result

    for folder in (Path(path), Path(path).parent):
        if (folder / RECORD).is_file():
            command = read_result(folder / RECORD).command
            return (
                f"that run was made by `{command}` (paths shortened). The same command shows it again; another -o "
                "tests its heads anew, or learns others."
            )
    if path.endswith(".ckpt"):
        return (
            "the head in a checkpoint of s3prl is tested in two steps: wavprobe convert CHECKPOINT head.safetensors "
            "writes it as a head of this harness, and --head-from head.safetensors tests that."
        )
    return (
        "a run is resumed, or shown when it is finished, by typing its command again (-u, -d and the rest), with "
        "-m evaluate to learn nothing; heads in a file are tested with --head-from FILE."
    )


def take_layer(options: argparse.Namespace) -> None:
    """Put the layer of -s into that of -l."""
    selected = options.upstream_feature_selection
    if selected in (None, "hidden_states"):
        return
    number = selected.removeprefix(LAYER)
    if selected != "last_hidden_state" and not (selected.startswith(LAYER) and number.isascii() and number.isdigit()):
        raise UserError(
            f"-s {selected}: here are hidden_states (all layers, as without), last_hidden_state and {LAYER}0, "
            f"{LAYER}1, ...; -l N is the same as {LAYER}N."
        )
    if options.layer is not None:
        raise UserError(f"-s {selected} and -l {options.layer} both name a layer; leave one of them out.")
    options.layer = -1 if selected == "last_hidden_state" else int(number)


def take_upstream(options: argparse.Namespace) -> None:
    """Put what --hub and --upstream_revision say into -u; see `s3prl_checkpoint` for -k."""
    if options.hub not in (None, "torch", "huggingface"):
        raise UserError(
            f"--hub {options.hub}: s3prl's hubs are torch and huggingface; here -u hf:ORG/NAME is the hub's."
        )
    if not options.upstream:
        return
    if options.upstream_ckpt is not None and len(options.upstream) > 1:
        raise UserError("-k is the checkpoint of one upstream; type the paths of several after -u.")
    options.upstream = [taken(name, options) for name in options.upstream]


def taken(name: str, options: argparse.Namespace) -> str:
    """Return the name of an upstream as `upstream.load` takes it."""
    if options.upstream_ckpt is None and ANY_CHECKPOINT.fullmatch(name):
        raise UserError(f"-u {name} is any checkpoint: add -k PATH, or type -u PATH alone.")
    if options.hub == "huggingface" and os.path.lexists(name):
        name = f"hf:{name}"
    if options.upstream_revision is None:
        return name
    if "@" in name:
        raise UserError(f"--upstream_revision and -u {name} both name a revision; leave one of them out.")
    return f"{name}@{options.upstream_revision}"


def take_machine(options: argparse.Namespace) -> None:
    """Do what s3prl's flags say of caches, processes and libraries."""
    if options.cache_dir is not None:
        os.environ["HF_HUB_CACHE"] = options.cache_dir  # before huggingface_hub is imported, which reads it then
    if options.local_rank is not None and "LOCAL_RANK" not in os.environ:
        raise UserError(
            "--local_rank: several processes are started with torchrun --nproc-per-node N run_downstream.py."
        )
    if options.disable_cudnn:
        import torch

        torch.backends.cudnn.enabled = False


def notes(options: argparse.Namespace) -> list[str]:
    """Return a sentence on each flag that was accepted and changes nothing."""
    said = {
        "-m train: every run learns and tests.": options.mode == "train",
        "-a: an interrupted run is always resumed; --fresh begins again.": options.auto_resume,
        "-s hidden_states: heads read all layers, as the recipe has it; -o sweep.layer=mix is their sum alone.": (
            options.upstream_feature_selection == "hidden_states" and options.layer is None
        ),
        "-t test: every run tests the recipe's test parts.": options.evaluate_split == "test",
        "-r: newer files are asked for whenever the hub can be reached.": options.upstream_refresh,
        "--hub huggingface: ORG/NAME is a repository there without it.": options.hub == "huggingface",
        "--hub torch: names are those of --list; ORG/NAME is the Hugging Face hub's.": options.hub == "torch",
    }
    return [sentence for sentence, applies in said.items() if applies]
