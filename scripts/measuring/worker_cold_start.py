"""One first answer, by one way of getting it; nothing is imported before its clock runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from measuring.child import peak_bytes, read_request, send, since_spawn, threads

_STARTED = time.monotonic()


def ours(request: Mapping[str, Any]) -> Any:
    """``load(bundle)(text)``."""
    from bert_export import load

    return load(request["bundle"], threads=threads())(request["text"], **request["options"])


def transformers_pipeline(request: Mapping[str, Any]) -> Any:
    """The upstream pipeline."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(threads())
    answer = pipeline(request["task"], model=request["model"], device="cpu")
    return answer(request["text"], **request["options"])


def sentence_transformers(request: Mapping[str, Any]) -> Any:
    """What embeds sentences upstream."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads())
    return SentenceTransformer(request["model"], device="cpu").encode(request["text"])


def bare(request: Mapping[str, Any]) -> Any:
    """The least script that runs the same graph: raw outputs, nothing checked."""
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        f"{request['bundle']}/{request['graph']}", options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(f"{request['bundle']}/{request['tokenizer']}")
    encoding = tokenizer.encode(request["text"])
    columns = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    feeds = {
        node.name: np.array([columns[node.name]], dtype=np.int64) for node in session.get_inputs()
    }
    return session.run(None, feeds)


WAYS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "ours": ours,
    "transformers pipeline": transformers_pipeline,
    "sentence-transformers": sentence_transformers,
    "onnxruntime + tokenizers": bare,
}


def main() -> None:
    """Answer once and say how long that took."""
    request = read_request()
    answer = WAYS[request["way"]](request)
    ended = time.monotonic()
    send(
        "answer",
        from_spawn=since_spawn(),
        from_import=ended - _STARTED,
        peak_bytes=peak_bytes(),
        answer=str(answer)[:200],
    )


if __name__ == "__main__":
    main()
