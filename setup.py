"""What pyproject.toml cannot say: the page stands in web/ and is packaged as server/page."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPage(build_py):
    """Copies the page into the package, so that an installed server has it."""

    def run(self) -> None:
        """Build, then copy; in place (`pip install -e`) the page is served from where it lies."""
        # What an earlier build left there would be packaged with it.
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            page = Path(self.build_lib, "server", "page")
            shutil.rmtree(page, ignore_errors=True)
            shutil.copytree("web", page, ignore=shutil.ignore_patterns("screenshot.png"))


setup(cmdclass={"build_py": BuildWithPage})
