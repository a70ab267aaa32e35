"""Text to text: the original's pipeline over an encoder-decoder, a row for every answer so far."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.generation import GENERATION, REFUSED, ending, rows_of_steps, wavering
from scripts.goldens.vectors.oracle import Graph, open_halves, open_tokenizer, silence
from scripts.goldens.vectors.recording import case_of, describe_row, items_of
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_TASK = "text2text-generation"
_CONFIG = {"decoder_start_token_id": 2, "eos_token_id": [3], "num_beams": 1, "max_new_tokens": 4}


def _reads(*words: str) -> Script:
    """Says words of the text that it reads, in their order, then these, then the end."""

    def script(text: Ids, answer: Ids) -> Tensors:
        outputs = wavering((*text, *answer))
        said = [*text[1:3], *(WORDS.index(word) for word in (*words, "[SEP]"))]
        outputs["logits"][said[min(len(answer) - 1, len(said) - 1)]] += 9.0
        return outputs

    return script


def _of_both(script: Script) -> Script:
    """A script of the answer so far, which hears of the text too."""
    return lambda text, answer: script((text[-2], *answer), ())


def _call(name: str, value: Any, **rest: Any) -> Call:
    defaults = {"script": _of_both(wavering), "postprocessing": _CONFIG}
    return make_call(name, value, defaults, **rest)


def _calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(TEXTS.items()):
        count = 1 + number % 3
        yield _call(name, text, script=_reads(), options={"max_new_tokens": count})
    for name, options in GENERATION:
        for script in (wavering, ending):
            yield _call(
                f"{name}, {script.__name__}", "the cat", script=_of_both(script), options=options
            )
    says = _reads("un", "##aff", "##able", "!")
    yield _call("pieces of a word", "the cat", script=says, options={"max_new_tokens": 9})
    yield _call("the end at once", "the cat", script=lambda *_: _reads()((2, 3, 3), (2,)))
    unbound = _CONFIG | {"max_new_tokens": None}
    yield _call(
        "max_length counts the first", "the cat", postprocessing=unbound, options={"max_length": 4}
    )
    yield _call(
        "min_length counts the first", "it", script=_of_both(ending), options={"min_length": 4}
    )
    yield _call("another end", "the cat", script=says, options={"eos_token_id": WORDS.index("cat")})
    yield _call(
        "no end", "it", script=_of_both(ending), postprocessing=_CONFIG | {"eos_token_id": []}
    )
    yield _call(
        "beams of the bundle",
        "the cat",
        script=_of_both(ending),
        postprocessing=_CONFIG | {"num_beams": 2, "length_penalty": 2.0},
    )
    yield _call("a prefix", "the cat", postprocessing=_CONFIG | {"prefix": "sum: "})
    yield _call("another first token", "it", postprocessing=_CONFIG | {"decoder_start_token_id": 4})
    yield _call("a list", ["the cat", "", "a dog"], script=says, options={"max_new_tokens": 5})
    yield _call(
        "a list with beams",
        ["the cat", "it sat on a mat"],
        script=_of_both(ending),
        options={"num_beams": 2, "num_return_sequences": 2},
    )
    yield _call("a list of one", ["the cat"], script=says)
    yield _call("a long text is cut", LONG, script=says, options={"truncation": True})
    for name, options in (*REFUSED, ("max_new_tokens 0", {"max_new_tokens": 0})):
        yield _call(f"refused: {name}", "the cat", options=options, fails=True)
    yield _call("refused: a text that is too long", LONG, fails=True)
    yield _call("refused: a number", 3, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of text2text-generation."""
    for call in _calls():
        with silence():
            yield _record(call)


def _record(call: Call) -> dict[str, Any]:
    if call.fails:
        return case_of(call, (), (), None)
    rows: list[dict[str, Any]] = []
    outputs: list[Tensors] = []
    prefix = call.postprocessing.get("prefix", "")
    tokenizer, graph = open_tokenizer(call), Graph(call)
    pipeline = open_halves(_TASK, call, graph, tokenizer)
    given = [prefix + text for text in items_of(call.input)]
    options = deepcopy(dict(call.options))
    answer = pipeline(given if isinstance(call.input, list) else given[0], **options)
    for index, text in enumerate(given):
        graph.seen, tokenizer.made = [], []
        pipeline(text, **deepcopy(options))
        for step, (ids, answered, own) in enumerate(rows_of_steps(graph)):
            row = {"item": index, "input_ids": ids, "token_type_ids": [0] * len(ids)}
            row = row if step else describe_row(index, tokenizer.made[0], len(ids))
            rows.append(row | {"decoder_input_ids": answered})
            outputs.append(own)
    return case_of(call, rows, outputs, answer)
