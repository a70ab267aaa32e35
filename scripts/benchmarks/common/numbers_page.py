"""``scripts/NUMBERS.md``: every benchmark replaces its own sections of the page.

A section is what one run says of one part of a benchmark on one kind of processor. It stands
between two markers, which are its name, and a run replaces it whole; other parts, and what was
measured on other kinds of processor, stay as they are. What stands outside of all markers is
written by hand.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_export.bundle import write_whole
from scripts.benchmarks.common.report import Cell, Report, Section, cell_text

__all__ = ["Place", "replace_section", "section_text", "typed_command", "write_numbers"]

_SECTION = re.compile(r"<!-- begin (?P<place>[^>]+?) -->\n.*?<!-- end (?P=place) -->\n", re.DOTALL)
_PRIVATE = ("--write", "--reuse", "--strict")
_PRIVATE_WITH_VALUE = ("--json", "--work", "--python")


class Place(NamedTuple):
    """Names a section: the benchmark, the part of it, and the kind of processor."""

    benchmark: str
    part: str
    processor: str

    def __str__(self) -> str:
        return " / ".join(self)


def write_numbers(page: Path, report: Report, command: str) -> None:
    """Put a report's tables into their places.

    Args:
        page: The Markdown file.
        report: The outcome of a run.
        command: That made it.
    """
    text = page.read_text(encoding="utf-8")
    for part, sections in _by_part(report.sections).items():
        place = Place(report.benchmark, part, str(report.machine["processor"]))
        text = replace_section(text, place, section_text(part, sections, report, command))
    write_whole(page, text.encode())


def replace_section(text: str, place: Place, content: str) -> str:
    """The page with a section replaced, or added behind its nearest relative.

    That is the last section of the same part, else the last of the same benchmark, else the end of
    the page.

    Args:
        text: The page.
        place: Of the section.
        content: Markdown, without markers.
    """
    section = f"<!-- begin {place} -->\n{content.strip()}\n<!-- end {place} -->\n"
    matches = list(_SECTION.finditer(text))
    same = [match for match in matches if match["place"] == str(place)]
    if same:
        return text[: same[0].start()] + section + text[same[0].end() :]
    for known in (f"{place.benchmark} / {place.part} / ", f"{place.benchmark} / "):
        related = [match for match in matches if match["place"].startswith(known)]
        if related:
            end = related[-1].end()
            return f"{text[:end]}\n{section}{text[end:]}"
    return f"{text.rstrip()}\n\n## {place.benchmark}\n\n{section}"


def section_text(part: str, sections: Sequence[Section], report: Report, command: str) -> str:
    """The tables of one part: where, when and how they were measured, then the tables."""
    machine = report.machine
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    about = (
        f"{machine['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, "
        f"load {machine['load']} before; {settings}. `{command}`"
    )
    lines = [f"### {part}, {machine['processor']}", "", about]
    for section in sections:
        lines += ["", f"{section.title}:", "", *_markdown(section)]
        if section.notes:
            lines += ["", *section.notes]
    return "\n".join(lines)


def typed_command(script: str, arguments: Sequence[str]) -> str:
    """The command as a reader can type it: without what is of this machine alone.

    Args:
        script: Path of the script in the checkout.
        arguments: As typed.
    """
    shown: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, _, value = argument.partition("=")
        if name in _PRIVATE_WITH_VALUE:
            if not value:
                next(remaining, None)
        elif name not in _PRIVATE:
            folder = Path(argument)
            shown.append(folder.name if folder.is_absolute() else argument)
    return shlex.join(["python", script, *shown])


def _by_part(sections: Sequence[Section]) -> dict[str, list[Section]]:
    """Those that are for the page, in their order."""
    parts: dict[str, list[Section]] = {}
    for section in sections:
        if section.part is not None:
            parts.setdefault(section.part, []).append(section)
    return parts


def _markdown(section: Section) -> list[str]:
    def line(cells: Sequence[Cell]) -> str:
        texts = (cell_text(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
        return f"| {' | '.join(texts)} |"

    numeric = [
        any(not isinstance(row[index], str | None) for row in section.rows)
        for index in range(len(section.header))
    ]
    rule = [("---:" if is_numeric else "---") for is_numeric in numeric]
    return [line(section.header), line(rule), *map(line, section.rows)]
