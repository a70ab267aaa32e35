"""What the demonstrations know, a line each: in the help of ``export`` and below the tasks."""

from __future__ import annotations

from bert_export.demonstration_table import find_demonstrations

__all__ = ["demonstration_lines"]


def demonstration_lines() -> str:
    """A heading and a line per demonstration; click keeps the lines as they are."""
    demonstrations = find_demonstrations()
    width = max(len(one.name) for one in demonstrations) + len("demo:")
    lines = [f"{f'demo:{one.name}':<{width}}  {one.summary}" for one in demonstrations]
    return "\n".join(["\b", "Demonstrations:", *lines])
