"""The structure of the code: arrows run downwards, rooms are entered by their doors, families are known by contract."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from places import REPOSITORY

# From the bottom: a room imports from those before it alone; those in one line know nothing of each other.
FLOORS = (
    ("upstream",),
    ("recipes", "pictures", "statistics"),
    ("data",),
    ("states", "tasks"),
    ("training", "similarity"),
    ("results",),
    ("report", "comparison", "planned_run.py"),
    ("run_steps.py",),
    ("finetuning",),
    ("experiment.py", "leaderboards", "exports"),
    ("prediction", "pretraining", "probing", "replaying", "suites"),
    ("conversion",),
    ("__init__.py",),
    ("cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FAMILIES = ("classification", "recognition", "verification")
DOWNSTREAM = REPOSITORY / "downstream"
MODULES = sorted(DOWNSTREAM.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(DOWNSTREAM).parts[0]


def imports_of(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every imported module of the project, with the names that are taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def named_rooms(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (room, module, names) of every import from the project."""
    for module, names in imports_of(path):
        parts = module.split(".")
        if parts[0] == "upstream":
            yield "upstream", module, names
        elif parts[0] == "downstream" and len(parts) > 1:
            is_file = (DOWNSTREAM / f"{parts[1]}.py").is_file()
            yield (f"{parts[1]}.py" if is_file else parts[1]), module, names
        elif parts[0] == "downstream":
            yield "__init__.py", module, names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(DOWNSTREAM)))
def test_arrows_run_downwards(path: Path) -> None:
    own = room_of(path)
    for room, module, _ in named_rooms(path):
        assert room == own or FLOOR[room] < FLOOR[own], f"{own} imports {module}, which lies no lower"


def test_upstream_imports_nothing_of_downstream() -> None:
    for path in sorted((REPOSITORY / "upstream").rglob("*.py")):
        assert not [module for module, _ in imports_of(path) if module.split(".")[0] == "downstream"], path


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(DOWNSTREAM)))
def test_rooms_are_entered_by_what_they_export(path: Path) -> None:
    for room, module, names in named_rooms(path):
        if room in ("upstream", room_of(path)) or room.endswith(".py"):
            continue
        door = DOWNSTREAM.joinpath(*module.split(".")[1:], "__init__.py")
        assert door.is_file(), f"{path} imports {module}, a file of another room; import from the room"
        assert set(names) <= exports(door), f"{path} imports {names} from {module}"


def exports(door: Path) -> set[str]:
    """Return what a room's __init__ lists in __all__."""
    for node in ast.parse(door.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


# Every room is the first one that is imported, in one process, where other packages stay loaded.
IMPORTED_ALONE = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [module for module in sys.modules if module.split(".")[0] == "downstream"]:
        del sys.modules[loaded]
    room = importlib.import_module(f"downstream.{name}")
    missing = [exported for exported in room.__all__ if not hasattr(room, exported)]
    assert not missing, (name, missing)
    print(name)
"""


def test_everything_exported_is_there() -> None:
    rooms = [room for room in FLOOR if not room.endswith(".py") and room not in ("upstream", "cli")]
    command = [sys.executable, "-c", IMPORTED_ALONE, *rooms]
    found = subprocess.run(command, check=False, capture_output=True, text=True, cwd=REPOSITORY)
    assert found.stdout.split() == rooms, found.stderr


def test_families_are_named_by_nobody_else() -> None:
    """Only a family's folder, the registry's line and the recipes know what a family is called."""
    own = {DOWNSTREAM / "tasks" / "registry.py"}
    pattern = re.compile(rf"""["']({"|".join(FAMILIES)})["']|tasks[./]({"|".join(FAMILIES)})""")
    for path in MODULES:
        if path in own or path.relative_to(DOWNSTREAM).parts[:2] in {("tasks", family) for family in FAMILIES}:
            continue
        assert not pattern.search(path.read_text(encoding="utf-8")), f"{path} names a family"


def test_families_do_not_know_each_other() -> None:
    for family in FAMILIES:
        for path in (DOWNSTREAM / "tasks" / family).glob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not [other for other in FAMILIES if other != family and f"tasks.{other}" in text], path
            assert "downstream.training" not in text, path
            assert "downstream.report" not in text, path


def test_nothing_imports_the_command_line() -> None:
    for path in MODULES:
        if room_of(path) != "cli":
            assert not [module for module, _ in imports_of(path) if module.startswith("downstream.cli")], path


def test_no_files_import_each_other() -> None:
    """What two files share stands in a third one; imports for type checkers count as well."""
    paths = [*(REPOSITORY / "upstream").rglob("*.py"), *MODULES]
    modules = {".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path for path in paths}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imported = {
        name: {
            found
            for module, names in imports_of(path)
            for found in ({f"{module}.{one}" for one in names} & modules.keys() or {module})
        }
        for name, path in modules.items()
    }
    TopologicalSorter(imported).prepare()  # raises CycleError with the files of a circle
