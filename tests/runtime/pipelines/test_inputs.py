"""One function decides for all tasks what a list of inputs is, and errors name the item."""

from __future__ import annotations

import inspect
import itertools
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.errors import InputError
from bert_export.runtime.pipelines.inputs import mapping_items, read_items, several, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from tests.checkpoints.conftest import write_modules
from tests.support import ONE_GRAPH, open_tiny

NLI = {"id2label": {0: "contradiction", 1: "entailment"}}
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "feature-extraction": ("BertModel", {}),
    "fill-mask": ("BertForMaskedLM", {}),
    "multiple-choice": ("BertForMultipleChoice", {}),
    "next-sentence-prediction": ("BertForNextSentencePrediction", {}),
    "pretraining": ("BertForPreTraining", {}),
    "question-answering": ("BertForQuestionAnswering", {}),
    "sentence-embedding": ("BertModel", {}),
    "text-classification": ("BertForSequenceClassification", {}),
    "text-generation": ("BertLMHeadModel", {"is_decoder": True}),
    "token-classification": ("BertForTokenClassification", {}),
    "zero-shot-classification": ("BertForSequenceClassification", NLI),
}
# A good input of each task, and the options that its call cannot do without.
PAIR = {"text": "the cat [MASK]", "text_pair": "a dog"}
GOOD: dict[str, tuple[Any, dict[str, Any]]] = dict.fromkeys(ONE_GRAPH, ("the cat [MASK]", {})) | {
    "multiple-choice": ({"prompt": "the cat", "choices": ["sat", "ran"]}, {}),
    "next-sentence-prediction": (PAIR, {}),
    "pretraining": (PAIR, {}),
    "question-answering": ({"question": "who sat?", "context": "the cat sat"}, {}),
    "zero-shot-classification": ("the cat", {"candidate_labels": ["dog", "cat"]}),
}
TASK = pytest.mark.parametrize("task", ONE_GRAPH)
Open = Callable[[str], Pipeline[Any, Any, Any]]


@pytest.fixture(scope="module")
def opened(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Open:
    """The tiny pipeline of a task."""
    made: dict[str, Pipeline[Any, Any, Any]] = {}

    def find(task: str) -> Pipeline[Any, Any, Any]:
        if task not in made:
            head, config = HEADS[task]
            folder = tiny(head, **config)
            if task == "sentence-embedding":
                folder = shutil.copytree(folder, tmp_path_factory.mktemp("sentence") / "model")
                write_modules(folder, {"pooling_mode_mean_tokens": True})
            made[task] = open_tiny(task, folder)
        return made[task]

    return find


class Table:
    """As a pandas DataFrame: iterates over the names of its columns."""

    ndim = 2
    shape = (2, 2)

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return 2


class PolarsTable(Table):
    """As a polars DataFrame: has no number of axes, and iterates over its columns."""

    @property
    def ndim(self) -> int:
        raise AttributeError("ndim")


class Column:
    """As a pandas Series: one axis, an index, and iterates over its cells."""

    ndim = 1

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells

    def __iter__(self) -> Iterator[Any]:
        return iter(self.cells)


NO_LISTS: dict[str, Any] = {
    "table": Table(["text", "label"]),
    "table of another library": PolarsTable(["text", "label"]),
    "array without axes": np.array("the cat"),
    "array of two axes": np.array([["the cat", "a dog"]]),
    "bytes": b"the cat",
    "bytearray": bytearray(b"the cat"),
    "memoryview": memoryview(b"the cat"),
    "number": 3,
    "nothing": None,
    "object": SimpleNamespace(),
}


@TASK
@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list_is_refused_by_every_task(opened: Open, task: str, name: str) -> None:
    _, options = GOOD[task]
    with pytest.raises(InputError) as caught:
        opened(task)(NO_LISTS[name], **options)
    assert "\n" not in str(caught.value)


@TASK
def test_a_table_is_told_what_to_pass(opened: Open, task: str) -> None:
    _, options = GOOD[task]
    with pytest.raises(
        InputError, match=r"are a table: .*got Table with columns \['text', 'label'\]. Pass one of"
    ):
        opened(task)(Table(["text", "label"]), **options)


@TASK
def test_columns_arrays_and_queues_are_lists(opened: Open, task: str) -> None:
    good, options = GOOD[task]
    pipeline = opened(task)
    expected = pipeline([good, good], **options)
    array = np.array([good, good])
    assert array.ndim == 1
    for inputs in (Column([good, good]), deque([good, good]), array, iter([good, good])):
        np.testing.assert_equal(list(pipeline(inputs, **options)), list(expected))
    np.testing.assert_equal(list(pipeline((good, good), **options)), list(expected))
    assert len(list(pipeline([], **options))) == 0


WRONG: dict[str, Any] = {
    "empty cell": float("nan"),
    "None": None,
    "number": 7,
    "bytes": b"the cat",
    "nested list": ["the cat"],
    "pair": ("the cat", "a dog"),
    "other fields": {"txt": "the cat"},
    "lone surrogate": "the \ud800 cat",
}


@TASK
@pytest.mark.parametrize("name", WRONG)
def test_an_error_in_a_list_names_the_item(opened: Open, task: str, name: str) -> None:
    good, options = GOOD[task]
    wrong = WRONG[name]
    if name == "lone surrogate" and isinstance(good, dict):
        wrong = {key: wrong if isinstance(value, str) else value for key, value in good.items()}
    # Beyond the first chunk, so that what is counted is counted over all of them.
    for inputs in ([*[good] * 70, wrong, good], iter([*[good] * 70, wrong])):
        with pytest.raises(InputError, match=r"^item 70: ") as caught:
            list(opened(task)(inputs, **options))
        assert "\n" not in str(caught.value)


@TASK
def test_a_single_input_has_no_index(opened: Open, task: str) -> None:
    good, options = GOOD[task]
    text = "the \ud800 cat"
    wrong = text if isinstance(good, str) else dict.fromkeys(good, text)
    with pytest.raises(InputError) as caught:
        opened(task)(wrong, **options)
    assert "item" not in str(caught.value).split(":")[0]


def test_what_the_tokenizer_and_the_answer_refuse_has_its_index_too(opened: Open) -> None:
    long = "the cat " * 40
    with pytest.raises(InputError, match=r"^item 2: text 'the cat .*is too long"):
        opened("feature-extraction")(["a", "b", long, "c"])
    with pytest.raises(InputError, match=r"^item 1: text has no mask"):
        opened("fill-mask")(["a [MASK]", "b"])


@TASK
def test_a_typed_option_asks_for_the_one_that_was_meant(opened: Open, task: str) -> None:
    good, options = GOOD[task]
    pipeline = opened(task)
    assert "batch_size" in inspect.signature(pipeline).parameters
    with pytest.raises(
        InputError, match=r"^option batchsize is unknown: .*Did you mean 'batch_size'\?$"
    ):
        pipeline(good, **options, batchsize=3)
    with pytest.raises(InputError, match=r"^option device is unknown"):
        pipeline(good, **options, device="cpu")


def test_an_argument_that_is_missing(opened: Open) -> None:
    with pytest.raises(
        InputError, match=r"^arguments do not fit the call: expected sequences, candidate_labels"
    ):
        opened("zero-shot-classification")("the cat")


def test_a_type_error_inside_a_call_stays_what_it_is(opened: Open) -> None:
    def broken() -> Iterator[str]:
        raise TypeError("of the caller's own")
        yield "the cat"

    with pytest.raises(TypeError, match="of the caller's own"):
        opened("sentence-embedding")(broken())


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("text-classification", {"function_to_apply": "sofmax"}, "Did you mean 'softmax'"),
        ("text-classification", {"truncation": "only_frist"}, "Did you mean 'only_first'"),
        ("token-classification", {"aggregation_strategy": "avg"}, "Did you mean 'average'"),
        ("question-answering", {"method": "squad2"}, "Did you mean 'squad_v2'"),
        ("feature-extraction", {"tokenize_kwargs": {"max_len": 3}}, "Did you mean 'max_length'"),
    ],
)
def test_a_typed_value_asks_for_the_one_that_was_meant(
    opened: Open, task: str, options: dict[str, Any], message: str
) -> None:
    good, _ = GOOD[task]
    with pytest.raises(InputError, match=message):
        opened(task)(good, **options)


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("text-classification", {"top_k": np.int64(1)}),
        ("text-classification", {"max_length": np.int64(9)}),
        ("text-classification", {"truncation": np.bool_(True)}),
        ("text-classification", {"batch_size": np.int32(3)}),
        ("token-classification", {"aggregation_strategy": "simple", "stride": np.int64(3)}),
        ("fill-mask", {"top_k": np.uint8(2)}),
        ("sentence-embedding", {"truncate_dim": np.int64(3)}),
        ("text-generation", {"max_new_tokens": np.int64(2), "do_sample": np.bool_(False)}),
    ],
)
def test_numbers_of_numpy_are_options(opened: Open, task: str, options: dict[str, Any]) -> None:
    good, _ = GOOD[task]
    plainly = {k: v.item() if isinstance(v, np.generic) else v for k, v in options.items()}
    np.testing.assert_equal(opened(task)([good], **options), opened(task)([good], **plainly))


def test_lists_of_words_may_be_columns_and_arrays(opened: Open) -> None:
    pipeline = opened("token-classification")
    words = ["the", "cat", "sat"]
    (expected,) = pipeline(words, is_split_into_words=True)
    assert expected == pipeline("the cat sat")
    assert pipeline([words, tuple(words)], is_split_into_words=True) == [expected] * 2
    for inputs in (Column([words, words]), [np.array(words)] * 2, iter([words, words])):
        assert list(pipeline(inputs, is_split_into_words=True)) == [expected] * 2
    assert list(pipeline(np.array(words), is_split_into_words=True)) == [expected]
    with pytest.raises(InputError, match=r"^item 1: word is of the wrong type"):
        pipeline([words, ["the", 3]], is_split_into_words=True)
    with pytest.raises(InputError, match=r"^item 1: words are of the wrong type: .* got str"):
        list(pipeline(iter([words, "the cat"]), is_split_into_words=True))


def test_questions_and_contexts_may_be_columns(opened: Open) -> None:
    pipeline = opened("question-answering")
    questions, context = ["who sat?", "where?"], "the cat sat on the mat"
    expected = pipeline(question=questions, context=context)
    assert pipeline(question=Column(questions), context=np.array([context] * 2)) == expected
    with pytest.raises(InputError, match="contexts do not fit the questions"):
        pipeline(question=questions, context=[context])
    with pytest.raises(InputError, match="questions are a table"):
        pipeline(question=Table(["q"]), context=context)


class TestDecision:
    @given(st.lists(st.text()), st.sampled_from([list, tuple, deque, iter, np.array, Column]))
    def test_every_iterable_of_texts_is_read_in_its_order(
        self, texts: list[str], kind: Callable[[list[str]], Any]
    ) -> None:
        given_ = kind(texts) if kind is not np.array else np.array(texts, dtype=object)
        single, items = text_items(given_)
        assert not single
        assert list(items) == texts

    @given(st.text())
    def test_a_string_is_one_text(self, text: str) -> None:
        assert text_items(text) == (True, (text,))
        assert text_items(np.str_(text)) == (True, (np.str_(text),))
        with pytest.raises(InputError, match="of the wrong type"):
            several(text)

    def test_an_attribute_that_is_called_columns_may_be_a_method(self) -> None:
        class Rows(Column):
            def columns(self) -> list[str]:
                return ["text"]

        assert list(several(Rows(["a"]))) == ["a"]

    def test_endless_iterables_are_not_read(self) -> None:
        _, items = text_items(itertools.count())
        assert next(iter(items)) == 0

    def test_a_record_by_its_fields_or_as_a_mapping(self) -> None:
        assert mapping_items(None, text="a", text_pair=None) == (True, ({"text": "a"},))
        assert mapping_items({"text": "a"}, text=None) == (True, ({"text": "a"},))
        assert mapping_items([{"text": "a"}], text=None) == (False, [{"text": "a"}])
        with pytest.raises(InputError, match="given twice"):
            mapping_items([], text="a")

    @given(st.integers(0, 5))
    def test_the_first_that_is_malformed_is_named(self, bad: int) -> None:
        def read(value: int) -> int:
            if value >= bad:
                raise InputError("number is too large", got=value)
            return -value

        found: list[int] = []
        with pytest.raises(InputError, match=rf"^item {bad}: number is too large: got {bad}\.$"):
            found.extend(read_items(range(6), read))
        assert found == [-number for number in range(bad)] or not found
