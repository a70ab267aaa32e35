"""Labels of the data as labels of the bundle: matched, mapped, or refused with both sides named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.datasets import DataSet
from bert_export.errors import DatasetError, InputError
from bert_export.evaluation.choices import ChoiceScorer, NextSentenceScorer, ZeroShotScorer
from bert_export.evaluation.classification import MultiLabelScorer, RegressionScorer
from bert_export.evaluation.labels import LabelReader, Notes, TagReader, split_tag
from bert_export.evaluation.scorers import check_labels
from bert_export.tasks import CheckpointFacts, find_task

IOB = ("O", "B-person", "I-person", "B-location", "I-location")
UNPREFIXED = ("O", "person", "location")


def data_of(
    field: str,
    values: Sequence[Any],
    *,
    names: tuple[str, ...] = (),
    label_map: Mapping[str, str] | None = None,
    **others: Any,
) -> DataSet:
    records = tuple({field: value, **others} for value in values)
    places = tuple(f"row {number}" for number in range(1, len(values) + 1))
    class_names = {field: names} if names else {}
    return DataSet("d.csv", "0" * 64, records, places, class_names, label_map=label_map or {})


def read_labels(
    values: Sequence[Any], labels: Sequence[str], **options: Any
) -> tuple[list[int], tuple[str, ...]]:
    notes = Notes()
    reader = LabelReader(data_of("label", values, **options), "label", labels, notes)
    return [reader.id(value, "row 1") for value in values], notes.sentences


def read_tags(
    values: Sequence[Any], labels: Sequence[str], **options: Any
) -> tuple[list[str], tuple[str, ...]]:
    notes = Notes()
    reader = TagReader(data_of("tags", [list(values)], **options), labels, notes)
    return [reader.tag(value, "row 1 field tags") for value in values], notes.sentences


@pytest.mark.parametrize(
    ("value", "index"), [(" neg", 1), ("1", 1), ("1.0", 1), (" 0 ", 0), (1.0, 1), ("1.", 1)]
)
def test_labels_are_known_as_tools_write_them(value: str | float, index: int) -> None:
    assert read_labels([value], ["pos", "neg"])[0] == [index]


@pytest.mark.parametrize("value", ["1.5", "2", "-1", "neg.", "9" * 5_000, 0.5, 2, -1])
def test_other_labels_are_refused(value: str | float) -> None:
    with pytest.raises(DatasetError, match="row 1 is no label of the bundle: expected pos, neg, o"):
        read_labels([value], ["pos", "neg"])


def test_an_unknown_label_names_both_sides() -> None:
    with pytest.raises(DatasetError) as caught:
        read_labels(["pos", "positve", 1], ["negative", "positive"], label_map={"pos": "positive"})
    assert str(caught.value) == (
        "row 1 is no label of the bundle: expected negative, positive, or an id below 2, got "
        "'positve', where the labels of the data are pos, positve, 1. Did you mean 'positive'? "
        "Pass --label-map positve=positive."
    )
    many = [f"class {number}" for number in range(30)]
    with pytest.raises(
        DatasetError, match=r"class 9 and 20 more, .* data are x\. .*'x=LABEL'|x=LABEL"
    ):
        read_labels(["x"], many)


def test_another_letter_case_is_matched_and_said() -> None:
    found, notes = read_labels(["POS", "neg", "Neg", "NEG"], ["neg", "pos"])
    assert found == [1, 0, 0, 0]
    assert notes == (
        "labels matched in another letter case: 'POS' as 'pos', 'Neg' as 'neg', 'NEG' as 'neg'",
    )
    assert read_labels(["pos", 0], ["neg", "pos"])[1] == ()
    with pytest.raises(DatasetError, match="no label of the bundle"):  # two fit
        read_labels(["POS"], ["pos", "Pos"])


def test_ids_as_text_are_matched_and_said() -> None:
    assert read_labels(["1", "0"], ["a", "b"]) == (
        [1, 0],
        ("labels that are ids as text count as ids: '1' as '1', '0' as '0'",),
    )
    assert read_labels(["1", "0"], ["1", "0"]) == ([0, 1], ())  # they are names


def test_ids_stand_for_the_names_of_the_data() -> None:
    assert read_labels([0, 1], ["neg", "pos"], names=("POS", "NEG"))[0] == [1, 0]
    assert read_labels(["0"], ["neg", "pos"], names=("pos", "neg"))[0] == [1]
    with pytest.raises(DatasetError, match="got 'happy', where the labels of the data are happy"):
        read_labels([1], ["neg", "pos"], names=("sad", "happy"))
    # Labels without names have their ids alone.
    assert read_labels([1], ["LABEL_0", "LABEL_1"], names=("sad", "happy"))[0] == [1]


def test_a_label_map_counts_before_anything_else() -> None:
    label_map = {"good": "pos", "3": "neg", "sad": "0"}
    options: dict[str, Any] = {"label_map": label_map}
    assert read_labels(["good", "3", 3, "neg"], ["neg", "pos"], **options)[0] == [1, 0, 0, 0]
    assert read_labels([1], ["neg", "pos"], names=("?", "good"), **options)[0] == [1]
    assert read_labels(["sad"], ["neg", "pos"], **options)[0] == [0]
    with pytest.raises(
        InputError, match=r"label map good=positive leads to no label of the bundle"
    ):
        read_labels(["good"], ["neg", "pos"], label_map={"good": "positive"})
    with pytest.raises(InputError, match="expected neg, pos, or an id, got '2'"):
        read_labels(["good"], ["neg", "pos"], label_map={"good": "2"})


@pytest.mark.parametrize("labels", [IOB, UNPREFIXED])
def test_tags_of_every_scheme_are_of_the_bundles_types(labels: tuple[str, ...]) -> None:
    tags = ["B-person", "I-person", "E-person", "S-location", "U-location", "L-person", "M-person"]
    tags += ["person", "location", "O"]
    assert read_tags(tags, labels) == (tags, ())


def test_types_in_another_letter_case_are_matched_and_said() -> None:
    tags, notes = read_tags(["B-PERSON", "Location", "o"], IOB)
    assert tags == ["B-person", "location", "O"]
    assert "'PERSON' as 'person'" in notes[0]


def test_an_unknown_type_names_both_sides() -> None:
    with pytest.raises(DatasetError) as caught:
        read_tags(["O", "B-PER", "I-PER", "B-LOC"], IOB)
    assert str(caught.value) == (
        "row 1 field tags is no label of the bundle: expected O, person, location, with or without "
        "B- and the like, or an id below 5, got 'PER', where the labels of the data are PER, LOC. "
        "Did you mean 'person'? Pass --label-map PER=person, or map it to O to leave it out, to "
        "itself to count it as never found."
    )


def test_a_label_map_names_types_or_tags() -> None:
    label_map = {"PER": "person", "LOC": "location", "MISC": "O", "B-GPE": "B-location", "X": "X"}
    tags = ["B-PER", "I-PER", "LOC", "B-MISC", "B-GPE", "B-X", "O"]
    assert read_tags(tags, IOB, label_map=label_map)[0] == [
        "B-person", "I-person", "location", "O", "B-location", "B-X", "O",
    ]  # fmt: skip
    assert read_tags([1, "2"], IOB, names=("O", "B-PER", "I-PER"), label_map=label_map)[0] == [
        "B-person",
        "I-person",
    ]
    assert read_tags([7, "8"], IOB, label_map={"7": "B-person", "8": "0"})[0] == ["B-person", "O"]
    with pytest.raises(InputError, match=r"PER=persn leads to no .* Did you mean 'person'\?"):
        read_tags(["B-PER"], IOB, label_map={"PER": "persn"})


def test_ids_of_tags() -> None:
    assert read_tags([0, 3, "1"], IOB)[0] == ["O", "B-location", "B-person"]
    assert read_tags([1], IOB, names=("O", "I-location"))[0] == ["I-location"]
    assert read_tags([1], ("LABEL_0", "LABEL_1"), names=("O", "B-x"))[0] == ["LABEL_1"]
    for value in (9, -1, 0.5):
        with pytest.raises(DatasetError, match="is no label of the bundle"):
            read_tags([value], IOB)


@given(st.text(max_size=8))
def test_a_tag_is_its_prefix_and_its_type(tag: str) -> None:
    prefix, kind = split_tag(tag)
    assert prefix + kind == tag
    assert split_tag(f"B-{tag}x") == ("B-", f"{tag}x")


@given(
    value=st.text(max_size=5) | st.integers(-3, 9) | st.sampled_from(IOB),
    names=st.sampled_from([(), IOB[::-1], ("a", "b")]),
    label_map=st.dictionaries(st.text(max_size=2), st.sampled_from([*IOB, "person", "1"])),
)
def test_any_tag_is_read_or_refused(
    value: Any, names: tuple[str, ...], label_map: dict[str, str]
) -> None:
    try:
        (tag,), _ = read_tags([value], IOB, names=names, label_map=label_map)
    except DatasetError as error:
        assert "is no label of the bundle" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert tag == "O" or split_tag(tag)[1] in ("person", "location")


def test_candidates_of_a_record() -> None:
    notes = Notes()
    data = data_of("label", ["sport", " Law", 1, "2"], candidate_labels=["law", "sport", "art"])
    assert ZeroShotScorer("accuracy").gold((), data, notes) == [
        "sport", "law", "sport", "art",
    ]  # fmt: skip
    assert notes.sentences == ("labels matched in another letter case: ' Law' as 'law'",)
    mapped = data_of("label", ["SPRT"], candidate_labels=["law", "sport"], label_map={"SPRT": "1"})
    assert ZeroShotScorer("accuracy").gold((), mapped, Notes()) == ["sport"]
    named = data_of("label", [1], names=("sport", "law"), candidate_labels=["law", "sport"])
    assert ZeroShotScorer("accuracy").gold((), named, Notes()) == ["law"]
    wrong = data_of("label", ["sports"], candidate_labels=["law", "sport"])
    with pytest.raises(DatasetError, match=r"none of its candidate_labels: expected law, sport, o"):
        ZeroShotScorer("accuracy").gold((), wrong, Notes())


def test_a_choice_by_index_letter_or_text() -> None:
    notes = Notes()
    data = data_of("label", [1, "1", "B", "c", "sat"], choices=["run", "sat", "on"])
    assert ChoiceScorer("accuracy").gold((), data, notes) == [1, 1, 1, 2, 1]
    assert notes.sentences == ("labels that are letters count from A: 'B' as '1', 'c' as '2'",)
    numbers = data_of("label", ["1"], choices=["1", "2"])
    assert ChoiceScorer("accuracy").gold((), numbers, Notes()) == [1]
    for value in ("D", 3, "-1", "ran"):
        wrong = data_of("label", [value], choices=["run", "sat", "on"])
        with pytest.raises(DatasetError, match="is none of its choices: expected run, sat, on, or"):
            ChoiceScorer("accuracy").gold((), wrong, Notes())


def test_whether_a_text_follows_in_words() -> None:
    notes = Notes()
    data = data_of("label", [1, "0", "isNext", "NotNext", "x"], label_map={"x": "1"})
    scorer = NextSentenceScorer("accuracy")
    assert scorer.gold((), data, notes) == [True, False, True, False, True]
    assert "'isNext' as '1', 'NotNext' as '0'" in notes.sentences[0]
    with pytest.raises(DatasetError, match=r"expected 1 \(it follows\) or 0 .* got 'maybe'"):
        scorer.gold((), data_of("label", ["maybe"]), Notes())


def test_labels_are_checked_without_a_bundle() -> None:
    task, facts = find_task("text-classification"), CheckpointFacts(labels=("no", "yes"))
    assert check_labels(task, facts, data_of("label", ["YES", 0])) == (
        "labels matched in another letter case: 'YES' as 'yes'",
    )
    assert check_labels(task, facts, data_of("text", ["unlabelled"])) == ()
    with pytest.raises(DatasetError, match="is no label of the bundle"):
        check_labels(task, facts, data_of("label", ["maybe"]))
    several = replace(facts, problem_type="multi_label_classification")
    assert check_labels(task, several, data_of("labels", [["yes"], []])) == ()


def test_lists_of_labels() -> None:
    notes, labels = Notes(), ("a", "b", "c")
    scorer = MultiLabelScorer("micro F1")
    data = data_of("labels", [["A", "2"], [], ["good"]], label_map={"good": "b"})
    gold = scorer.gold(labels, data, notes)
    assert gold is not None
    assert gold.tolist() == [[True, False, True], [False] * 3, [False, True, False]]
    assert notes.sentences == (
        "labels matched in another letter case: 'A' as 'a'",
        "labels that are ids as text count as ids: '2' as '2'",
    )
    with pytest.raises(DatasetError, match="got 'd', where the labels of the data are a, d"):
        scorer.gold(labels, data_of("labels", [["a"], ["d"]]), Notes())
    with pytest.raises(DatasetError, match="names a label twice"):
        scorer.gold(labels, data_of("labels", [["a", "A"]]), Notes())


def test_numbers_of_words() -> None:
    data = data_of("label", ["low", 2, "3.5"], label_map={"low": "1"})
    assert RegressionScorer("r").gold((), data, Notes()) == [1.0, 2.0, 3.5]
    with pytest.raises(DatasetError, match=r"expected a finite number, got 'high'\. Name the num"):
        RegressionScorer("r").gold((), data_of("label", ["high"]), Notes())
