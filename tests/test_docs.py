"""The documentation is executed: Python blocks, commands, recipes, links; and the family of tasks in examples/."""

from __future__ import annotations

import argparse
import configparser
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from places import REPOSITORY

import downstream
from downstream.cli import main as cli
from downstream.cli.s3prl_keys import translated
from downstream.data.corpora.catalog import find_card
from downstream.probing import probed_recipes
from downstream.results.record import Result, read_result
from downstream.suites.reading import choose_recipes
from downstream.suites.suite import load_suite
from downstream.tasks.registry import load_recipe
from downstream.training.loop import Training
from downstream.training.snapshot import read_snapshot
from upstream.catalog import NAMED
from upstream.command_line import INTERRUPTED
from upstream.names import resolved

DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [*DOCS, *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "recipes/README.md"))]
EXAMPLES = REPOSITORY / "examples"

# A fenced block, and the comment on the line before it: "run", "file: NAME" (to be written), "from: PATH" (an excerpt).
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)#\s]*)(?:#[^)]*)?\)")
LONGEST_PAGE, LONGEST_FAMILY = 120, 150  # lines


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    line: of its first line. mark: the comment before it, "" without one.
    """

    page: Path
    line: int
    language: str
    mark: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is to be written to, if it is."""
        return self.mark.removeprefix("file: ") if self.mark.startswith("file: ") else None

    @property
    def runs(self) -> bool:
        """True for code that is executed and for commands that are carried out."""
        return self.mark == "run" or (self.language == "python" and not self.mark)

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: found.start("text")].count("\n") + 1, found["language"], found["mark"] or "", found["text"])
        for found in BLOCK.finditer(text)
    ]


def commands_of(block: Block) -> Iterator[list[str]]:
    """The arguments of `wavprobe` in a block of shell; run_downstream.py is `wavprobe run`."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for piece in line.split(" && "):
            words = shlex.split(piece, comments=True)
            if words[:1] == ["wavprobe"]:
                yield words[1:]
            elif "run_downstream.py" in words:
                yield ["run", *words[words.index("run_downstream.py") + 1 :]]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = [(block, command) for block in BLOCKS if block.language == "sh" for command in commands_of(block)]
RECIPES = [block for block in BLOCKS if block.language == "yaml" and "task" in yaml.safe_load(block.text)]
EXCERPTS = [block for block in BLOCKS if block.mark.startswith("from: ")]
EXECUTED = [page for page in DOCS if any(block.runs for block in blocks_of(page))]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store in place of the user's, shared by all tests here, so that the demo corpus is made and encoded once."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("upstream.files", "upstream.store.command", "downstream.cli.run_arguments"):
            patch.setattr(f"{module}.DEFAULT_STORE", folder)
        yield folder


def write_files(page: Path) -> None:
    """Write what a page has as files, and its recipes by their names, into the working directory."""
    for block in blocks_of(page):
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block in RECIPES:
            path = Path(f"{yaml.safe_load(block.text)['name']}.yaml")
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.is_file():
            Path("examples").mkdir(exist_ok=True)
            shutil.copy(path, "examples")


# ---------------------------------------------------------------- pages


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.stem)
def test_a_page_runs_from_top_to_bottom(
    page: Path, elsewhere: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(page)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.runs and block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        elif block.runs:
            for command in commands_of(block):
                assert cli.main(command) == 0, (block.where, command, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{block.where} {' '.join(command)}" for block, command in COMMANDS]
)
def test_a_command_parses_and_names_what_there_is(block: Block, command: Sequence[str], elsewhere: Path) -> None:
    write_files(block.page)
    options = cli.parser().parse_args(command)
    if getattr(options, "upstream", None) is not None and options.verb != "store":
        for one in [options.upstream] if isinstance(options.upstream, str) else options.upstream:
            assert is_upstream(one), one
    for name, overrides in recipes_of(options):
        if (suite := load_suite(name)) is not None:
            choose_recipes(suite, overrides)
            continue
        recipe = load_recipe(name, overrides)
        find_card(recipe.corpus.name)


def is_upstream(name: str) -> bool:
    """True for a form that `upstream.load` knows; files and repositories need not be there."""
    return resolved(name).partition("@")[0] in NAMED or name.startswith("hf:") or ".py:" in name or "/" in name


def recipes_of(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """The recipes that a command names, each with its overrides."""
    if options.verb == "validate":
        return [(name, options.override) for name in options.recipes if not name.endswith("/")]  # folders of records
    if options.verb == "probe":
        probed_recipes(options.downstream, seeds=None, overrides=options.override, corpora=options.corpus)  # refuses
        return []
    if options.verb != "run" or options.list:
        return []
    corpus = [f"corpus.name={options.corpus}"] if options.corpus else []
    return [(name, corpus + translated(options.override).overrides) for name in options.downstream]


@pytest.mark.parametrize("block", RECIPES, ids=lambda block: block.where)
def test_a_recipe_on_a_page_is_valid(block: Block, elsewhere: Path) -> None:
    write_files(block.page)
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, elsewhere)
    Path("block.yaml").write_text(block.text, encoding="utf-8")
    recipe = load_recipe("block.yaml")
    find_card(recipe.corpus.name)


@pytest.mark.parametrize("block", EXCERPTS, ids=lambda block: block.where)
def test_an_excerpt_is_what_the_file_says(block: Block) -> None:
    assert block.text in (REPOSITORY / block.mark.removeprefix("from: ")).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = {found["target"] for found in LINK.finditer(page.read_text(encoding="utf-8"))}
    missing = [one for one in targets if one and "://" not in one and not (page.parent / one).exists()]
    assert not missing


def test_the_index_has_every_page_and_pages_are_short() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    for page in DOCS:
        assert page.name == "index.md" or f"({page.name})" in index
        assert len(page.read_text(encoding="utf-8").splitlines()) <= LONGEST_PAGE, page.name


def test_the_citation_has_the_version_of_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert citation["version"] == setup["metadata"]["version"]
    assert citation["license"] == setup["metadata"]["license"]


# ---------------------------------------------------------------- a family from outside

FAMILY = EXAMPLES / "voice_activity.py"
STEPS = 24
SHORTER = (f"training.steps={STEPS}", "training.evaluate_every=8", "optimizer.warmup=4")


def write_spectrum() -> None:
    """Write the upstream of docs/adding_an_upstream.md, which is quick and has two layers."""
    write_files(REPOSITORY / "docs" / "adding_an_upstream.md")


def run_voice_activity(results: str, *more: str) -> int:
    overrides = [word for override in SHORTER for word in ("-o", override)]
    recipe = str(EXAMPLES / "voice_activity.yaml")
    command = ["run", "-u", "spectrum.py:build", "-d", recipe, "--results", results, *overrides, *more]
    return cli.main(command)


def only_record(results: str) -> Result:
    (path,) = Path(results).rglob("result.json")
    return read_result(path)


def test_a_family_from_outside_is_one_short_file() -> None:
    assert len(FAMILY.read_text(encoding="utf-8").splitlines()) <= LONGEST_FAMILY


def test_a_family_from_outside_is_swept_and_shown_and_has_intervals(
    elsewhere: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spectrum()
    sweep = ("-o", "sweep.lr=[1e-2, 1e-3]", "-o", "sweep.seed=[0, 1]", "-o", "sweep.layer=[mix, best, 1]")
    assert run_voice_activity("results", *sweep) == 0
    shown = capsys.readouterr().out
    for title in ("frame error", "speech F1", "scores with 95 % intervals", "frame error by layer"):
        assert title in shown.replace("\n", " ")
    result = only_record("results")
    assert result.task.endswith("voice_activity.py:VoiceActivity")
    assert [layer.layer for layer in result.layers] == [None, "best", 1]
    assert len(result.grid) == 2 * 2 * 3  # rates, seeds, and the sum and both layers
    for layer in result.layers:
        assert [score.metric for score in layer.scores] == ["frame_error", "speech_f1"]
        for score in layer.scores:
            assert list(score.by_seed) == [0, 1]
            assert score.low is not None
            assert score.high is not None
            assert score.low < score.value < score.high
    assert result.primary.value < result.chance
    table = downstream.load_results("results")
    assert len(table) == 3 * 2
    (primary,) = table[table.is_primary].to_dict("records")
    assert (primary["metric"], primary["layer"], primary["value"]) == ("frame_error", "mix", result.primary.value)


def test_a_family_from_outside_goes_on_to_the_same_bits_after_an_interruption(
    elsewhere: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_spectrum()
    save, restore, restored = Training.save, Training.restore, []

    def save_and_interrupt(training: Training, path: Path) -> None:
        save(training, path)
        raise KeyboardInterrupt

    def restore_and_note(training: Training, path: Path) -> None:
        restore(training, path)
        restored.append(training.step)

    often = ("--snapshot-seconds", "0.001")
    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", save_and_interrupt)
        assert run_voice_activity("broken", *often) == INTERRUPTED
    (path,) = Path("broken").rglob("snapshot")
    left = read_snapshot(path)
    assert left is not None
    assert 0 < left[1]["step"] < STEPS
    assert not list(Path("broken").rglob("result.json"))
    monkeypatch.setattr(Training, "restore", restore_and_note)
    assert run_voice_activity("broken", *often) == 0
    assert restored == [left[1]["step"]]
    assert run_voice_activity("whole") == 0
    broken, whole = only_record("broken"), only_record("whole")
    assert broken.folder is not None
    assert whole.folder is not None
    assert not (broken.folder / "snapshot").exists()
    heads = [one.folder / "head.safetensors" for one in (broken, whole)]
    assert heads[0].read_bytes() == heads[1].read_bytes()
    apart = {"timing", "command"}
    assert broken.model_dump(exclude=apart) == whole.model_dump(exclude=apart)
