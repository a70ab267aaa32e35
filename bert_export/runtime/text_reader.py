"""A bundle's graph that takes texts, opened when the first come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from bert_export.errors import InputError, shown
from bert_export.runtime.sessions.session import Array, Outputs, RawFeeds, Session
from bert_export.tasks.interface import TEXT, TEXT_PAIR

__all__ = ["TextReader", "takes_texts"]


def takes_texts(feeds: object) -> bool:
    """Whether feeds are texts, which a graph that takes ids does not know."""
    return isinstance(feeds, Mapping) and TEXT in feeds


class TextReader:
    """Runs the graph that takes texts; safe to call from several threads.

    Args:
        open_session: Opens its session; ``None`` where there is no bundle.
    """

    def __init__(self, open_session: Callable[[], Session] | None) -> None:
        self._open = open_session
        self._session: Session | None = None
        self._lock = Lock()
        self._closed = False

    def run(self, feeds: RawFeeds) -> Outputs:
        """Answer texts.

        Raises:
            InputError: There is no such graph, or the feeds are no texts of its inputs' shapes.
            BundleError: The graph cannot be opened, or the bundle was replaced since it was loaded.
        """
        arrays = {name: _strings(name, values) for name, values in feeds.items()}
        with self._lock:
            if self._closed:
                raise InputError("session is closed", fix="Load the bundle again")
            if self._open is None:
                raise InputError(
                    "pipeline takes no texts in run",
                    expected="one that bert_export.load opened",
                    got="one over a session of its own",
                )
            if self._session is None:
                self._session = self._open()
        return self._session.run(arrays)

    def close(self) -> None:
        """Free the graph, where it was opened."""
        with self._lock:
            self._closed = True
            if self._session is not None:
                self._session.close()


def _strings(name: str, values: Sequence[Any] | Array) -> Array:
    """An array of texts.

    Raises:
        InputError: They are no texts, or are not valid Unicode.
    """
    if name not in (TEXT, TEXT_PAIR) or isinstance(values, str | bytes):
        raise InputError(
            f"input {shown(name)} is wrong",
            expected=f"lists of strings, {TEXT} and perhaps {TEXT_PAIR}",
            got=shown(values),
        )
    try:
        array = np.array(values, object)
    except ValueError as error:  # lists of different lengths
        raise InputError(
            f"input {name} is ragged", expected="lists of equal length", got=shown(values)
        ) from error
    for text in array.flat:
        if not isinstance(text, str):
            raise InputError(f"input {name} is wrong", expected="strings", got=shown(text))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {shown(text)} is not valid Unicode", expected="no lone surrogates"
            ) from error
    return array
