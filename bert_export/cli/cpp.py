"""``bert-export cpp``: the C++ runtime, for services in C++ and for Python."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bert_export.cli.console import errors_on_one_line, print_json, stderr, stdout
from bert_export.cli.option_groups import Command

__all__ = ["cpp_command"]


@click.command("cpp", cls=Command)
@click.option(
    "--cmakedir", is_flag=True, help="Print the folder for bert_export_DIR, as find_package wants."
)
@click.option("--sourcedir", is_flag=True, help="Print the folder for add_subdirectory.")
@click.option(
    "--build",
    "prefix",
    type=click.Path(path_type=Path, file_okay=False),
    help="Build the library and install it into this folder, which may be moved.",
)
@click.option("--native", is_flag=True, help="Compile the module that load() uses in Python.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def cpp_command(
    *,
    cmakedir: bool,
    sourcedir: bool,
    prefix: Path | None,
    native: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    r"""Say where the C++ runtime is, or build it with CMake and a C++17 compiler.

    \b
    Without building first:  cmake -S . -B build -Dbert_export_DIR=$(bert-export cpp --cmakedir)
    With an installed one:   bert-export cpp --build DIR, then -DCMAKE_PREFIX_PATH=DIR
    """
    if sum((cmakedir, sourcedir, prefix is not None, native)) != 1:
        raise click.UsageError(
            "Exactly one of --cmakedir, --sourcedir, --build DIR and --native is needed."
        )
    with errors_on_one_line():
        from bert_export.runtime import cpp_build

        if cmakedir or sourcedir:
            folder = cpp_build.cmake_folder() if cmakedir else cpp_build.SOURCES
            if as_json:
                print_json({"cmakedir" if cmakedir else "sourcedir": str(folder)})
            else:
                stdout.out(str(folder), highlight=False)
            return
        with _Steps(quiet=quiet or as_json) as steps:
            path = (
                cpp_build.build_module(advance=steps.advance)
                if prefix is None
                else cpp_build.build_library(prefix, advance=steps.advance)
            )
        if as_json:
            print_json({"built": str(path)})
        elif not quiet:
            stdout.print(f"built {path}")


class _Steps:
    """Draws CMake's steps on standard error.

    Args:
        quiet: Draws nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=stderr,
            transient=True,
            disable=quiet or not stderr.is_terminal,
        )
        self._row = self._progress.add_task("configure", total=100)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, step: str, percent: int) -> None:
        """Move the bar, which each step begins anew."""
        self._progress.update(self._row, description=step, completed=percent)
