"""One contender of ``compare_peers.py`` in a process of its own: first answer, speed, vectors.

Whatever a contender gives for a row of tokens, a sentence's vector is made of it here in the same
way: the mean over tokens, of length 1. Libraries are imported after the clock has started.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measuring.child import peak_bytes, read_request, send, since_spawn, threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Feeds = dict[str, Array]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_WARM_UPS = 2
_LEAST_RUNS = 3
_WARM_UP_TEXTS = 64


class Contender:
    """An opened contender.

    Args:
        run: Feeds (B, S) to hidden states (B, S, H) or vectors (B, H).
        embed: Texts to vectors, tokenization included; ``None`` where it has no tokenizer.
    """

    def __init__(
        self,
        run: Callable[[Feeds], Array],
        embed: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self.run = run
        self.embed = embed


def open_ours(request: Mapping[str, Any]) -> Contender:
    """A bundle as a service loads it; its graph pools by itself."""
    from bert_export import load

    pipeline = load(request["path"], target=request["target"], threads=threads())
    names = {spec.name for spec in pipeline.manifest.engine(request["target"]).graph.inputs}
    (output,) = [spec.name for spec in pipeline.manifest.engine(request["target"]).graph.outputs]

    def run(feeds: Feeds) -> Array:
        given = {name: array for name, array in feeds.items() if name in names}
        if "pooling_mask" in names:
            given["pooling_mask"] = feeds["attention_mask"]
        found: Array = pipeline.run(given)[output]
        return found

    return Contender(run, pipeline)


def open_transformers(request: Mapping[str, Any]) -> Contender:
    """The original in PyTorch, and its tokenizer in batches of 32 as they come."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    dtype = getattr(torch, request["dtype"])
    loaded = transformers.AutoModel.from_pretrained(request["path"], dtype=dtype).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["path"])  # type: ignore[no-untyped-call]
    model = torch.compile(loaded, dynamic=True) if request["compiled"] else loaded

    def run(feeds: Feeds) -> Array:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
            found: Array = model(**tensors).last_hidden_state.float().numpy()
        return found

    def embed(texts: list[str]) -> None:
        for start in range(0, len(texts), 32):
            batch = tokenizer(
                texts[start : start + 32], padding=True, truncation=True, return_tensors="np"
            )
            pool(run({name: batch[name] for name in _INPUTS}), batch["attention_mask"])

    return Contender(run, embed)


def open_sentence_transformers(request: Mapping[str, Any]) -> Contender:
    """What embeds sentences upstream; it sorts by length and pools by itself."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads())
    model = SentenceTransformer(request["path"], device="cpu")

    def run(feeds: Feeds) -> Array:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
            found: Array = model(tensors)["sentence_embedding"].numpy()
        return found

    return Contender(run, lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False))


def open_onnxruntime(request: Mapping[str, Any]) -> Contender:
    """An ONNX file with ONNX Runtime's own settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        request["path"], options, providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_inputs()]
    output = session.get_outputs()[0].name

    def run(feeds: Feeds) -> Array:
        found: Array = session.run([output], {name: feeds[name] for name in names})[0]
        return found

    return Contender(run)


def open_openvino(request: Mapping[str, Any]) -> Contender:
    """OpenVINO for latency; all else as OpenVINO chooses."""
    import openvino

    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads()}
    compiled = openvino.Core().compile_model(request["path"], "CPU", options)
    inference = compiled.create_infer_request()
    names = [port.get_any_name() for port in compiled.inputs]

    def run(feeds: Feeds) -> Array:
        found = inference.infer({name: feeds[name] for name in names}, share_inputs=True)
        states: Array = found[compiled.outputs[0]].copy()
        return states

    return Contender(run)


def open_ctranslate2(request: Mapping[str, Any]) -> Contender:
    """CTranslate2's encoder; it takes ids and lengths."""
    import ctranslate2
    import numpy as np

    encoder = ctranslate2.Encoder(
        request["path"], device="cpu", compute_type="int8", intra_threads=threads()
    )

    def run(feeds: Feeds) -> Array:
        ids = ctranslate2.StorageView.from_array(feeds["input_ids"].astype(np.int32))
        sizes = feeds["attention_mask"].sum(axis=1).astype(np.int32)
        lengths = ctranslate2.StorageView.from_array(sizes)
        states: Array = np.array(encoder.forward_batch(ids, lengths).last_hidden_state)
        return states

    return Contender(run)


OPENERS: Mapping[str, Callable[[Mapping[str, Any]], Contender]] = {
    "ours": open_ours,
    "transformers": open_transformers,
    "sentence-transformers": open_sentence_transformers,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "ctranslate2": open_ctranslate2,
}


def pool(states: Array, mask: Array) -> Array:
    """Vectors (B, H) of length 1; what is pooled already keeps its direction."""
    import numpy as np

    weights = mask[..., None].astype(np.float32)  # (B, S, 1)
    vectors = states if states.ndim == 2 else (states * weights).sum(axis=1)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    pooled: Array = vectors / np.maximum(norms, 1e-12)
    return pooled


def read_batches(file: str) -> list[Feeds]:
    """The batches that ``encode`` wrote."""
    import numpy as np

    with np.load(file) as stored:
        arrays = dict(stored)
    count = len(arrays) // len(_INPUTS)
    return [{name: arrays[f"{name}.{index}"] for name in _INPUTS} for index in range(count)]


def median_seconds(call: Callable[[], object], seconds: float) -> float:
    """Median of repeated calls, after some that only warm up."""
    for _ in range(_WARM_UPS):
        call()
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < _LEAST_RUNS or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[len(taken) // 2]


def measure(request: Mapping[str, Any]) -> None:
    """One turn of a contender."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: threads()])
    contender = OPENERS[request["kind"]](request)
    first, *others = read_batches(request["shapes_file"])
    contender.run(first)
    send("first", seconds=since_spawn(), peak_bytes=peak_bytes())
    for label, feeds in zip(request["shapes"], [first, *others], strict=True):
        taken = median_seconds(lambda: contender.run(feeds), request["seconds"])  # noqa: B023  called at once
        send("shape", label=label, seconds=taken)
    batches = read_batches(request["batches_file"])
    for feeds in batches[:: max(1, len(batches) // 4)]:
        contender.run(feeds)  # lengths that an engine has not met yet
    start = time.perf_counter()
    vectors = [pool(contender.run(feeds), feeds["attention_mask"]) for feeds in batches]
    send("rows", seconds=time.perf_counter() - start)
    if request["vectors_file"]:
        import numpy as np

        np.save(request["vectors_file"], np.concatenate(vectors).astype(np.float32))
    if contender.embed is not None:
        import json

        texts = json.loads(Path(request["texts_file"]).read_text(encoding="utf-8"))
        contender.embed(texts[:_WARM_UP_TEXTS])
        start = time.perf_counter()
        contender.embed(texts)
        send("texts", seconds=time.perf_counter() - start)
    send("done", peak_bytes=peak_bytes())


def encode(request: Mapping[str, Any]) -> None:
    """Tokenize texts with our bundle: rows of exact shapes, and batches sorted by length."""
    import json

    import numpy as np

    from bert_export import load
    from bert_export.measuring.worker import rows_of_shape
    from bert_export.measuring.workloads import parse_shapes
    from bert_export.runtime.batching import batch_rows, pad_rows

    texts = json.loads(Path(request["texts_file"]).read_text(encoding="utf-8"))
    with load(request["bundle"], threads=1) as pipeline:
        pad_id = pipeline.tokenizer.pad_id
        records = [{"text": text} for text in texts[:256]]
        shapes = parse_shapes(",".join(request["shapes"]))
        batches = [
            pad_rows(rows_of_shape(pipeline, records, shape), pad_id=pad_id) for shape in shapes
        ]
        _save(request["shapes_file"], batches)
        items = [pipeline.item({"text": text}) for text in texts]
        rows = [row for (row,) in pipeline.encode(items, pipeline.dataset_settings())]
        lengths = [len(row) for row in rows]
        order = batch_rows(lengths, token_budget=32 * max(lengths), max_rows=32)
        _save(
            request["batches_file"],
            [pad_rows([rows[index] for index in batch], pad_id=pad_id) for batch in order],
        )
        np.save(request["order_file"], np.concatenate([np.asarray(batch) for batch in order]))
    send("encoded", tokens=sum(lengths), rows=len(rows))


def _save(file: str, batches: list[Any]) -> None:
    import numpy as np

    arrays = {
        f"{name}.{index}": feeds[name] for index, feeds in enumerate(batches) for name in _INPUTS
    }
    np.savez(file, **arrays)


def convert(request: Mapping[str, Any]) -> None:
    """Convert a checkpoint for CTranslate2, as its own command does."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(request["model"]).convert(
        request["output"], quantization="int8", force=True
    )
    send("result")


if __name__ == "__main__":
    asked = read_request()
    {"measure": measure, "encode": encode, "convert": convert}[asked["do"]](asked)
