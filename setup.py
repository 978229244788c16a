"""What pyproject.toml cannot say: the one part that is compiled, and the notebooks and runbooks inside the wheel.

Where there is no compiler the package installs without the compiled part.
"""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

SHELVES = ("notebooks", "runbooks", "deploy")


class BuildWithShelves(build_py):
    """Puts the folders that are not code into the package; a clone that is installed for editing has them beside it."""

    def run(self) -> None:
        """As setuptools calls it."""
        super().run()
        if self.editable_mode:
            return
        for name in SHELVES:
            share = Path(self.build_lib) / "workbench" / "share" / name
            copytree(
                name,
                share,
                ignore=ignore_patterns(".ipynb_checkpoints", "__pycache__", "conftest.py"),
                dirs_exist_ok=True,
            )


setup(
    cmdclass={"build_py": BuildWithShelves},
    ext_modules=[
        Extension(
            "workbench.capture.wire._records",
            ["workbench/capture/wire/_records.c"],
            extra_compile_args=["-O3", "-std=c11"],
            optional=True,
        )
    ],
)
