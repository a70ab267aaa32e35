"""Calls to cases: the original is run, and what went in and came out is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import tokenizers

from scripts.goldens.vectors.call import Call, Tensors
from scripts.goldens.vectors.oracle import (
    Graph,
    open_pipeline,
    open_tokenizer,
    silence,
)

__all__ = ["case_of", "describe_row", "items_of", "record_call", "record_calls", "record_pipeline"]

Case = dict[str, Any]


def items_of(value: Any) -> list[Any]:
    """The items of an input: a list's, or the input itself."""
    return list(value) if isinstance(value, list) else [value]


def case_of(call: Call, rows: Sequence[Case], outputs: Sequence[Tensors], answer: Any) -> Case:
    """A case as it is written; without rows and answer where the call is to be refused."""
    case: Case = {
        "name": call.name,
        "labels": list(call.labels),
        "postprocessing": dict(call.postprocessing),
        "tokenizer": dict(call.tokenizer),
        "input": call.input,
        "options": dict(call.options),
        "rows": list(rows),
        "outputs": list(outputs),
    }
    if call.warns:
        case["warns"] = True
    return case | ({"error": True} if call.fails else {"answer": answer})


def describe_row(item: int, encoding: tokenizers.Encoding, size: int | None = None) -> Case:
    """A row as it is written.

    Args:
        item: Which item of the input it belongs to.
        encoding: Of the original's tokenizer.
        size: Tokens that are not padding; all when ``None``.
    """
    return {
        "item": item,
        "input_ids": encoding.ids[:size],
        "token_type_ids": encoding.type_ids[:size],
        "tokens": encoding.tokens[:size],
        "offsets": [list(span) for span in encoding.offsets[:size]],
        "word_ids": encoding.word_ids[:size],
        "sequence_ids": encoding.sequence_ids[:size],
        "special_tokens_mask": encoding.special_tokens_mask[:size],
    }


def record_calls(calls: Iterable[Call], record: Callable[[Call], Case]) -> Iterator[Case]:
    """Record calls that a task records by itself; of those that are to be refused nothing is run.

    Args:
        calls: In the order of the cases.
        record: A call that is answered to its case.
    """
    for call in calls:
        if call.fails:
            yield case_of(call, (), (), None)
        else:
            with silence():
                case = record(call)
            yield case


def record_call(
    call: Call,
    items: Sequence[Any],
    encode: Callable[[Any, Any], Sequence[tokenizers.Encoding]],
    answer: Callable[[Any, Sequence[Case], Sequence[Tensors]], Any],
) -> Case:
    """Record a call of a task for which the original has no pipeline.

    Args:
        call: The call; nothing is run where it is to be refused at once.
        items: Of its input.
        encode: The original's tokenizer and an item to the item's rows.
        answer: An item, its rows and their outputs to its answer.
    """
    if call.fails and not call.late:
        return case_of(call, (), (), None)
    tokenizer, graph = open_tokenizer(call), Graph(call)
    rows: list[Case] = []
    outputs: list[Tensors] = []
    answers: list[Any] = []
    for index, item in enumerate(items):
        own = [describe_row(index, encoding) for encoding in encode(tokenizer, item)]
        given = [graph(row["input_ids"], row["token_type_ids"]) for row in own]
        rows += own
        outputs += given
        answers.append(None if call.fails else answer(item, own, given))
    return case_of(call, rows, outputs, answers if isinstance(call.input, list) else answers[0])


def record_pipeline(
    task: str,
    call: Call,
    *,
    run: Callable[[Any, Any, Mapping[str, Any]], Any] | None = None,
    items: Sequence[Any] | None = None,
    split: Callable[[Any], Any] = lambda item: item,
) -> Case:
    """Record a call of the original's pipeline.

    Args:
        task: The pipeline's.
        call: The call.
        run: Pipeline, input and options to the answer; a plain call when ``None``.
        items: Of the input; a list's own when ``None``.
        split: An item to an input that holds it alone.

    Raises:
        RuntimeError: The original answers what is to be refused, or treats an item of a list
            otherwise than alone.
    """
    options = {**call.options, **call.original}

    def ask(pipeline: Any, value: Any) -> Any:
        given = deepcopy(options)  # the original writes into what it is given
        return run(pipeline, value, given) if run else pipeline(value, **given)

    with silence():
        tokenizer, graph = open_tokenizer(call), Graph(call)
        pipeline = open_pipeline(task, call, graph, tokenizer)
        if call.fails:
            with _refused(call):
                ask(pipeline, call.input)
            return case_of(call, (), (), None)
        answer = ask(pipeline, call.input)
        whole = graph.seen
        rows: list[Case] = []
        outputs: list[Tensors] = []
        for index, item in enumerate(items_of(call.input) if items is None else items):
            graph.seen, tokenizer.made = [], []
            ask(pipeline, split(item))
            made = iter(tokenizer.made)
            for ids, types, tensors in graph.seen:
                rows.append(_row(made, index, ids, types))
                outputs.append(tensors)
    if [(row["input_ids"], row["token_type_ids"]) for row in rows] != [
        (ids, types) for ids, types, _ in whole
    ]:
        message = f"the original cuts {call.name!r} otherwise item by item"
        raise RuntimeError(message)
    return case_of(call, rows, outputs, answer)


def _row(made: Iterator[tokenizers.Encoding], item: int, ids: list[int], types: list[int]) -> Case:
    """The row of the next encoding with these ids; what is encoded in between is no row."""
    for encoding in made:
        size = sum(encoding.attention_mask)
        if encoding.ids[:size] == ids and encoding.type_ids[:size] == types:
            return describe_row(item, encoding, size)
    message = f"no text was encoded to {ids}"
    raise RuntimeError(message)


@contextmanager
def _refused(call: Call) -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - the original refuses with whatever comes
        return
    message = f"the original answers {call.name!r}"
    raise RuntimeError(message)
