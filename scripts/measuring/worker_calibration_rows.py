"""Writes the rows that calibrate our INT8, for a peer that calibrates on the same text."""

from __future__ import annotations

from typing import Any

import numpy as np

from bert_export import load
from bert_export.quantization.calibration.rows import make_rows, read_calibration
from bert_export.runtime.batching import pad_rows
from bert_export.tasks import find_task
from measuring.child import read_request, send

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

if __name__ == "__main__":
    request = read_request()
    with load(request["bundle"], threads=1) as pipeline:
        rows = make_rows(read_calibration(find_task(pipeline.task)), pipeline).rows
        arrays: dict[str, Any] = {}
        for index, row in enumerate(rows[: request["most"]]):
            feeds = pad_rows([row], pad_id=pipeline.tokenizer.pad_id)  # (1, S)
            arrays |= {f"{name}.{index}": feeds[name] for name in _INPUTS}
        np.savez(request["output"], **arrays)
    send("result", rows=len(arrays) // len(_INPUTS))
