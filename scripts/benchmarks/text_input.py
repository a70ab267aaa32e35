"""What a graph that takes texts costs beside ``tokenizers`` and the graph that takes ids.

Usage::

    python scripts/benchmarks/text_input.py BUNDLE

BUNDLE was exported with ``--text-input``. Both sides take turns on one thread, whose processor time
counts, so that other work on the machine moves neither much: the tokenizer's part of the graph and
the library on the same texts, alone and in batches of 32; and opening one graph and the other.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import onnx_ir as ir
import onnxruntime
import tokenizers

from bert_export.bundle import Manifest, read_manifest
from bert_export.datasets import read_dataset
from bert_export.errors import TargetError
from bert_export.runtime.sessions.onnxruntime import start_engine
from bert_export.tasks.text_classification import TASK
from bert_export.text_input.model import tokenizer_model
from bert_export.text_input.plan import make_plan

BATCH = 32
MOST_RATIO, MOST_ALONE, MOST_START, MOST_BYTES = 1.3, 0.4, 0.15, 3_000_000
"""Times the library's, milliseconds, seconds, bytes."""


def measure(bundle: Path, turns: int) -> dict[str, tuple[float, float]]:
    """Figures by name, each with its bound."""
    manifest = read_manifest(bundle)
    engine = manifest.engine()
    if engine.text is None:
        raise TargetError(
            f"bundle {bundle} has no graph that takes texts", fix="Export it with --text-input"
        )
    texts = [record["text"] for record in read_dataset(TASK, "demo:snips").records]
    texts = texts[: len(texts) // BATCH * BATCH]
    session, library = _sides(bundle, manifest)
    batches = [texts[index : index + BATCH] for index in range(0, len(texts), BATCH)]
    arrays = [np.array(batch, object) for batch in batches]
    singles = [np.array([text], object) for text in texts[:BATCH]]
    run = partial(session.run, ["input_ids", "attention_mask"])
    ours, theirs = _turns(
        [
            lambda: [run({"text": array}) for array in arrays],
            lambda: [
                [(row.ids, row.attention_mask) for row in library.encode_batch(batch)]
                for batch in batches
            ],
        ],
        turns,
    )
    (alone,) = _turns([lambda: [run({"text": array}) for array in singles]], turns)
    text_file, own_file = bundle / engine.text.graph.file, bundle / engine.graph.file
    starts = _turns([lambda: start_engine(text_file), lambda: start_engine(own_file)], 7)
    return {
        f"times the library's time, batches of {BATCH}": (ours / theirs, MOST_RATIO),
        "milliseconds of one short text": (1e3 * alone / len(singles), MOST_ALONE),
        "seconds more to open": (starts[0] - starts[1], MOST_START),
        "bytes more": (float(_bytes_more(bundle)), MOST_BYTES),
    }


def _sides(
    bundle: Path, manifest: Manifest
) -> tuple[onnxruntime.InferenceSession, tokenizers.Tokenizer]:
    text = (bundle / manifest.tokenizer.file).read_text(encoding="utf-8")
    model = tokenizer_model(make_plan(text, manifest.tokenizer, offsets=False), pairs=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = ir.serde.serialize_model(model).SerializeToString()
    library = tokenizers.Tokenizer.from_str(text)
    library.enable_truncation(manifest.tokenizer.max_length)
    library.enable_padding()
    return onnxruntime.InferenceSession(data, options), library


def _turns(calls: Sequence[Callable[[], object]], count: int) -> list[float]:
    """Medians of processor seconds of each call; the first turn is not counted."""
    seconds = [[_seconds(call) for call in calls] for _ in range(count + 1)][1:]
    return [statistics.median(each) for each in zip(*seconds, strict=True)]


def _seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def _bytes_more(bundle: Path) -> int:
    """The graph file, and what it alone has in the file of weights."""
    engine = read_manifest(bundle).engine()
    stored = [
        {
            (tensor.offset, tensor.nbytes)
            for graph in ir.load(bundle / file).graphs()
            for value in graph.initializers.values()
            if isinstance(tensor := value.const_value, ir.ExternalTensor)
        }
        for file in engine.graph_files
    ]
    own = sum(size for _, size in stored[1] - stored[0])
    return (bundle / engine.graph_files[1]).stat().st_size + own


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--turns", default=25, show_default=True, help="Timed turns of each side.")
def main(bundle: Path, turns: int) -> None:
    """Time a graph that takes texts; leaves with 1 where a bound is exceeded."""
    found = measure(bundle, turns)
    for name, (value, bound) in found.items():
        print(f"{name:44}{value:14,.3f}   at most {bound:,}")
    if any(value > bound for value, bound in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
