"""What labels of the data are called in the bundle, where both call them by other names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bert_export.datasets.opening import read_text
from bert_export.errors import InputError, shown
from bert_export.tasks import Task

__all__ = ["LabelMap", "join_label_maps", "plain_label_map", "read_label_map"]

LabelMap = Mapping[Any, Any] | str | Path
"""The bundle's name or id by the data's, or a file that says so."""

_MAPPED = ("label", "labels", "tags")


def join_label_maps(texts: Iterable[str]) -> dict[str, str]:
    """The label maps of a command line as one; later ones count.

    Args:
        texts: ``OLD=NEW``, or the name of a file, see :func:`read_label_map`.

    Raises:
        InputError: A file holds no label map.
        DatasetError: A file cannot be read.
    """
    joined: dict[str, str] = {}
    for text in texts:
        if "=" in text:
            old, _, new = text.partition("=")
            joined |= _checked({old: new}, f"label map {text}")
        else:
            joined |= _read_file(Path(text))
    return joined


def plain_label_map(label_map: LabelMap | None) -> dict[str, str]:
    """A label map in plain text, whatever task it is for; see :func:`read_label_map`."""
    if label_map is None:
        return {}
    if isinstance(label_map, Mapping):
        return _checked(label_map, "label map")
    return _read_file(Path(label_map))


def read_label_map(task: Task, label_map: LabelMap | None) -> dict[str, str]:
    """A label map in plain text.

    Args:
        task: The task whose labels are read.
        label_map: The bundle's label by the data's, each a name or an id. Or a file: a JSON object,
            or a line ``OLD=NEW`` for each label, where lines that begin with ``#`` do not count.

    Raises:
        InputError: The map is malformed, or the task has no labels that could be mapped.
        DatasetError: The file cannot be read.
    """
    names = plain_label_map(label_map)
    if names and not set(_MAPPED) & set(task.optional):
        raise InputError(
            f"label map has no use for {task.name}",
            expected="a task whose labels have names",
            got=", ".join(names),
        )
    return names


def _read_file(path: Path) -> dict[str, str]:
    text = read_text(path)
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"label map {path} is malformed", expected="a JSON object", got=error
            ) from error
        return _checked(value, f"label map {path}")
    lines = [line.strip() for line in text.split("\n")]
    names: dict[str, str] = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        old, found, new = line.partition("=")
        if not found:
            raise InputError(
                f"label map {path} is malformed",
                expected="a JSON object, or OLD=NEW a line",
                got=shown(line),
            )
        names |= _checked({old: new}, f"label map {path}")
    return names


def _checked(names: Mapping[Any, Any], shown_as: str) -> dict[str, str]:
    """Both sides as text without white space around it."""
    plain: dict[str, str] = {}
    for old, new in names.items():
        for side in (old, new):
            if not isinstance(side, str | int) or isinstance(side, bool) or not str(side).strip():
                raise InputError(
                    f"{shown_as} is malformed",
                    expected="OLD=NEW, each a name or an id",
                    got=f"{shown(old)}={shown(new)}",
                )
        plain[str(old).strip()] = str(new).strip()
    return plain
