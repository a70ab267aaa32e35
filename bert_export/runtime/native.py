"""The compiled module, where it is built: the C++ tokenizer, decoding and programs for Python.

``bert-export cpp --native`` builds it. Answers are the same with it and without it, scores within
1e-6; what it cannot do exactly, such as a vocabulary that is no WordPiece, and what it refuses, the
``tokenizers`` library and :mod:`bert_export.runtime.decoding` do. :func:`native_state` says whether
it is used and why not, and so do ``inspect`` and the logger ``bert_export``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from importlib import import_module
from typing import Any

import msgspec
from numpy.typing import NDArray

from bert_export.bundle import TokenizerRecord
from bert_export.errors import MissingExtraError, one_line
from bert_export.runtime.decoding.encoded import Encoded

__all__ = [
    "MODULE",
    "SWITCH",
    "NativeEncoding",
    "NativeTagger",
    "NativeTokenizer",
    "has_native",
    "native_state",
    "open_native",
    "require_native",
]

MODULE = "_native"
"""Name of the compiled module, below :mod:`bert_export.runtime`."""

SWITCH = "BERT_EXPORT_NATIVE"
"""Environment variable; 0 leaves the module's tokenizer and decoding unused."""

_LOGGER = logging.getLogger(__name__)
_BUILD = "bert-export cpp --native"


class NativeEncoding(Encoded):
    """A row that the module made; its fields become Python's when they are asked for.

    Args:
        row: The module's row, whose ``numbers()`` are ids and token types, int64 (S,) each.
        again: Encodes once more with the ``tokenizers`` library, for what was cut off; ``None``
            where nothing was.
    """

    row: Any
    _again: Callable[[], Encoded] | None

    def __init__(self, row: Any, again: Callable[[], Encoded] | None) -> None:
        own = self.__dict__  # the class is frozen
        own["row"] = row
        own["_again"] = again

    def __len__(self) -> int:
        return len(self.row)

    def __getattr__(self, name: str) -> Any:
        if name == "overflowing":
            value: Any = () if self._again is None else self._again().overflowing
        elif name in _FIELDS:
            value = getattr(self.row, name)
        else:
            raise AttributeError(name)
        self.__dict__[name] = value
        return value


_FIELDS = frozenset(
    {
        "ids",
        "type_ids",
        "tokens",
        "offsets",
        "word_ids",
        "sequence_ids",
        "special_tokens_mask",
    }
)


class NativeTokenizer:
    """The module's tokenizer; safe to call from several threads.

    Args:
        module: The compiled module.
        backend: Its tokenizer.
    """

    def __init__(self, module: Any, backend: Any) -> None:
        self._module, self._backend = module, backend
        self._encode, self._encode_text = backend.encode, backend.encode_text

    def encode_text(
        self, text: str, limit: int, again: Callable[[int], Encoded], *, add_special_tokens: bool
    ) -> NativeEncoding | None:
        """The row of one text; see :meth:`encode`."""
        try:
            row = self._encode_text(text, limit, add_special_tokens)
        except (ValueError, TypeError):
            return None
        return NativeEncoding(row, partial(again, 0) if len(row) >= limit else None)

    def encode(
        self,
        texts: Sequence[str],
        seconds: Sequence[str],
        limit: int,
        *,
        add_special_tokens: bool,
        again: Callable[[int], Encoded],
    ) -> list[NativeEncoding] | None:
        """Rows of texts or pairs, of which the longer text is cut first.

        Args:
            texts: One per row.
            seconds: Their second texts; none where there are no pairs.
            limit: Tokens of a row.
            add_special_tokens: Whether ``[CLS]`` and ``[SEP]`` are added.
            again: Encodes the text of an index with the ``tokenizers`` library.

        Returns:
            The rows; ``None`` where the module refuses them, so that the caller takes the path
            whose errors name the text.
        """
        try:
            rows = self._encode(texts, seconds, limit, add_special_tokens)
        except (ValueError, TypeError):  # UnicodeEncodeError is a ValueError
            return None
        return [
            NativeEncoding(row, partial(again, index) if len(row) >= limit else None)
            for index, row in enumerate(rows)
        ]

    def tagger(self, labels: Sequence[str]) -> NativeTagger:
        """What tags the texts of this tokenizer's rows.

        Args:
            labels: In id order.
        """
        return NativeTagger(self._module.Tagger(self._backend, list(labels)))


class NativeTagger:
    """The module's decoding of tagged tokens; safe to call from several threads.

    Args:
        backend: The module's object.
    """

    def __init__(self, backend: Any) -> None:
        self._decode = backend.decode

    def decode(
        self,
        text: str,
        encoding: Encoded,
        logits: NDArray[Any],
        aggregation: str,
        ignore_labels: Collection[str],
    ) -> list[dict[str, Any]] | None:
        """As :func:`bert_export.runtime.decoding.entities.decode_entities`, for one window.

        Args:
            text: What was encoded.
            encoding: Its row.
            logits: Float32 (S, L).
            aggregation: How tokens become entities.
            ignore_labels: Labels that are left out, after the grouping.

        Returns:
            The entries; ``None`` where the module did not make the row, or numbers are others.
        """
        if type(encoding) is not NativeEncoding:
            return None
        entries: list[dict[str, Any]] | None = self._decode(
            text, encoding.row, logits, aggregation, list(ignore_labels)
        )
        return entries


def open_native(json: str, record: TokenizerRecord) -> NativeTokenizer | None:
    """The module's tokenizer for a ``tokenizer.json``; ``None`` where it is not to be used.

    The reason is logged, once per process where it is not the tokenizer's.
    """
    module, reason = _module()
    if module is None:
        _log_once(reason)
        return None
    try:
        return NativeTokenizer(module, module.Tokenizer(json, msgspec.to_builtins(record)))
    except ValueError as error:
        _LOGGER.info("tokenizer in pure Python: %s", one_line(error))
        return None


def has_native() -> bool:
    """Whether the module is built, of these sources."""
    return _built_module()[0] is not None


def require_native(feature: str) -> Any:
    """The module, for what nothing else does; :data:`SWITCH` means nothing here.

    Args:
        feature: What needs it; names it in the message.

    Raises:
        MissingExtraError: It is not built, or of other sources; says how to build it.
    """
    module, fault = _built_module()
    if module is None:
        raise MissingExtraError(
            feature, extra="native", needs=f"the compiled module, which {fault}", build=_BUILD
        )
    return module


def native_state() -> str:
    """Whether the module is used, in one line."""
    module, reason = _module()
    return reason if module is None else "compiled module"


@cache
def _log_once(reason: str) -> None:
    _LOGGER.info("%s", reason)


def _module() -> tuple[Any, str]:
    """The module, or ``None`` and why it is not used."""
    if os.environ.get(SWITCH) == "0":
        return None, f"pure Python: {SWITCH} is 0"
    module, fault = _built_module()
    return module, f"pure Python: the compiled module {fault}. Run: {_BUILD}"


@cache
def _built_module() -> tuple[Any, str]:
    """The module, or ``None`` and what is wrong with it."""
    try:
        module = import_module(f"bert_export.runtime.{MODULE}")
    except ModuleNotFoundError:
        return None, "is not built"
    except ImportError as error:
        return None, f"cannot be loaded: {one_line(error)}"
    from bert_export.runtime.cpp_build import sources_state  # what builds is no part of a load

    return (
        (module, "") if module.state == sources_state() else (None, "was built from other sources")
    )
