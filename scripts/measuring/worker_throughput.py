"""Answers a list of texts by one way, tokenization included, and tells how long that took."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from measuring.child import peak_bytes, read_request, send, threads

Answer = Callable[[Sequence[str]], Any]

_WARM_UP = 64  # texts before the clock runs


def ours(request: Mapping[str, Any]) -> Answer:
    """A loaded bundle, sorting by length or not."""
    from bert_export import load

    pipeline = load(request["bundle"], threads=threads(), sort=request["sort"])
    return lambda texts: pipeline(list(texts), **request["options"])


def transformers_pipeline(request: Mapping[str, Any]) -> Answer:
    """The upstream pipeline in batches as they come."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(threads())
    answer = pipeline(
        request["task"], model=request["model"], device="cpu", batch_size=request["batch_size"]
    )
    return lambda texts: answer(list(texts), **request["options"])


def sentence_transformers(request: Mapping[str, Any]) -> Answer:
    """What embeds sentences upstream; it sorts by length itself."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads())
    model = SentenceTransformer(request["model"], device="cpu")
    if request["bfloat16"]:
        model.bfloat16()
    return lambda texts: model.encode(
        list(texts), batch_size=request["batch_size"], show_progress_bar=False
    )


WAYS: Mapping[str, Callable[[Mapping[str, Any]], Answer]] = {
    "ours": ours,
    "transformers pipeline": transformers_pipeline,
    "sentence-transformers": sentence_transformers,
}


def main() -> None:
    """Answer all texts once."""
    request = read_request()
    texts = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
    answer = WAYS[request["way"]](request)
    answer(texts[:_WARM_UP])
    start = time.perf_counter()
    answers = answer(texts)
    seconds = time.perf_counter() - start
    path = Path(request["answers"])
    if isinstance(answers, np.ndarray):
        with path.open("wb") as file:
            np.save(file, answers.astype(np.float32))
    else:
        path.write_text(json.dumps(answers, default=float), encoding="utf-8")
    send("result", seconds=seconds, peak_bytes=peak_bytes())


if __name__ == "__main__":
    main()
