"""Text generation: the original's ``generate``, spelt by its pipeline, a row per text so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call, tied_words
from scripts.goldens.vectors.numbers import drawn
from scripts.goldens.vectors.oracle import Graph, open_pipeline, open_tokenizer
from scripts.goldens.vectors.recording import case_of, describe_row, items_of, record_calls
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_TASK = "text-generation"
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_SAMPLED = {"do_sample": True, "seed": 7}
_DECODING = (
    *("temperature", "top_k", "top_p", "num_beams", "length_penalty", "early_stopping"),
    *("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "num_return_sequences"),
)


_CHOSEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("num_beams 3", {"num_beams": 3}),
    ("num_beams 2, both", {"num_beams": 2, "num_return_sequences": 2}),
    ("num_beams 3, two", {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0}),
    ("num_beams 2, shorter", {"num_beams": 2, "length_penalty": -1.0}),
    ("num_beams 2, length_penalty 0", {"num_beams": 2, "length_penalty": 0.0}),
    ("num_beams 2, early_stopping", {"num_beams": 2, "early_stopping": True}),
    ("num_beams 2, early_stopping never", {"num_beams": 2, "early_stopping": "never"}),
    ("repetition_penalty", {"num_beams": 1, "repetition_penalty": 1.6}),
    ("repetition_penalty below 1", {"num_beams": 1, "repetition_penalty": 0.4}),
    ("no_repeat_ngram_size 1", {"num_beams": 1, "no_repeat_ngram_size": 1}),
    ("no_repeat_ngram_size 2", {"num_beams": 1, "no_repeat_ngram_size": 2}),
    ("min_new_tokens", {"num_beams": 1, "min_new_tokens": 3}),
    (
        "beams, penalty, n-grams and a least length",
        {
            "num_beams": 2,
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 2,
            "min_new_tokens": 2,
            "num_return_sequences": 2,
        },
    ),
)
"""Options of decoding, with their names."""

_REFUSED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("num_beams 0", {"num_beams": 0}),
    ("num_beams 2000", {"num_beams": 2000}),
    ("more sequences than beams", {"num_beams": 1, "num_return_sequences": 2}),
    ("beams that are drawn", {"num_beams": 2, "do_sample": True}),
    ("repetition_penalty 0", {"repetition_penalty": 0.0}),
    ("no_repeat_ngram_size -1", {"no_repeat_ngram_size": -1}),
    ("min_new_tokens -1", {"min_new_tokens": -1}),
    ("a word as early_stopping", {"early_stopping": "often"}),
    ("eos_token_id -1", {"eos_token_id": -1}),
)
"""Options that are refused, with their names."""


def _wavering(ids: Ids, _types: Ids = ()) -> Tensors:
    """Logits with few digits, of which a few words stand out, so that texts repeat themselves."""
    logits = drawn(tuple(ids[-2:]), len(WORDS), reach=2.0, decimals=2)
    for word in ("cat", "sat", "on"):
        logits[WORDS.index(word)] += 2.5
    return {"logits": logits}


def _ending(ids: Ids, types: Ids = ()) -> Tensors:
    """The same, where the end stands out too."""
    outputs = _wavering(ids, types)
    outputs["logits"][WORDS.index("[SEP]")] += 2.5
    return outputs


def _next(ids: Ids, _types: Ids) -> Tensors:
    """Logits of the token behind the last."""
    return {"logits": drawn(tuple(ids), len(WORDS))}


def _says(*words: str) -> Script:
    """Words that follow each other, whatever the prompt; behind the last anything."""

    def script(ids: Ids, _types: Ids) -> Tensors:
        logits = drawn(tuple(ids), len(WORDS))
        spoken = [WORDS.index(word) for word in words]
        for size in range(len(spoken) - 1, -1, -1):
            if size == 0 or list(ids[-size:]) == spoken[:size]:
                logits[spoken[size]] = 9.0
                break
        return {"logits": logits}

    return script


def _call(name: str, value: Any, count: int | None = 3, **rest: Any) -> Call:
    options = ({} if count is None else {"max_new_tokens": count}) | rest.pop("options", {})
    return make_call(name, value, {"script": _next, "options": options}, **rest)


def _calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(TEXTS.items()):
        yield _call(name, text, 2, options={} if number % 3 else {"return_full_text": False})
    for count in (1, 5):
        yield _call(f"max_new_tokens {count}", "the cat", count)
    ends = _says("sat", "on", "it", "[SEP]")
    yield _call("[SEP] ends", "the cat", 9, script=ends)
    yield _call("[SEP] at once", "the cat", 9, script=_says("[SEP]"))
    yield _call("[SEP] as the last token", "the cat", 4, script=ends)
    yield _call("only what is new", "The  CAT", 9, script=ends, options={"return_full_text": False})
    short = {"max_length": 8}
    yield _call("the longest row ends", "the cat sat", None, tokenizer=short)
    yield _call("a prompt of a row", "the cat sat on a mat", None, tokenizer=short)
    for name, words in (
        ("pieces of a word", ("un", "##aff", "##able", "[SEP]")),
        ("a piece that goes on with the prompt", ("##ing", "##s", "[SEP]")),
        ("punctuation that closes up", ("!", "'", "s", ".", "[SEP]")),
        ("a contraction", ("n", "'", "t", "it", "[SEP]")),
        ("special tokens that are not spelt", ("[PAD]", "[UNK]", "[MASK]", "cat", "[SEP]")),
        ("an emoji and CJK characters", ("😀", "中", "文", "[SEP]")),
    ):
        for full in (True, False):
            yield _call(
                f"{name}, return_full_text {full}",
                "a run",
                9,
                script=_says(*words),
                options={"return_full_text": full},
            )
    yield _call("equal logits", "the cat", 2, script=tied_words("dog", "cat", "york"))
    yield _call("nothing but equal logits", "the cat", 2, script=tied_words())
    yield _call(
        "a cased vocabulary", "The Cat", 9, script=_says("É", "I", "[SEP]"), tokenizer=_CASED
    )
    yield _call("a list", ["the cat", "", "a dog"], 2)
    yield _call("a list whose items end apart", ["the cat", "sat on"], 6, script=ends)
    yield _call("a list of one", ["the cat"], 2)
    yield _call("an empty list", [])
    for name, sampling in (
        ("the likeliest alone is drawn by top_k", {"top_k": 1}),
        ("the likeliest alone is drawn by top_p", {"top_p": 0.0}),
        ("the likeliest alone is drawn by temperature", {"temperature": 0.001}),
    ):
        yield _call(name, "the cat", options=_SAMPLED | sampling)
    yield _call("options of drawing without it", "the cat", options={"top_k": 2, "top_p": 0.5})
    for name, options in _CHOSEN:
        for script in (_wavering, _ending):
            yield _call(
                f"{name}, {script.__name__[1:]}", "the cat", 4, script=script, options=options
            )
    ended_by = {"eos_token_id": [WORDS.index("sat"), WORDS.index("[SEP]")]}
    yield _call("eos_token_id of several", "a dog", 5, script=_wavering, options=ended_by)
    yield _call("beams and ends", "a dog", 4, script=_ending, options=ended_by | {"num_beams": 2})
    yield _call("max_length alone", "the cat", None, script=_wavering, options={"max_length": 6})
    yield _call("max_length sooner", "the cat", 9, script=_wavering, options={"max_length": 5})
    yield _call("max_new_tokens sooner", "the cat", 1, script=_wavering, options={"max_length": 9})
    yield _call(
        "a list with beams",
        ["the cat", "it", "a dog sat on the mat"],
        3,
        script=_ending,
        options={"num_beams": 2, "num_return_sequences": 2, "return_full_text": False},
    )
    for name, options in (*_REFUSED, ("a max_length of the prompt", {"max_length": 3})):
        yield _call(f"refused: {name}", "the cat", options=options, fails=True)
    for name, value, options in (
        ("a prompt that is too long", LONG, {}),
        ("a number", 3, {}),
        ("max_new_tokens 0", "a", {"max_new_tokens": 0}),
        ("a temperature below 0", "a", {"do_sample": True, "temperature": -1.0}),
        ("top_p above 1", "a", {"do_sample": True, "top_p": 1.5}),
        ("top_k below 0", "a", {"do_sample": True, "top_k": -1}),
    ):
        yield _call(f"refused: {name}", value, options=options, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of text-generation."""
    yield from record_calls(_calls(), _record)


def _record(call: Call) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    outputs: list[Tensors] = []
    answers = []
    for index, text in enumerate(items_of(call.input)):
        tokenizer, graph = open_tokenizer(call), Graph(call)
        pipeline = open_pipeline(_TASK, call, graph, tokenizer)
        answers.append(_continue(pipeline, text, call.options))
        for step, (ids, types, own) in enumerate(_rows_of_steps(graph)):
            row = {"item": index, "input_ids": ids, "token_type_ids": types}
            rows.append(row if step else describe_row(index, tokenizer.made[0], len(ids)))
            outputs.append(own)
    return case_of(call, rows, outputs, answers if isinstance(call.input, list) else answers[0])


def _rows_of_steps(graph: Graph) -> list[tuple[list[int], list[int], Tensors]]:
    """The rows that a graph saw, each once: beams begin alike."""
    return list({(*ids, -1, *types): (ids, types, own) for ids, types, own in graph.seen}.values())


def _continue(pipeline: Any, text: str, options: Mapping[str, Any]) -> Sequence[Any]:
    """The answer for a prompt: its row without the ``[SEP]`` that would end it is continued."""
    tokenizer, model = pipeline.tokenizer, pipeline.model
    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :-1]
    drawing = {name: options[name] for name in _DECODING if name in options}
    longest = options.get("max_length", tokenizer.model_max_length)
    room = options.get("max_new_tokens", options.get("max_length", 256))
    sequence = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=options.get("do_sample", False),
        max_length=min(ids.shape[1] + room, tokenizer.model_max_length, longest),
        eos_token_id=options.get("eos_token_id", tokenizer.sep_token_id),
        pad_token_id=tokenizer.pad_token_id,
        use_cache=False,
        **drawing,
    )
    kept = (
        {"return_full_text": options["return_full_text"]} if "return_full_text" in options else {}
    )
    _, _, how = pipeline._sanitize_parameters(**kept)  # noqa: SLF001 - as its own call does
    answer: Sequence[Any] = pipeline.postprocess(
        {"generated_sequence": sequence[None], "input_ids": ids, "prompt_text": text}, **how
    )
    return answer
