"""Scorers of answers that are one of a few: a choice, a verdict, a label of the record's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, nearest, shown, suggestion
from bert_export.evaluation.labels import (
    Notes,
    quoted,
    same_but_for_case,
    whole_number,
)
from bert_export.evaluation.scorer import Answered, Scorer, gold_labels

__all__ = ["ChoiceScorer", "NextSentenceScorer", "ZeroShotScorer", "gold_verdicts"]

_VERDICTS = {
    **dict.fromkeys(("1", "true", "yes", "isnext", "is_next", "next"), True),
    **dict.fromkeys(("0", "false", "no", "notnext", "not_next", "random"), False),
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class ChoiceScorer(Scorer):
    """Which of a record's choices is right; the label is its index, its letter or its text."""

    agreement_kind = "share of equal choices"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[int] | None:
        return _gold_of_own(data, "choices", _find_choice, notes)

    def answer(self, answered: Answered) -> int:
        return int(answered.decoded["choice"])


class NextSentenceScorer(Scorer):
    """Whether the second text follows the first; the label is 1 if it does, else 0."""

    agreement_kind = "share of equal verdicts"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[bool] | None:
        return gold_verdicts(data, notes)

    def answer(self, answered: Answered) -> bool:
        return bool(answered.decoded["is_next"])


class ZeroShotScorer(Scorer):
    """Which of a record's candidate labels is right; the label is its name or index."""

    agreement_kind = "share of equal labels"

    def gold(self, labels: Sequence[str], data: DataSet, notes: Notes) -> list[str] | None:
        ids = _gold_of_own(data, "candidate_labels", _find_candidate, notes)
        if ids is None:
            return None
        return [
            str(record["candidate_labels"][index])
            for record, index in zip(data.records, ids, strict=True)
        ]

    def answer(self, answered: Answered) -> str:
        return str(answered.decoded["labels"][0])


def gold_verdicts(data: DataSet, notes: Notes) -> list[bool] | None:
    """Whether the second text of each record follows the first; ``None`` without labels.

    Args:
        data: The records, whose labels are 1 or 0, or words such as ``isNext`` and ``notNext``.
        notes: Where words are noted.

    Raises:
        DatasetError: A label is none of them.
    """

    def read(value: Any, place: str) -> bool:
        name = data.label_map.get(str(value).strip(), str(value).strip())
        verdict = _VERDICTS.get(name.casefold())
        if verdict is None:
            raise DatasetError(
                f"{place} is wrong",
                expected="1 (it follows) or 0 (it does not)",
                got=shown(value),
                fix=f"Pass --label-map {shown(name)}=1 or =0 if it is a name for one of them",
            )
        if isinstance(value, str) and name not in ("0", "1"):
            notes.add("that are words count as verdicts", value, str(int(verdict)))
        return verdict

    return gold_labels(data, "label", read)


def _gold_of_own(
    data: DataSet,
    field: str,
    find: Callable[[str, Sequence[str], Notes], int | None],
    notes: Notes,
) -> list[int] | None:
    """The index of each record's label among what the record itself has to choose from.

    Args:
        data: The records.
        field: Of what is chosen from.
        find: Finds a label that is no index; ``None`` if it is none of them.
        notes: Where it is noted what is matched without being asked.

    Raises:
        DatasetError: A label is none of them.
    """
    options = iter([record[field] for record in data.records])
    class_names = data.class_names.get("label", ())

    def read(value: Any, place: str) -> int:
        own = next(options)
        number = whole_number(value)
        if number is not None and 0 <= number < len(class_names) and not isinstance(value, str):
            value = class_names[number]
        name = str(data.label_map.get(str(value).strip(), value))
        index = find(name, own, notes)
        if index is None:
            index = whole_number(name)
        if index is None or not 0 <= index < len(own):
            match = nearest(name, own)
            raise DatasetError(
                f"{place} is none of its {field}",
                expected=f"{quoted(own)}, or an index below {len(own)}",
                got=shown(value),
                fix=f"{suggestion(name, own)} Pass --label-map {shown(name)}={match}"
                if match
                else None,
            )
        return index

    return gold_labels(data, "label", read)


def _find_candidate(name: str, candidates: Sequence[str], notes: Notes) -> int | None:
    if name in candidates:
        return candidates.index(name)
    match = same_but_for_case(name.strip(), candidates)
    if match is None:
        return None
    if match != name.strip():
        notes.add("matched in another letter case", name, match)
    return candidates.index(match)


def _find_choice(name: str, choices: Sequence[str], notes: Notes) -> int | None:
    if whole_number(name) is not None:  # an index, also where the choices are numbers
        return None
    if list(choices).count(name) == 1:
        return choices.index(name)
    index = _LETTERS.find(name.strip().upper()) if len(name.strip()) == 1 else -1
    if not 0 <= index < len(choices):
        return None
    notes.add("that are letters count from A", name, str(index))
    return index
