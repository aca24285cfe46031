"""Puts recipes and published scores, which lie at the top level, into the package; everything else is in setup.cfg."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = {
    "recipes": ("*.yaml", "*.csv"),
    "results/reference": ("*.csv",),
}  # found again by downstream/recipes/files.py


class BuildWithShippedFiles(build_py):
    """Copies the shipped files; an editable installation finds them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for folder, patterns in SHIPPED.items():
            for path in (path for pattern in patterns for path in Path(folder).rglob(pattern)):
                copy = Path(self.build_lib) / "downstream" / "shipped_files" / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


setup(cmdclass={"build_py": BuildWithShippedFiles})
