"""Pre-training: masks ranked as in fill-mask, pairs judged as in next-sentence-prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from scripts.goldens.vectors.call import Call, Ids, Script, Tensors, make_call
from scripts.goldens.vectors.masks import MASKED, prefers, score_masks, score_surely, tied
from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.oracle import open_tokenizer
from scripts.goldens.vectors.pairs import PAIRS, encode_pair, next_sentence
from scripts.goldens.vectors.recording import items_of, record_call
from scripts.goldens.vectors.texts import LONG
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = ["record"]

_VOCABULARY = len(WORDS)
_MASK = WORDS.index("[MASK]")
_CASED = {"file": "tokenizer_cased.json", "do_lower_case": False}


def _both(
    ids: Ids,
    types: Ids,
    masks: Script = score_masks,
    verdict: Callable[[Ids, Ids], Any] | None = None,
) -> Tensors:
    """Both heads: full numbers behind masks, small whole ones elsewhere, which nobody reads."""
    logits = np.round(drawn((ids, "rest"), len(ids), 1)) + level(0.0, len(ids), _VOCABULARY)
    logits[np.asarray(ids) == _MASK] = masks(ids, types)["logits"]
    given = verdict(ids, types) if verdict else drawn((ids, types, "next"), 2)
    return {"prediction_logits": logits, "seq_relationship_logits": given}


def _call(name: str, text: Any, pair: Any, **rest: Any) -> Call:
    return make_call(name, {"text": text, "text_pair": pair}, {"script": _both}, **rest)


def _calls() -> Iterator[Call]:
    for number, (name, text) in enumerate(MASKED.items()):
        pair = "it run." if number % 2 else "a [MASK]"
        yield _call(f"{name}, and {pair!r}", text, pair, options={"top_k": 3})
    for name, (text, pair) in PAIRS.items():
        yield _call(name, text, pair, options={"top_k": 2})
    for name, text, pair in (
        ("a mask in the second text alone", "the cat", "is [MASK]"),
        ("two masks in the second text", "it", "[MASK] and [MASK]"),
        ("a mask in both texts, at their ends", "[MASK]", "a [MASK]"),
        ("no mask", "the cat", "sat on it"),
        ("no mask among emoji", "😀", "🎉 e\u0301"),
        ("a pair of a row", "the [MASK] " * 5, "it " * 11),
    ):
        yield _call(name, text, pair, options={"top_k": 1})
    yield _call("top_k left out", "the [MASK]", "a dog")
    for count in (0, 1, _VOCABULARY):
        yield _call(f"top_k {count}", "the [MASK]", "a dog", options={"top_k": count})
    tie = tied("cat", "dog")
    for top_k in (1, 3):
        yield _call(
            f"equal logits, top_k {top_k}",
            "the [MASK]",
            "a dog",
            options={"top_k": top_k},
            script=lambda ids, types: _both(ids, types, tie, lambda *_: level(1.5, 2)),
        )
    for name, value in (("next", [30.0, -30.0]), ("not next", [-2.5, 2.5])):
        yield _call(
            f"surely {name}",
            "the [MASK]",
            "a dog",
            options={"top_k": 1},
            script=lambda ids, types, value=value: _both(
                ids, types, score_surely, lambda *_: np.array(value, dtype=np.float32)
            ),
        )
    yield _call("##ing is the likeliest", "run[MASK]", "a [MASK]", options={"top_k": 1},
               script=lambda ids, types: _both(ids, types, prefers("##ing")))  # fmt: skip
    yield _call(
        "spaces cleaned up",
        "it 's [MASK] .",
        "is n't it ?",
        options={"top_k": 2},
        tokenizer={"clean_up_tokenization_spaces": True},
    )
    yield _call("a cased vocabulary", "The [MASK]", "in É", options={"top_k": 2}, tokenizer=_CASED)
    records = [{"text": "a [MASK]", "text_pair": "it"}, {"text": "a", "text_pair": ""}]
    yield Call(name="a list", input=records, script=_both, options={"top_k": 2})
    yield Call(name="a list of one", input=records[:1], script=_both, options={"top_k": 2})


def _refused_calls() -> Iterator[Call]:
    options: dict[str, Any]
    for name, text, pair, options, late in (
        ("a pair that is too long", LONG, "[MASK]", {}, False),
        ("a text that is a number", 3, "a", {}, False),
        ("top_k above the vocabulary", "a [MASK]", "b", {"top_k": _VOCABULARY + 1}, True),
        ("top_k below 0", "a [MASK]", "b", {"top_k": -1}, False),
    ):
        fields = {"options": options, "fails": True, "late": late}
        yield _call(f"refused: {name}", text, pair, **fields)
    yield Call(name="refused: no second text", input={"text": "a"}, script=_both, fails=True)


def record() -> Iterator[dict[str, Any]]:
    """The cases of pretraining."""
    for calls in (_calls(), _refused_calls()):
        for call in calls:
            yield _record(call)


def _record(call: Call) -> dict[str, Any]:
    spelling, top_k = open_tokenizer(call), call.options.get("top_k", 5)

    def answer(_item: Any, rows: Sequence[dict[str, Any]], given: Sequence[Tensors]) -> Any:
        (row,), (outputs,) = rows, given
        masks = _candidates(spelling, row["input_ids"], outputs["prediction_logits"], top_k)
        return {
            "next_sentence": next_sentence(outputs["seq_relationship_logits"]),
            "masks": masks,
        }

    return record_call(
        call,
        items_of(call.input),
        lambda tokenizer, item: encode_pair(tokenizer, item["text"], item["text_pair"]),
        answer,
    )


def _candidates(tokenizer: Any, ids: list[int], logits: Any, top_k: int) -> list[Any]:
    places = [index for index, one in enumerate(ids) if one == _MASK]
    answers: list[Any] = []
    for place in places:
        scores = torch.softmax(torch.from_numpy(logits[place]), dim=-1).tolist()
        best = sorted(range(_VOCABULARY), key=lambda token: (-scores[token], token))[:top_k]
        answers.append([])
        for token in best:
            filled = [*ids[:place], token, *ids[place + 1 :]]
            kept = [one for one in filled if one != tokenizer.pad_token_id]
            answers[-1].append(
                {
                    "score": scores[token],
                    "token": token,
                    "token_str": tokenizer.decode([token]),
                    "sequence": tokenizer.decode(kept, skip_special_tokens=len(places) == 1),
                }
            )
    return answers
