"""Data files of every kind: equal records from each, errors that name file, row and field."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.datasets import DataSet, read_dataset
from bert_export.datasets.fields import FIELDS
from bert_export.errors import DatasetError
from bert_export.tasks import TASKS, find_task

RECORDS: Mapping[str, Sequence[dict[str, Any]]] = {
    "text-classification": [
        {"text": "good, “very” good", "label": "yes"},
        {"text": 'a "quoted"\u2028line', "text_pair": "pair", "label": 1},
    ],
    "token-classification": [{"tokens": ["New", "York"], "tags": ["B-x", "I-x"]}, {"text": "a"}],
    "question-answering": [
        {"question": "q", "context": "c d", "answers": {"text": ["d"], "answer_start": [2]}},
        {"question": "q", "context": "c d", "answers": {"text": [], "answer_start": []}},
    ],
    "multiple-choice": [{"prompt": "p", "choices": ["a", "b"], "label": 1}],
    "zero-shot-classification": [{"text": "t", "candidate_labels": ["a", "b"], "label": "b"}],
    "sentence-embedding": [{"text": "a", "text_pair": "b", "score": 3.5}, {"text": "alone"}],
    "fill-mask": [{"text": "the [MASK] sat"}],
    "text2text-generation": [{"text": "the cat sat", "summary": "a cat"}, {"text": "alone"}],
}


def test_every_field_of_every_task_can_be_read() -> None:
    named = {name for task in TASKS.values() for name in (*task.required, *task.optional)}
    assert named <= FIELDS.keys()


def write_jsonl(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    text = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    path.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    columns = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(columns)
    for record in records:
        cells = (record.get(name) for name in columns)
        writer.writerow(
            [
                json.dumps(cell) if isinstance(cell, list | dict) else "" if cell is None else cell
                for cell in cells
            ]
        )
    path.write_text(stream.getvalue(), encoding="utf-8")
    return path


def write_parquet(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(uniform(records)), path)
    return path


def uniform(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every record with every column, labels of one type: what a table can hold."""
    columns = dict.fromkeys(name for record in records for name in record)
    rows = [{name: record.get(name) for name in columns} for record in records]
    for row in rows:
        if "label" in row and any(isinstance(other.get("label"), str) for other in records):
            row["label"] = str(row["label"])
    return rows


def write_saved(folder: Path, records: Sequence[Mapping[str, Any]], *, parts: int = 1) -> Path:
    """What ``Dataset.save_to_disk`` writes."""
    pyarrow = pytest.importorskip("pyarrow")
    folder.mkdir()
    table = pyarrow.Table.from_pylist(uniform(records))
    names = [f"data-{part:05}-of-{parts:05}.arrow" for part in range(parts)]
    size = -(-len(records) // parts)
    for part, name in enumerate(names):
        rows = table.slice(part * size, size)
        with (
            pyarrow.OSFile(str(folder / name), "wb") as file,
            pyarrow.ipc.new_stream(file, table.schema) as stream,
        ):
            stream.write_table(rows)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "test"}
    (folder / r"state.json").write_text(json.dumps(state), encoding="utf-8")
    info = {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return folder


@pytest.mark.parametrize("task", sorted(RECORDS))
def test_every_kind_of_file_gives_the_same_records(task: str, tmp_path: Path) -> None:
    records = RECORDS[task]
    for path in (
        write_jsonl(tmp_path / "a.jsonl", records),
        write_csv(tmp_path / "a.csv", records),
        write_parquet(tmp_path / "a.parquet", records),
        write_saved(tmp_path / "saved", records),
    ):
        dataset = read_dataset(find_task(task), path)
        assert len(dataset) == len(records)
        for read, written in zip(dataset.records, records, strict=True):
            assert read.keys() == written.keys()
            for name, value in written.items():
                assert str(read[name]) == str(value), (path, name)


def test_places_and_hash_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two", "id": 7}\r\n', encoding="utf-8-sig")
    dataset = read_dataset(find_task("fill-mask"), path)
    assert dataset == DataSet(
        str(path),
        hashlib.sha256(path.read_bytes()).hexdigest(),
        ({"text": "one"}, {"text": "two"}),
        ("line 1", "line 3"),
        columns=("text", "id"),
    )
    assert dataset.place(1) == f"{path} line 3"


def test_a_saved_directory_has_parts_names_and_one_hash(tmp_path: Path) -> None:
    records = [{"text": str(number), "label": number % 2} for number in range(7)]
    task = find_task("text-classification")
    dataset = read_dataset(task, write_saved(tmp_path / "saved", records, parts=3))
    assert [record["text"] for record in dataset.records] == list("0123456")
    assert dataset.places == tuple(f"row {number}" for number in range(1, 8))
    assert dataset.class_names == {"label": ("no", "yes")}
    again = read_dataset(task, write_saved(tmp_path / "again", records, parts=3))
    assert again.sha256 == dataset.sha256
    (tmp_path / "again" / "dataset_info.json").write_text("{}", encoding="utf-8")
    assert read_dataset(task, tmp_path / "again").sha256 != dataset.sha256


def test_class_names_of_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"tokens": [["a"]], "tags": [[1]]})
    feature = {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "Sequence"}
    note = json.dumps({"info": {"features": {"tags": feature}}})
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": note}), tmp_path / "a.parquet"
    )
    dataset = read_dataset(find_task("token-classification"), tmp_path / "a.parquet")
    assert dataset.class_names == {"tags": ("O", "B-x")}
    assert dataset.records == ({"tokens": ["a"], "tags": [1]},)


def test_running_text_becomes_pairs(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("\n".join(f"passage {number}" for number in range(41)), encoding="utf-8")
    dataset = read_dataset(find_task("pretraining"), path)
    assert dataset == read_dataset(find_task("pretraining"), path)
    assert len(dataset) == 20
    assert sum(record["label"] for record in dataset.records) == 10
    for index, record in enumerate(dataset.records):
        assert record["text"] == f"passage {2 * index}"
        follows = record["text_pair"] == f"passage {2 * index + 1}"
        assert follows == bool(record["label"])
        assert record["text_pair"] != record["text"]


MALFORMED = [
    ("fill-mask", "a.txt", b"", "a.txt is empty: expected at least one example"),
    ("fill-mask", "a.tsvx", b"text", r"is of an unknown kind: .* Did you mean .\.tsv.\?"),
    ("next-sentence-prediction", "a.TXT", b"one", "expected at least two lines, which make a pair"),
    ("fill-mask", "a.jsonl", rb'{"text":"a"}' + b"\n" + rb'{"text":"\ud83d"}', "line 2 field text"),
    ("multiple-choice", "a.jsonl", rb'{"prompt":"p","choices":["\ud83d"]}', "valid Unicode"),
    ("fill-mask", "none.csv", None, "cannot be read"),
    ("fill-mask", "a.txt", b"\xff\xfe\x00", "cannot be read: expected a UTF-8 text file"),
    ("fill-mask", "a.jsonl", b"{", "line 1 is not JSON"),
    ("fill-mask", "a.jsonl", b'["text"]', "line 1 is no object"),
    ("fill-mask", "a.jsonl", b'{"text":"a"}\n{"txt":"b"}', "line 2 does not fit fill-mask"),
    ("fill-mask", "a.jsonl", b'{"text": 3}', "line 1 field text is wrong: expected a string"),
    ("fill-mask", "a.csv", b"txt\na", "row 1 does not fit fill-mask: expected text, got txt"),
    ("fill-mask", "a.csv", b"text,b\na", "row 1 does not fit the header: expected 2 cells"),
    ("fill-mask", "a.csv", b"text,text\na,b", "names a column twice"),
    ("fill-mask", "a.csv", b"text,text,,\na,b,,", "names a column twice"),
    ("fill-mask", "a.csv", b'text\n"a', "row 1 is malformed"),
    ("fill-mask", "a.parquet", b"PAR1", "cannot be read: expected a Parquet or Arrow file"),
    ("question-answering", "a.txt", b"one", "expected question, context, got text"),
    ("question-answering", "a.csv", b"question,context,answers\nq,c,x", "field answers is wrong"),
    ("token-classification", "a.jsonl", b"{}", "got an empty object"),
    ("token-classification", "a.jsonl", b'{"tokens":["a"],"tags":[]}', "expected 1 tags"),
    ("token-classification", "a.jsonl", b'{"text":"a","tags":["O"]}', "field tags does not fit"),
    ("token-classification", "a.jsonl", b'{"tokens":"a b"}', "field tokens is wrong"),
    ("multiple-choice", "a.jsonl", b'{"prompt":"p","choices":[]}', "field choices is wrong"),
    ("sentence-embedding", "a.jsonl", b'{"text":"a","score":"high"}', "expected a finite number"),
    ("sentence-embedding", "a.jsonl", b'{"text":"a","score":NaN}', "expected a finite number"),
]


@pytest.mark.parametrize(
    "text", ["\n\ntext,label\na,b\n", "text,label,,\na,b,,\n", "\ufefftext,label\r\n\r\na,b\r\n"]
)
def test_what_spreadsheets_add_is_ignored(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    dataset = read_dataset(find_task("text-classification"), tmp_path / "a.csv")
    assert dataset.records == ({"text": "a", "label": "b"},)


def test_a_cell_may_be_a_whole_document(tmp_path: Path) -> None:
    text = "a, b " * 50_000
    (tmp_path / "a.csv").write_text(f'text\n"{text}"\n', encoding="utf-8")
    dataset = read_dataset(find_task("fill-mask"), tmp_path / "a.csv")
    assert dataset.records[0]["text"] == text


@pytest.mark.parametrize(("task", "name", "data", "message"), MALFORMED)
def test_a_malformed_file_is_named(
    task: str, name: str, data: bytes | None, message: str, tmp_path: Path
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(find_task(task), tmp_path / name)
    assert name in str(caught.value)


def test_a_malformed_directory_is_named(tmp_path: Path) -> None:
    task = find_task("fill-mask")
    with pytest.raises(DatasetError, match=r"is no saved data set: expected state\.json"):
        read_dataset(task, tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"Pass one of its splits, such as .*/train"):
        read_dataset(task, tmp_path)
    for state in ("[]", '{"_data_files": []}', '{"_data_files": [{"filename": "../a"}]}'):
        (tmp_path / r"state.json").write_text(state, encoding="utf-8")
        with pytest.raises(DatasetError, match=r"malformed state\.json"):
            read_dataset(task, tmp_path)
    state = '{"_data_files": [{"filename": "a.arrow"}]}'
    (tmp_path / r"state.json").write_text(state, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"a\.arrow cannot be read"):
        read_dataset(task, tmp_path)
    (tmp_path / "a.arrow").write_bytes(b"\xff\xff\xff\xff\x10\x00\x00\x00garbage")
    with pytest.raises(DatasetError, match=r"a\.arrow cannot be read"):
        read_dataset(task, tmp_path)


def test_a_table_without_columns_of_the_task_says_what_it_has(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", [{"sentence": "a", "idx": 1}])
    with pytest.raises(DatasetError, match="expected text, got sentence, idx"):
        read_dataset(find_task("fill-mask"), path)


@given(data=st.binary(max_size=200), suffix=st.sampled_from([".jsonl", ".csv", ".txt", ".parquet"]))
def test_no_file_content_breaks_the_reader(
    data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"a{suffix}"
    path.write_bytes(data)
    try:
        dataset = read_dataset(find_task("fill-mask"), path)
    except DatasetError as error:
        assert path.name in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert all(isinstance(record["text"], str) for record in dataset.records)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    row=st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES),
    task=st.sampled_from(sorted(TASKS)),
)
def test_no_value_breaks_the_fields(
    row: dict[str, Any], task: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    try:
        (record,) = read_dataset(find_task(task), path).records
    except DatasetError as error:
        assert "line 1" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert record.keys() <= row.keys()


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from bert_export.datasets import read_dataset\n"
        "from bert_export.tasks import find_task\n"
        f"read_dataset(find_task('fill-mask'), {str(tmp_path / 'a.parquet')!r})"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "MissingExtraError" in finished.stderr
    assert "pip install 'bert-export[data]'" in finished.stderr
