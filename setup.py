"""The one part that is compiled; where there is no compiler the package installs without it. All else: pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "workbench.capture.wire._records",
            ["workbench/capture/wire/_records.c"],
            extra_compile_args=["-O3", "-std=c11"],
            optional=True,
        )
    ]
)
