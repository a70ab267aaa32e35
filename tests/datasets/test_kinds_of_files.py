"""Files as people have them, also gzipped: read alike, within bounds, or refused by place."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_export.datasets import opening, read_dataset
from bert_export.datasets.formats import TEXT_FORMATS
from bert_export.errors import DatasetError
from bert_export.tasks import find_task

CLASSIFICATION = find_task("text-classification")
TAGGING = find_task("token-classification")
ANSWERING = find_task("question-answering")
RECORDS = [{"text": "play “jazz”", "label": "PlayMusic"}, {"text": "book it", "label": "Book"}]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
COLUMNS = {name: [record[name] for record in RECORDS] for name in ("text", "label")}
ROWS = [list(record.values()) for record in RECORDS]
CONTENTS: Mapping[str, str] = {
    "lines.jsonl": LINES,
    "lines.ndjson": LINES,
    "lines.json": LINES,
    "list.json": json.dumps(RECORDS),
    "indented.json": json.dumps(RECORDS, indent=1),
    "data.json": json.dumps({"version": "1", "data": RECORDS}, indent=1),
    "columns.json": json.dumps(COLUMNS),
    "by_index.json": json.dumps(
        {name: dict(enumerate(column)) for name, column in COLUMNS.items()}
    ),
    "split.json": json.dumps({"columns": ["text", "label"], "index": [0, 1], "data": ROWS}),
    "a.csv": "text,label\n" + "".join(",".join(row) + "\n" for row in ROWS),
    "mac.csv": "\r".join(["text,label", *(",".join(row) for row in ROWS)]),
    "a.tsv": "text\tlabel\r\n" + "".join("\t".join(row) + "\r\n" for row in ROWS),
}


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", ["", ".gz", ".GZ"])
@pytest.mark.parametrize("name", sorted(CONTENTS))
def test_every_kind_gives_the_same_records(name: str, suffix: str, tmp_path: Path) -> None:
    content = CONTENTS[name].encode()
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    assert list(map(dict, read_dataset(CLASSIFICATION, path).records)) == RECORDS


def test_a_single_record_is_no_table(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", json.dumps(RECORDS[0], indent=2))
    assert list(read_dataset(CLASSIFICATION, path).records) == RECORDS[:1]
    words = {"tokens": ["New", "York"], "tags": ["B-x", "I-x"]}
    path = write(tmp_path / "b.json", json.dumps(words))
    assert list(read_dataset(TAGGING, path).records) == [words]
    path = write(tmp_path / "c.json", json.dumps({name: [value] for name, value in words.items()}))
    assert list(read_dataset(TAGGING, path).records) == [words]


def test_squad_is_flattened(tmp_path: Path) -> None:
    answers = [{"text": "1958", "answer_start": 23}, {"text": "in 1958", "answer_start": 20}]
    squad = {
        "version": "v2.0",
        "data": [
            {
                "title": "Cables",
                "paragraphs": [
                    {
                        "context": "The cable was laid in 1958.",
                        "qas": [
                            {"question": "When?", "id": "1", "answers": answers},
                            {
                                "question": "Why?",
                                "id": "2",
                                "is_impossible": True,
                                "answers": [],
                                "plausible_answers": answers,
                            },
                        ],
                    },
                ],
            },
        ],
    }
    data = read_dataset(ANSWERING, write(tmp_path / "dev.json", json.dumps(squad, indent=1)))
    context = "The cable was laid in 1958."
    flat = {"text": ["1958", "in 1958"], "answer_start": [23, 20]}
    assert data.records == (
        {"question": "When?", "context": context, "answers": flat},
        {"question": "Why?", "context": context, "answers": {"text": [], "answer_start": []}},
    )
    assert data.places == ("record 1", "record 2")


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"quoted" at its start', '"quoted" at its start'),
        ('it ends in "quotes"', 'it ends in "quotes"'),
        ('"all of it"', "all of it"),
        ('"he said ""no"" twice"', 'he said "no" twice'),
        ('"a" and "b"', '"a" and "b"'),
        ('"', '"'),
        ("a, b", "a, b"),
        ('"a\t""b"""', 'a\t"b"'),
    ],
)
def test_quotes_of_tables_between_tabs(cell: str, text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", f"text\tlabel\n{cell}\tx\n")
    assert read_dataset(CLASSIFICATION, path).records == ({"text": text, "label": "x"},)


CONLL = """-DOCSTART- -X- -X- O

# id = 7
EU NNP B-NP B-ORG
rejects VBZ B-VP O

#hashtag NN B-NP O
# a comment
# NN B-NP O
Peter NNP B-NP B-PER
"""


@pytest.mark.parametrize("name", ["a.conll", "a.bio", "a.iob", "a.txt", "a.txt.gz", "a.conll.gz"])
def test_sentences_of_words_in_columns(name: str, tmp_path: Path) -> None:
    data = read_dataset(TAGGING, write(tmp_path / name, CONLL))
    assert data.records == (
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["#hashtag", "#", "Peter"], "tags": ["O", "O", "B-PER"]},
    )
    assert data.places == ("line 4", "line 7")


def test_columns_between_tabs_keep_their_spaces(tmp_path: Path) -> None:
    text = "#\tO\r\nNew\u00a0York\tB-loc\r\nRio Grande\tI-loc\r\n\r\n\r\nok\tO"
    for name in ("a.tsv", "a.txt", "a.conll"):
        data = read_dataset(TAGGING, write(tmp_path / name, text))
        assert data.records == (
            {"tokens": ["#", "New\u00a0York", "Rio Grande"], "tags": ["O", "B-loc", "I-loc"]},
            {"tokens": ["ok"], "tags": ["O"]},
        )


def test_tags_need_no_prefix_and_words_no_tags(tmp_path: Path) -> None:
    data = read_dataset(TAGGING, write(tmp_path / "a.conll", "EU ORG\nrejects O\n\n"))
    assert data.records == ({"tokens": ["EU", "rejects"], "tags": ["ORG", "O"]},)
    data = read_dataset(TAGGING, write(tmp_path / "a.bio", "EU\nrejects\n\nit"))
    assert data.records == ({"tokens": ["EU", "rejects"]}, {"tokens": ["it"]})


def test_plain_text_stays_plain(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "Ada met him.\n\nVitamin O\nis none.\n")
    assert [record["text"] for record in read_dataset(TAGGING, path).records] == [
        "Ada met him.", "Vitamin O", "is none.",
    ]  # fmt: skip
    path = write(tmp_path / "b.txt", CONLL)  # for another task every line is a text
    assert len(read_dataset(CLASSIFICATION, path)) == 8
    path = write(tmp_path / "c.tsv", "text\tlabel\na\tO\n")
    assert read_dataset(CLASSIFICATION, path).records == ({"text": "a", "label": "O"},)


def test_a_line_with_other_columns_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.conll", "EU NNP B-ORG\nit O\n")
    with pytest.raises(DatasetError, match=r"line 2 does not fit .* expected 3 columns.* got 2, "):
        read_dataset(TAGGING, path)


WORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=5).filter(
    lambda word: " " not in word and word != "-DOCSTART-" and word.strip() == word
)
SENTENCES = st.lists(
    st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-x", "I-x"])), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(sentences=SENTENCES, separator=st.sampled_from([" ", "\t", "  "]))
def test_what_is_written_in_columns_is_read(
    sentences: Sequence[Sequence[tuple[str, str]]],
    separator: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    text = "\n\n".join(
        "\n".join(separator.join(pair) for pair in sentence) for sentence in sentences
    )
    path = write(tmp_path_factory.mktemp("conll") / "a.txt", text)
    records = read_dataset(TAGGING, path).records
    assert [list(zip(record["tokens"], record["tags"], strict=True)) for record in records] == [
        list(sentence) for sentence in sentences
    ]


def test_ner_tags_are_tags(tmp_path: Path) -> None:
    lines = '{"tokens": ["EU"], "ner_tags": [3]}\n{"tokens": ["it"], "ner_tags": ["O"]}\n'
    data = read_dataset(TAGGING, write(tmp_path / "a.jsonl", lines))
    assert [record["tags"] for record in data.records] == [[3], ["O"]]
    both = '{"tokens": ["EU"], "ner_tags": [3], "tags": [1]}\n'
    data = read_dataset(TAGGING, write(tmp_path / "b.jsonl", both))
    assert data.records[0]["tags"] == [1]


def test_names_of_ner_tags_are_those_of_the_tags(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"tokens": [["a"]], "ner_tags": [[1]], "id": ["x"]})
    feature = {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "Sequence"}
    note = json.dumps({"info": {"features": {"ner_tags": feature}}})
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": note}), tmp_path / "a.parquet"
    )
    data = read_dataset(TAGGING, tmp_path / "a.parquet")
    assert data.class_names == {"tags": ("O", "B-x")}
    assert data.records == ({"tokens": ["a"], "tags": [1]},)
    assert data.columns == ("tokens", "ner_tags", "id")


def test_bytes_that_are_no_text_are_named_by_line_and_offset(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"text,label\nna\xefve,x\n")
    message = r"UTF-8 text file, got byte 0xef at 13 of the file, in line 2\. Convert it to UTF-8"
    with pytest.raises(DatasetError, match=message):
        read_dataset(CLASSIFICATION, path)
    path = write(tmp_path / "a.json", b'[{"text":\n"na\xefve"}]')
    with pytest.raises(DatasetError, match="byte 0xef at 13 of the file, in line 2"):
        read_dataset(CLASSIFICATION, path)
    for name, content, got in (
        ("a.txt", "text".encode("utf-16"), "UTF-16"),
        ("a.jsonl", gzip.compress(b"{}"), r"gzip data: end the name in \.gz"),
        ("b.csv", b"PK\x03\x04\xff", "a zip archive"),
    ):
        with pytest.raises(DatasetError, match=f"UTF-8 text file, got {got}"):
            read_dataset(CLASSIFICATION, write(tmp_path / name, content))


def test_damaged_gzip_files_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(LINES.encode() * 100)
    damaged = whole[:40] + bytes([whole[40] ^ 0xFF]) + whole[41:]
    for content in (whole[:-20], LINES.encode(), damaged, b""):
        (tmp_path / "a.jsonl.gz").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.jsonl\.gz"):
            read_dataset(CLASSIFICATION, tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.csv.gz", "a.tsv.gz", "a.json.gz"])
def test_a_gzip_bomb_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_FREE", 1 << 12)
    line = '{"text": "a", "label": "b"}\n' if ".json" in name else "text,text2\n"
    bomb = gzip.compress(b" " * (1 << 18) + line.encode() * 20_000)
    (tmp_path / name).write_bytes(bomb)
    with pytest.raises(DatasetError, match=r"unpacks to too much: expected at most .* MiB"):
        read_dataset(CLASSIFICATION, tmp_path / name)


@pytest.mark.parametrize("kind", sorted(TEXT_FORMATS))
def test_a_line_without_end_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "MOST_LINE", 1 << 20)
    monkeypatch.setattr(opening, "MOST_DOCUMENT", 1 << 20)
    with (tmp_path / f"a{kind}").open("wb") as file:
        file.truncate(1 << 40)  # a sparse file of a terabyte
    with pytest.raises(DatasetError, match="too l"):
        read_dataset(TAGGING, tmp_path / f"a{kind}")


def test_what_has_no_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    (tmp_path / "fifo.parquet").symlink_to(tmp_path / "a.jsonl")
    for name in ("a.jsonl", "zero.txt", "fifo.parquet"):
        with pytest.raises(DatasetError, match="expected a regular file, got a"):
            read_dataset(CLASSIFICATION, tmp_path / name)


def test_a_saved_data_set_with_an_endless_list_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset_info.json").write_text("{}")
    with (tmp_path / "state.json").open("wb") as file:
        file.truncate(1 << 40)  # a sparse file of a terabyte
    with pytest.raises(DatasetError, match=r"state\.json cannot be read: expected a JSON file"):
        read_dataset(CLASSIFICATION, tmp_path)


def test_data_that_does_not_fit_into_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bert_export.datasets.dataset._MOST_CHARACTERS", 1000)
    path = write(tmp_path / "a.txt", "a\n" * 100)
    with pytest.raises(DatasetError, match=r"a\.txt is too large: .* Take a sample of it"):
        read_dataset(CLASSIFICATION, path)


MALFORMED = [
    ("a.json", "[1, 2]", "record 1 is no object"),
    ("a.json", "3", "holds no records: expected a list of objects, .* got a JSON int"),
    ("a.json", '[{"text": "a"}', "is not JSON: expected a list of objects"),
    ("a.json", "[" * 100_000, "is not JSON"),
    ("a.json", '{"train": [{"text": "a"}]}', "expected text, got train"),
    ("a.json", '{"a": {"0": 1}, "b": {"1": 2}}', "expected text, got a, b"),
    ("a.json", "{}", "got an empty object"),
    ("a.json", "[]", "is empty"),
    ("a.json", LINES + "{", "line 3 is not JSON"),
    ("a.tsv", "text\tlabel\na\n", "row 1 does not fit the header: expected 2 cells"),
    ("a.tsv", 'text\tlabel\n"a\nb"\tx\n', r"got 1\. Write text of several lines to a \.csv"),
    ("a.tsv", "", "is empty"),
    ("a.parquet.gz", "", "is of an unknown kind"),
    ("a.gz", "", "is of an unknown kind"),
    ("a.jason", "", r"is of an unknown kind: .* Did you mean '\.json'\?"),
]


@pytest.mark.parametrize(("name", "content", "message"), MALFORMED)
def test_a_malformed_file_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read_dataset(CLASSIFICATION, write(tmp_path / name, content))
    assert name in str(caught.value)
    assert len(str(caught.value)) < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "columns", "text", "paragraphs", "qas", "context", "tokens"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=40)
@given(value=JSON, task=st.sampled_from([CLASSIFICATION, TAGGING, ANSWERING]))
def test_no_json_breaks_the_reader(
    value: Any, task: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("fuzz") / "a.json", json.dumps(value))
    try:
        data = read_dataset(task, path)
    except DatasetError as error:
        assert "a.json" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert len(data)


@settings(max_examples=50)
@given(data=st.binary(max_size=120), suffix=st.sampled_from(sorted(TEXT_FORMATS)))
def test_no_content_breaks_the_reader(
    data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    outcomes: list[Callable[[], object]] = []
    for name in (f"a{suffix}", f"a{suffix}.gz"):
        try:
            outcomes.append(read_dataset(TAGGING, write(folder / name, data)).records.__len__)
        except DatasetError as error:
            assert name in str(error)  # noqa: PT017 - either outcome is right
    assert len(outcomes) in (0, 2)  # packed or not makes no difference
