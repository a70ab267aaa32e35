"""Label maps: pairs, mappings and files of either form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bert_export.datasets.label_map import join_label_maps, read_label_map
from bert_export.errors import DatasetError, InputError
from bert_export.tasks import find_task

TASK = find_task("text-classification")


@pytest.mark.parametrize(
    "text",
    [
        '{"pos": "POSITIVE", "0": 1}',
        ' {"pos": "POSITIVE",\n "0": "1"}\n',
        "# ours = theirs\npos = POSITIVE\r\n\n0=1",
    ],
)
def test_files(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    expected = {"pos": "POSITIVE", "0": "1"}
    assert read_label_map(TASK, path) == read_label_map(TASK, str(path)) == expected
    assert join_label_maps([str(path), "0=2", "a=b=c"]) == {**expected, "0": "2", "a": "b=c"}


def test_mappings() -> None:
    assert read_label_map(TASK, None) == read_label_map(TASK, {}) == {}
    assert read_label_map(TASK, {1: "pos", "neg ": 0}) == {"1": "pos", "neg": "0"}


@pytest.mark.parametrize(
    "label_map", [{"a": ""}, {"": "a"}, {"a": None}, {"a": True}, {"a": ["b"]}, {1.5: "a"}]
)
def test_malformed_mappings_are_refused(label_map: dict[Any, Any]) -> None:
    with pytest.raises(InputError, match="label map is malformed: expected OLD=NEW"):
        read_label_map(TASK, label_map)


def test_malformed_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels"
    for text, message in (("{", "expected a JSON object"), ("a b", "OLD=NEW a line, got 'a b'")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            join_label_maps([str(path)])
    with pytest.raises(InputError, match="=b is malformed: expected OLD=NEW"):
        join_label_maps(["=b"])
    with pytest.raises(DatasetError, match="none cannot be read"):
        join_label_maps([str(tmp_path / "none")])


def test_tasks_without_names_of_labels_have_no_use_for_one() -> None:
    with pytest.raises(InputError, match="label map has no use for fill-mask"):
        read_label_map(find_task("fill-mask"), {"a": "b"})
