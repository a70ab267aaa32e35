"""What a case is before it is recorded: a call, and what the graph is to say of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.goldens.vectors.numbers import drawn, level
from scripts.goldens.vectors.vocabulary import WORDS

__all__ = [
    "RECORD",
    "Call",
    "Ids",
    "Script",
    "Tensors",
    "drawn_logits",
    "fixed_logits",
    "make_call",
    "tied_words",
]

Tensors = dict[str, NDArray[np.float32]]
Ids = Sequence[int]
Script = Callable[[Ids, Ids], Tensors]
"""A row's ids and token types to its outputs, as the graph's without the batch axis."""

RECORD: dict[str, Any] = {
    "file": "tokenizer.json",
    "max_length": 24,
    "do_lower_case": True,
    "clean_up_tokenization_spaces": False,
    "truncation_side": "right",
}
"""The manifest's tokenizer record of a case that says nothing else."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a pipeline.

    Args:
        name: What is peculiar about it.
        input: What the pipeline is called with.
        script: What the graph says of a row.
        options: The call's other arguments, by name.
        labels: The head's labels, in id order.
        postprocessing: The manifest's.
        tokenizer: Where its record differs from :data:`RECORD`.
        fails: Whether the call is to be refused.
        late: Whether it is refused only when the graph has answered its rows.
        warns: Whether the call warns.
        original: Arguments for the original's pipeline that ours has as defaults.
    """

    name: str
    input: Any
    script: Script
    options: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    postprocessing: Mapping[str, Any] = field(default_factory=dict)
    tokenizer: Mapping[str, Any] = field(default_factory=dict)
    fails: bool = False
    late: bool = False
    warns: bool = False
    original: Mapping[str, Any] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, Any]:
        """The whole tokenizer record."""
        return RECORD | dict(self.tokenizer)


def make_call(name: str, value: Any, defaults: Mapping[str, Any], **rest: Any) -> Call:
    """A call of that name and input.

    Args:
        name: See :class:`Call`.
        value: Its input.
        defaults: Other fields, where ``rest`` does not name them.
        rest: Other fields.
    """
    fields: dict[str, Any] = {"name": name, "input": value} | dict(defaults) | rest
    return Call(**fields)


def drawn_logits(labels: int) -> Script:
    """Logits (labels,) that depend on the row."""
    return lambda ids, types: {"logits": drawn((ids, types), labels)}


def fixed_logits(*logits: float) -> Script:
    """The same logits for every row."""
    return lambda *_: {"logits": np.array(logits, dtype=np.float32)}


def tied_words(*words: str) -> Script:
    """Logits of the next token, of which these words have the same largest ones."""

    def script(_ids: Ids, _types: Ids) -> Tensors:
        logits = level(-1.0, len(WORDS))
        logits[[WORDS.index(word) for word in words]] = 1.5
        return {"logits": logits}

    return script
