"""Rows through a graph whose every output is wanted, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bert_export.runtime.batching import Row, batches_of
from bert_export.runtime.sessions.session import Feeds, Outputs, Session

__all__ = ["run_batches"]

_TOKEN_BUDGET = 512
"""Padded tokens per call: all observed activations of a call are in memory together."""


def run_batches(
    session: Session,
    rows: Sequence[Row],
    *,
    feeds: Callable[[Sequence[Row]], Feeds],
    advance: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Feeds, Outputs]]:
    """Run rows of any length, those of similar length together.

    Args:
        session: Over the graph.
        rows: The rows.
        feeds: The graph's inputs for a batch of rows.
        advance: Called with (rows done, rows in all) after each batch.

    Yields:
        The inputs of a batch and the graph's outputs for them, padding included.
    """
    done = 0
    for batch in batches_of(rows, token_budget=_TOKEN_BUDGET):
        inputs = feeds(batch)
        yield inputs, session.run(inputs)
        done += len(batch)
        if advance is not None:
            advance(done, len(rows))
