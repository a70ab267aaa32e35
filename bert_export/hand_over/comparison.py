"""A written graph in a default ONNX Runtime session, beside the bundle's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_export.errors import VerificationError
from bert_export.exporter.cases import Case, cached_cases, make_cases
from bert_export.exporter.unseen_text import UnseenText, spread
from bert_export.hand_over.consumer import Bundle
from bert_export.quantization.calibration.rows import encode_text, read_calibration, unknown_share
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks import MASKED_POSITIONS, CheckpointFacts, find_task
from bert_export.tasks.interface import cached_outputs

__all__ = ["compare_graph"]

_ROWS = 64
_CLOSE = 1e-5


def compare_graph(bundle: Bundle, graph: Path) -> float:
    """Run real text and awkward shapes through a graph in a default session and in the bundle's.

    Args:
        bundle: With the same head.
        graph: In one of the forms of :mod:`bert_export.hand_over.graph_forms`.

    Returns:
        The largest absolute difference of an output.

    Raises:
        VerificationError: They differ by more than rounding: 1e-5, or that share of the output's
            largest number.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    largest = 0.0
    for case in _cases(bundle):
        feeds = case.feeds
        ours = bundle.pipeline.run(feeds)
        given = {name: feeds[name] for name in names}
        theirs = _as_ours(dict(zip(outputs, session.run(outputs, given), strict=True)), ours, feeds)
        for name, own in ours.items():
            difference = float(np.max(np.abs(own - theirs[name]), initial=0.0))
            bound = _CLOSE * max(1.0, float(np.max(np.abs(own), initial=0.0)))
            if not difference <= bound:
                raise VerificationError(
                    f"graph {graph.name} answers differently in a default session ({case.name})",
                    expected=f"{name} within {bound:.1e} of the bundle's",
                    got=f"{difference:.1e}",
                )
            largest = max(largest, difference)
    return largest


def _cases(bundle: Bundle) -> Iterator[Case]:
    """Real text and awkward shapes, and where the graph keeps a cache calls that follow others."""
    pipeline, model, text = bundle.pipeline, bundle.manifest.model, _text(bundle)
    yield from make_cases(
        pipeline.tokenizer, (text,), feeds=pipeline.feeds, vocab_size=model.vocab_size
    )
    if not cached_outputs(bundle.engine.graph.outputs):
        return
    facts = CheckpointFacts(
        layers=model.num_hidden_layers,
        heads=model.num_attention_heads,
        head_size=model.hidden_size // model.num_attention_heads,
    )
    following = cached_cases(
        pipeline.run,
        pipeline.tokenizer,
        text.rows[0],
        feeds=pipeline.feeds,
        interface=find_task(bundle.manifest.task).interface(facts),
        vocab_size=model.vocab_size,
        positions=model.max_position_embeddings,
    )
    yield from (case for case, _ in following)


def _text(bundle: Bundle) -> UnseenText:
    data = read_calibration(find_task(bundle.manifest.task))
    records = spread(encode_text(data, bundle.pipeline).masked, _ROWS)
    rows = [row for rows in records for row in rows]
    share = unknown_share(rows, bundle.pipeline.tokenizer.unk_id)
    return UnseenText(data.source, False, records, share)  # noqa: FBT003  held out of nothing


def _as_ours(theirs: Mapping[str, Any], ours: Outputs, feeds: Feeds) -> dict[str, Any]:
    """A form's outputs with the names and axes of the bundle's."""
    made = {}
    for name, own in ours.items():
        array = theirs[name] if name in theirs else next(iter(theirs.values()))
        if MASKED_POSITIONS in feeds and array.ndim == own.ndim + 1:
            array = array.reshape(-1, *array.shape[2:])[feeds[MASKED_POSITIONS]]
        elif array.ndim == own.ndim + 1:  # one token that holds the pooled vector
            array = array[:, 0]
        made[name] = array
    return made
