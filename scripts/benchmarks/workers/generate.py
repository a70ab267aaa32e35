"""Prompts that are continued: by a bundle, by a bundle without its cache, by the original.

A worker of ``bert_export/measuring/serving.py``. Every contender continues random prompts of one
length by a fixed number of likeliest tokens, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import BertExportError

if TYPE_CHECKING:
    from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline

__all__ = ["EXPECTED_ERRORS", "Contender", "open_contender"]

EXPECTED_ERRORS = (BertExportError,)

_SEED = 0
_FIRST_WORD, _LAST_WORD = 1000, 20_000

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Contender:
    """An opened contender.

    Args:
        grow: Prompts (B, S) and how many tokens to their new tokens (B, N).
    """

    grow: Callable[[Ids, int], Ids]

    def calls(self, request: Mapping[str, Any]) -> list[Callable[[], object]]:
        """One call: ``rows`` prompts of ``tokens`` tokens are continued by ``new`` ones."""
        prompts, new = _prompts(request), request["new"]
        return [lambda: self.grow(prompts, new)]

    def first_answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Continue one short prompt."""
        return {"answer": self.grow(_prompts({**request, "rows": 1, "tokens": 4}), 2).tolist()}

    def tokens(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The new tokens themselves."""
        return {"tokens": self.grow(_prompts(request), request["new"]).tolist()}


def _prompts(request: Mapping[str, Any]) -> Ids:
    rng = np.random.default_rng(_SEED)
    return rng.integers(_FIRST_WORD, _LAST_WORD, (request["rows"], request["tokens"]))


def open_contender(request: Mapping[str, Any]) -> Contender:
    """Open one.

    Args:
        request: ``kind``: ``bundle``, ``recompute`` or ``transformers``; ``path``; ``threads``.
    """
    openers = {"bundle": _bundle, "recompute": _recompute, "transformers": _transformers}
    return Contender(openers[request["kind"]](request["path"], request["threads"]))


def _bundle(path: str, threads: int) -> Callable[[Ids, int], Ids]:
    import bert_export

    pipeline = cast("TextGenerationPipeline", bert_export.load(path, threads=threads))

    def grow(prompts: Ids, new: int) -> Ids:
        return np.asarray(pipeline.continue_ids(list(prompts), new))

    return grow


def _recompute(path: str, threads: int) -> Callable[[Ids, int], Ids]:
    """The same graph, whose cache is thrown away after every token."""
    from pathlib import Path

    from bert_export.bundle import read_manifest
    from bert_export.runtime.sessions.cache import empty_cache
    from bert_export.runtime.sessions.onnxruntime import start_engine

    graph = read_manifest(Path(path)).engine().graph
    session = start_engine(Path(path) / graph.file, threads=threads)

    def grow(prompts: Ids, new: int) -> Ids:
        ids = prompts
        for _ in range(new):
            feeds = {
                "input_ids": ids,
                "attention_mask": np.ones_like(ids),
                "token_type_ids": np.zeros_like(ids),
                **empty_cache(graph.inputs, len(ids)),
            }
            (logits,) = session.run(["logits"], feeds)
            ids = np.concatenate([ids, logits.argmax(axis=-1)[:, None]], axis=1)
        return ids[:, prompts.shape[1] :]

    return grow


def _transformers(path: str, threads: int) -> Callable[[Ids, int], Ids]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.BertLMHeadModel.from_pretrained(path).eval()

    def grow(prompts: Ids, new: int) -> Ids:
        ids = torch.from_numpy(prompts)
        with torch.inference_mode():
            whole = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=new,
                max_new_tokens=new,
                use_cache=True,
            )
        return np.asarray(whole[:, prompts.shape[1] :])

    return grow
