"""Labels of the data as labels of the bundle, which may call them otherwise.

A label is a name, or an id, be it as text. What is not the same but fits one label alone, as a name
in another letter case does, is matched and said in a note; what fits none is an error that names
the labels of both sides, unless a label map says what to make of it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, InputError, nearest, plain, shown, suggestion

__all__ = [
    "OUTSIDE",
    "LabelReader",
    "Notes",
    "TagReader",
    "quoted",
    "same_but_for_case",
    "split_tag",
    "unknown_label",
    "whole_number",
]

OUTSIDE = "O"
"""The tag of a word that belongs to no entity."""

_ID = re.compile(r"\s*\d{1,18}(\.0*)?\s*")  # some tools write ids as 1.0
_GENERIC = re.compile(r"LABEL_\d+")
_TAG = re.compile(r"([BIESLUM])-(.+)", re.DOTALL)
_SHOWN = 10


@dataclass(slots=True)
class Notes:
    """What was matched without being asked, for the user to see.

    Args:
        examples: By what was done, the data's label and the bundle's.
    """

    examples: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, what: str, label: object, match: str) -> None:
        """Note that a label of the data counts as one of the bundle.

        Args:
            what: Why it does, in words.
            label: The data's.
            match: The bundle's.
        """
        self.examples.setdefault(what, {})[str(label)] = match

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for everything that was done."""
        return tuple(
            f"labels {what}: "
            + ", ".join(f"{shown(old)} as {shown(new)}" for old, new in _some(pairs.items()))
            for what, pairs in self.examples.items()
        )


_CASE = "matched in another letter case"
_ID_TEXT = "that are ids as text count as ids"


class LabelReader:
    """Reads labels of a field as ids of the bundle's labels.

    Args:
        data: The records, with the names that their ids stand for and the label map.
        name: The field.
        labels: The bundle's labels, in id order.
        notes: Where what is matched without being asked is noted.

    Raises:
        InputError: The label map names a label that the bundle has not.
    """

    def __init__(self, data: DataSet, name: str, labels: Sequence[str], notes: Notes) -> None:
        self._data, self._name, self._labels, self._notes = data, name, tuple(labels), notes
        self._names = data.class_names.get(name, ())
        # Ids stand for the data's names, unless the bundle's labels have no names at all.
        self._by_name = bool(self._names) and not all(map(_GENERIC.fullmatch, self._labels))
        self._map = {old: self._target(old, new) for old, new in data.label_map.items()}

    def id(self, value: Any, place: str) -> int:
        """The bundle's id of a label.

        Args:
            value: A name, an id, or an id as text. An id stands for the name that the data has for
                it; where it has none, or where the bundle's labels are ``LABEL_0`` and so on, it is
                the bundle's.
            place: Place of the value, for errors.

        Raises:
            DatasetError: The bundle has no such label.
        """
        label_id = self._find(value)
        if label_id is None:
            raise unknown_label(
                self._named(value),
                place,
                known=self._labels,
                expected=f"{quoted(self._labels)}, or an id below {len(self._labels)}",
                used=data_labels(self._data, self._name),
            )
        return label_id

    def _find(self, value: Any) -> int | None:
        if str(value).strip() in self._map:
            return self._map[str(value).strip()]
        if isinstance(value, str) and (label_id := self._find_name(value)) is not None:
            return label_id
        number = whole_number(value)
        if number is None:
            return None
        if isinstance(value, str):
            self._notes.add(_ID_TEXT, value, str(number))
        if not self._by_name:
            return number if 0 <= number < len(self._labels) else None
        return self._find_name(self._names[number]) if 0 <= number < len(self._names) else None

    def _find_name(self, name: str) -> int | None:
        """The id of the label of that name, or of the only one that differs in case alone."""
        name = name.strip() if name not in self._labels else name
        if name in self._map:
            return self._map[name]
        if name in self._labels:
            return self._labels.index(name)
        match = same_but_for_case(name, self._labels)
        if match is None:
            return None
        self._notes.add(_CASE, name, match)
        return self._labels.index(match)

    def _named(self, value: Any) -> Any:
        """The name that the data has for an id, if it has one."""
        number = whole_number(value)
        if self._by_name and number is not None and 0 <= number < len(self._names):
            return self._names[number]
        return value

    def _target(self, old: str, new: str) -> int:
        """The id of the label that a label map names."""
        if new in self._labels:
            return self._labels.index(new)
        number = whole_number(new)
        if number is not None and number < len(self._labels):
            return number
        raise unknown_target(old, new, self._labels)


class TagReader:
    """Reads tags of words as tags of the bundle; a tag is a prefix such as ``B-`` and a type.

    The types are matched, whatever the prefixes are: ``B-PER``, ``I-PER`` and ``PER`` are of one
    type. ``O`` is no type, and may be where the bundle has none.

    Args:
        data: The records, with the names that their ids stand for and the label map. The map may
            name tags or types; a type that it maps to itself may be unknown to the bundle, and
            counts as never found.
        labels: The bundle's labels, in id order.
        notes: Where what is matched without being asked is noted.

    Raises:
        InputError: The label map names a tag or a type that the bundle has not.
    """

    def __init__(self, data: DataSet, labels: Sequence[str], notes: Notes) -> None:
        self._data, self._labels, self._notes = data, tuple(labels), notes
        self._names = data.class_names.get("tags", ())
        self._types = tuple(
            dict.fromkeys(split_tag(label)[1] for label in labels if label != OUTSIDE)
        )
        self._by_name = bool(self._names) and not all(map(_GENERIC.fullmatch, self._types))
        self._read: dict[Any, str] = {}
        known = {*self._labels, *self._types, OUTSIDE}
        for old, new in data.label_map.items():
            if new not in known and new != old and whole_number(new) is None:
                raise unknown_target(old, new, (OUTSIDE, *self._types))

    def tag(self, value: Any, place: str) -> str:
        """The tag as the bundle would give it, with the data's own prefix.

        Args:
            value: A tag or a type, or an id, be it as text. An id stands for the name that the data
                has for it; where it has none, it is the bundle's.
            place: Place of the value, for errors.

        Raises:
            DatasetError: The bundle has no such type.
        """
        if value not in self._read:
            tag = self._find(value)
            if tag is None:
                raise unknown_label(
                    self._named(value),
                    place,
                    known=self._types,
                    expected=f"{quoted((OUTSIDE, *self._types))}, with or without B- and the like, "
                    f"or an id below {len(self._names) or len(self._labels)}",
                    used=self._types_of_data(),
                    hint=", or map it to O to leave it out, to itself to count it as never found",
                )
            self._read[value] = tag
        return self._read[value]

    def _find(self, value: Any) -> str | None:
        mapped = self._mapped(str(value).strip())
        if mapped is not None:
            return mapped
        if isinstance(value, str) and (tag := self._find_name(value.strip())) is not None:
            return tag
        number = whole_number(value)
        if number is None:
            return None
        names = self._names if self._by_name else self._labels
        if not 0 <= number < len(names):
            return None
        if isinstance(value, str):
            self._notes.add(_ID_TEXT, value, names[number])
        return self._mapped(names[number]) or self._find_name(names[number])

    def _mapped(self, name: str) -> str | None:
        """What the label map makes of a tag, or of its type."""
        prefix, kind = split_tag(name)
        for old, own_prefix in ((name, ""), (kind, prefix)):
            if old in self._data.label_map:
                new = self._data.label_map[old]
                number = whole_number(new) if new not in self._labels else None
                if number is not None and number < len(self._labels):
                    new = self._labels[number]
                if new == OUTSIDE or split_tag(new)[0]:
                    return new
                return f"{own_prefix or prefix}{new}"
        return None

    def _find_name(self, name: str) -> str | None:
        if name in self._labels or name == OUTSIDE:
            return name
        prefix, kind = split_tag(name)
        if kind in self._types:
            return f"{prefix}{kind}"
        match = same_but_for_case(kind, (*self._types, OUTSIDE))
        if match is None:
            return None
        self._notes.add(_CASE, kind, match)
        return OUTSIDE if match == OUTSIDE else f"{prefix}{match}"

    def _named(self, value: Any) -> Any:
        number = whole_number(value)
        if self._by_name and number is not None and 0 <= number < len(self._names):
            value = self._names[number]
        return split_tag(value)[1] if isinstance(value, str) else value

    def _types_of_data(self) -> list[Any]:
        used = data_labels(self._data, "tags")
        return list(dict.fromkeys(self._named(value) for value in used if value != OUTSIDE))


def split_tag(tag: str) -> tuple[str, str]:
    """The prefix of a tag with its hyphen, empty if it has none, and its type."""
    match = _TAG.fullmatch(tag)
    return (f"{match[1]}-", match[2]) if match else ("", tag)


def whole_number(value: Any) -> int | None:
    """The id that a value is in one of the forms that tools write; ``None`` if it is none."""
    if isinstance(value, str) and _ID.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, int) else None


def same_but_for_case(name: str, known: Iterable[str]) -> str | None:
    """The only known name that differs in letter case alone; ``None`` if there is not one."""
    matches = [one for one in known if one.casefold() == name.casefold()]
    return matches[0] if len(matches) == 1 else None


def data_labels(data: DataSet, name: str) -> list[Any]:
    """The distinct labels of the data, in the order of the records."""
    labels: dict[Any, None] = {}
    for record in data.records:
        value = record.get(name)
        labels |= dict.fromkeys(value if isinstance(value, list) else [value])
    labels.pop(None, None)
    names = data.class_names.get(name, ())
    return [
        names[label] if isinstance(label, int) and 0 <= label < len(names) else label
        for label in labels
    ]


def unknown_label(
    value: Any,
    place: str,
    *,
    known: Sequence[str],
    expected: str,
    used: Sequence[Any],
    hint: str = "",
) -> DatasetError:
    """The error of a label that the bundle has not, with the labels of both sides.

    Args:
        value: The label.
        place: Place of the label.
        known: The bundle's labels.
        expected: What would be right, in words.
        used: The labels of the data.
        hint: What else a label map can do.
    """
    name = str(value)
    pair = shlex.quote(f"{plain(name)}={nearest(name, known) or 'LABEL'}")
    fix = f"{suggestion(name, known) or ''} Pass --label-map {pair}{hint}"
    return DatasetError(
        f"{place} is no label of the bundle",
        expected=expected,
        got=f"{shown(value)}, where the labels of the data are {quoted(used)}",
        fix=fix.strip(),
    )


def unknown_target(old: str, new: str, known: Sequence[str]) -> InputError:
    """The error of a label map that leads to a label which the bundle has not."""
    return InputError(
        f"label map {old}={new} leads to no label of the bundle",
        expected=f"{quoted(known)}, or an id",
        got=repr(new),
        fix=suggestion(new, known),
    )


def quoted(labels: Sequence[Any]) -> str:
    """Labels as an error shows them: some, with the number of the others."""
    text = ", ".join(str(label) for label in labels[:_SHOWN])
    more = len(labels) - _SHOWN
    return f"{text} and {more} more" if more > 0 else text


def _some(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for index, pair in enumerate(pairs):
        if index == _SHOWN:
            return
        yield pair
