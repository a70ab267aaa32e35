"""Jobs that open a bundle's native engine and say what lies in this process's memory."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bert_export import load
from bert_export.bundle import read_manifest
from bert_export.bundle.program import Linear, read_program
from bert_export.errors import BertExportError
from scripts.soak import ragged, resident_bytes

__all__ = ["EXPECTED_ERRORS", "ragged_growth", "weights_twice"]

EXPECTED_ERRORS = (BertExportError,)

_PRESENT = np.uint64(1 << 63)
_PAGES_IN_ALL = 8  # bytes of an entry of the page map


def weights_twice(request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer once, and count the packed weights that are in memory as they were stored too.

    Args:
        request: ``bundle``, ``target`` and ``text``.

    Returns:
        Bytes of the ``weights``, of those that are ``packed``, and of those that lie ``twice``.
    """
    folder = Path(request["bundle"])
    manifest = read_manifest(folder)
    path = folder / manifest.engine(request["target"]).graph.file
    program = read_program(path)
    with load(folder, target=request["target"], threads=1) as pipeline:
        pipeline.ask({"text": request["text"]})
        resident = _resident_pages(folder / program.weights)
    names = {one.weight for one in program.operations if isinstance(one, Linear)}
    sizes = {"float32": 4, "int8": 1}
    packed = twice = 0
    page = os.sysconf("SC_PAGE_SIZE")
    for name in names:
        tensor = program.tensors[name]
        size = math.prod(tensor.shape) * sizes[tensor.dtype]
        first, last = tensor.offset // page, -(-(tensor.offset + size) // page)
        packed += size
        twice += int(resident[first:last].sum()) * page
    return {"weights": (folder / program.weights).stat().st_size, "packed": packed, "twice": twice}


def _resident_pages(path: Path) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pages of a file that this process maps are in its memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    present = np.zeros(-(-path.stat().st_size // page), np.bool_)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    own = [line.split(maxsplit=5) for line in lines if line.endswith(str(path.resolve()))]
    if not own:
        raise RuntimeError(f"{path} is not mapped")
    with Path("/proc/self/pagemap").open("rb") as pages:
        for addresses, _, offset, *_ in own:
            begin, end = (int(part, 16) // page for part in addresses.split("-"))
            pages.seek(begin * _PAGES_IN_ALL)
            entries = np.frombuffer(pages.read((end - begin) * _PAGES_IN_ALL), np.uint64)
            first = int(offset, 16) // page
            present[first : first + len(entries)] |= (entries & _PRESENT) != 0
    return present


def ragged_growth(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run ragged batches, and compare the memory after a sixth of them with the most later.

    Args:
        request: ``bundle``, ``target`` and the number of ``calls``.

    Returns:
        The ``calls`` that were made, and resident bytes ``settled`` and at ``most``.
    """
    settled = most = done = 0
    with load(request["bundle"], target=request["target"], threads=1) as pipeline:
        for _, done, resident in ragged(pipeline, seconds=math.inf, every=0.5):
            if done >= request["calls"] / 6:
                settled = settled or resident
                most = max(most, resident_bytes())
            if done >= request["calls"]:
                break
    return {"calls": done, "settled": settled, "most": most}
