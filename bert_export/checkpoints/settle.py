"""What a checkpoint does not say: taken from the user, or assumed and said.

Checkpoints of TensorFlow 1 name no labels, do not say whether their vocabulary is cased, and call
two forms of GELU by one name. Other checkpoints may lack the same facts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from bert_export.bundle import CheckpointOptions
from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.errors import ConfigError, TokenizerError

__all__ = ["Assumption", "settle"]

_GELU_FORMS: Mapping[str, Literal["erf", "tanh"]] = MappingProxyType(
    {"gelu_python": "erf", "gelu_new": "tanh", "gelu_fast": "tanh", "gelu_pytorch_tanh": "tanh"}
)
_CLASSIFIER = "classifier.weight"
_CASED_SHARE = 0.01  # of the words of a cased vocabulary, far more have capitals
_WORD_MARK, _MARKED_SHARE = "▁", 0.1


@dataclass(frozen=True, slots=True)
class Assumption:
    """What was taken for granted.

    Args:
        of_labels: Whether it matters to tasks with labels alone.
        text: A sentence for the user.
    """

    of_labels: bool
    text: str


def settle(
    checkpoint: Checkpoint, options: CheckpointOptions
) -> tuple[Checkpoint, tuple[Assumption, ...]]:
    """Give a checkpoint the facts that it lacks.

    Args:
        checkpoint: As it was read.
        options: What the user says of it.

    Returns:
        The checkpoint with those facts, and what had to be assumed where neither says them and the
        choice matters.

    Raises:
        ConfigError: The options contradict the config or the head.
        TokenizerError: They contradict the tokenizer.
    """
    assumptions: list[Assumption] = []
    for settle_one in (_settle_labels, _settle_gelu, _settle_case, _settle_code, _settle_pieces):
        checkpoint, assumption = settle_one(checkpoint, options)
        if assumption is not None:
            assumptions.append(assumption)
    return checkpoint, tuple(assumptions)


def _settle_labels(
    checkpoint: Checkpoint, options: CheckpointOptions
) -> tuple[Checkpoint, Assumption | None]:
    names, stated = options.labels, checkpoint.config.get("id2label")
    if not names:
        if stated is not None or _CLASSIFIER not in checkpoint.tensors:
            return checkpoint, None
        return checkpoint, Assumption(
            of_labels=True,
            text="labels are called LABEL_0 and so on, since the checkpoint does not name them; "
            "--labels does",
        )
    if isinstance(stated, Mapping) and not _are_generic(stated):
        own = tuple(map(str, stated.values()))
        if own != names:
            raise _conflict(checkpoint, "labels", "those that its id2label names", own, names)
    rows = [
        *([len(stated)] if isinstance(stated, Mapping) else []),
        *(len(tensor) for name, tensor in checkpoint.tensors.items() if name == _CLASSIFIER),
    ]
    if any(count != len(names) for count in rows):
        raise _conflict(checkpoint, "labels", f"{rows[-1]} names, as its head has", "", len(names))
    config = checkpoint.config | {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }
    return replace(checkpoint, config=config), None


def _are_generic(names: Mapping[Any, Any]) -> bool:
    return all(str(name) == f"LABEL_{index}" for index, name in names.items())


def _settle_gelu(
    checkpoint: Checkpoint, options: CheckpointOptions
) -> tuple[Checkpoint, Assumption | None]:
    stated, form = checkpoint.config.get("hidden_act", "gelu"), options.gelu
    if form is None:
        if stated != "gelu" or not checkpoint.is_of_google:
            return checkpoint, None
        return checkpoint, Assumption(
            of_labels=False,
            text="GELU is computed by erf, as transformers reads it; Google's code does so by tanh "
            "since November 2018, which --gelu tanh says",
        )
    if stated != "gelu" and _GELU_FORMS.get(stated) != form:
        raise _conflict(checkpoint, "gelu", "the hidden_act of its config", stated, form)
    if form == "erf" or stated != "gelu":
        return checkpoint, None
    return replace(checkpoint, config=checkpoint.config | {"hidden_act": "gelu_new"}), None


def _settle_case(
    checkpoint: Checkpoint, options: CheckpointOptions
) -> tuple[Checkpoint, Assumption | None]:
    tokenizer, lower = checkpoint.tokenizer, options.lower_case
    if lower is not None:
        if not tokenizer.case_is_open and tokenizer.do_lower_case != lower:
            raise TokenizerError(
                f"checkpoint {checkpoint.source} contradicts --{'un' if lower else ''}cased",
                expected="what its tokenizer says",
                got="lower case" if tokenizer.do_lower_case else "no lower case",
                fix="Leave the option out",
            )
        return replace(checkpoint, tokenizer=tokenizer.with_case(lower=lower)), None
    if not tokenizer.case_is_open:
        return checkpoint, None
    cased = _has_capitals(tokenizer.json)
    if checkpoint.is_of_google:
        told = "has" if cased else "has no"
        return replace(checkpoint, tokenizer=tokenizer.with_case(lower=not cased)), Assumption(
            of_labels=False,
            text=f"text is {'not ' if cased else ''}lower-cased, since the vocabulary {told} "
            f"capitals; --{'un' if cased else ''}cased says otherwise",
        )
    if not cased:
        return checkpoint, None
    return checkpoint, Assumption(
        of_labels=False,
        text="text is lower-cased, as transformers does where nothing says so, yet the vocabulary "
        "has capitals; --cased says that it is not",
    )


def _settle_code(
    checkpoint: Checkpoint, _options: CheckpointOptions
) -> tuple[Checkpoint, Assumption | None]:
    """Say that code which a checkpoint names is not run: it may compute something else."""
    named = checkpoint.config.get("auto_map")
    if not isinstance(named, Mapping) or not any("Model" in str(key) for key in named):
        return checkpoint, None
    return checkpoint, Assumption(
        of_labels=False,
        text="the model is a BERT as transformers computes it; the checkpoint's own code, which "
        "its auto_map names, is not run",
    )


def _settle_pieces(
    checkpoint: Checkpoint, _options: CheckpointOptions
) -> tuple[Checkpoint, Assumption | None]:
    """Say that a vocabulary of SentencePiece is split as BERT splits, as ``transformers`` does."""
    model = json.loads(checkpoint.tokenizer.json)["model"]
    if model["type"] != "WordPiece":
        return checkpoint, None
    marked = sum(word.startswith(_WORD_MARK) for word in model["vocab"])
    prefix = model["continuing_subword_prefix"]
    continued = sum(word.startswith(prefix) for word in model["vocab"]) if prefix else 1
    if marked <= _MARKED_SHARE * len(model["vocab"]) or continued:
        return checkpoint, None
    return checkpoint, Assumption(
        of_labels=False,
        text=f"text is split as BERT does, yet the vocabulary marks words by {_WORD_MARK} as "
        "SentencePiece does: the checkpoint may need a tokenizer.json",
    )


def _has_capitals(tokenizer: str) -> bool:
    """Whether the words of a vocabulary are cased; names in brackets are no words."""
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    words = [word for word in vocabulary if not word.startswith(("[", "<"))]
    capitals: int = sum(word != word.lower() for word in words)
    return capitals > _CASED_SHARE * len(words)


def _conflict(
    checkpoint: Checkpoint, option: str, expected: str, stated: object, given: object
) -> ConfigError:
    return ConfigError(
        f"checkpoint {checkpoint.source} contradicts --{option}",
        expected=f"{expected}{f' ({stated})' if stated else ''}",
        got=given if isinstance(given, int) else repr(given),
        fix="Leave the option out, or correct it",
    )
