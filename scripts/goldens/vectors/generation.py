"""Text generation: the original's ``generate``, spelt by its pipeline, a row for every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.oracle import Graph, open_pipeline, open_tokenizer, silence
from scripts.goldens.vectors.recording import case_of, describe_row, items_of
from scripts.goldens.vectors.texts import LONG, TEXTS
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_TASK = "text-generation"
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}
_SAMPLED = {"do_sample": True, "seed": 7}


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


def _tied(*words: str) -> Script:
    def script(_ids: Ids, _types: Ids) -> Tensors:
        logits = level(-1.0, len(WORDS))
        logits[[WORDS.index(word) for word in words]] = 1.5
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
    yield _call("equal logits", "the cat", 2, script=_tied("dog", "cat", "york"))
    yield _call("nothing but equal logits", "the cat", 2, script=_tied())
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
    for call in _calls():
        with silence():
            yield _record(call)


def _record(call: Call) -> dict[str, Any]:
    if call.fails:
        return case_of(call, (), (), None)
    rows: list[dict[str, Any]] = []
    outputs: list[Tensors] = []
    answers = []
    for index, text in enumerate(items_of(call.input)):
        tokenizer, graph = open_tokenizer(call), Graph(call)
        pipeline = open_pipeline(_TASK, call, graph, tokenizer)
        answers.append(_continue(pipeline, text, call.options))
        for step, (ids, types, own) in enumerate(graph.seen):
            row = {"item": index, "input_ids": ids, "token_type_ids": types}
            rows.append(row if step else describe_row(index, tokenizer.made[0], len(ids)))
            outputs.append(own)
    return case_of(call, rows, outputs, answers if isinstance(call.input, list) else answers[0])


def _continue(pipeline: Any, text: str, options: Mapping[str, Any]) -> Sequence[Any]:
    """The answer for a prompt: its row without the ``[SEP]`` that would end it is continued."""
    tokenizer, model = pipeline.tokenizer, pipeline.model
    ids = tokenizer(text, return_tensors="pt")["input_ids"][:, :-1]
    drawing = {name: options[name] for name in ("temperature", "top_k", "top_p") if name in options}
    sequence = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=options.get("do_sample", False),
        max_length=min(
            ids.shape[1] + options.get("max_new_tokens", 256), tokenizer.model_max_length
        ),
        eos_token_id=tokenizer.sep_token_id,
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
