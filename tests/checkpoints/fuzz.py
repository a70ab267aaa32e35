"""Damage weight files at random, and see that each is read or refused in one line.

    python -m tests.checkpoints.fuzz COUNT [SEED [FORMAT ...]]

Formats are the keys of ``FORMATS``, all of them if none is named. The process may take a quarter of
a gigabyte more than at its start, and every file two seconds of the processor: more is a failure,
as any error is that is not ours.
"""

from __future__ import annotations

import faulthandler
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from bert_export.checkpoints import Checkpoint, load_checkpoint
from bert_export.checkpoints.huggingface import read_checkpoint
from bert_export.errors import BertExportError
from bert_export.models import load_head
from tests.checkpoints.foreign import (
    bundle_entries,
    flax_arrays,
    nested,
    packed,
    table,
    tensorflow_h5_arrays,
    tensorflow_v1_arrays,
    write_h5,
    write_msgpack,
)
from tests.oracle import save_tiny

_HEAD = "BertForTokenClassification"
_MEMORY = 256 << 20
_SECONDS = 2
_INTERESTING = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f",
    b"\0\0\0\0\0\x01\0\0", b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"../../etc/passwd\0",
)  # fmt: skip

Write = Callable[[random.Random], None]


def damage(data: bytes, chance: random.Random, *, most: int = 4) -> bytes:
    """Data with a few of its bytes changed, cut out, put in or repeated."""
    out = bytearray(data)
    for _ in range(chance.randint(1, most)):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = chance.randrange(256)
        elif kind == 2:
            value = chance.choice(_INTERESTING)
            out[at : at + len(value)] = value
        elif kind == 3:
            out[at:at] = chance.choice(_INTERESTING)
        elif kind == 4:
            del out[at : at + chance.choice((1, 1, 4, 64, len(out)))]
        elif kind == 5:
            length = chance.choice((1, 8, 64, 512))
            out[at:at] = out[at : at + length]
        else:
            source = chance.randrange(len(out) + 1)
            length = chance.choice((1, 4, 8, 32))
            out[at : at + length] = out[source : source + length]
    return bytes(out)


def _h5(folder: Path, model: Any) -> Write:
    path = folder / "tf_model.h5"
    write_h5(path, tensorflow_h5_arrays(model))
    whole = path.read_bytes()
    return lambda chance: _put(path, _damaged_metadata(whole, chance))


def _damaged_metadata(whole: bytes, chance: random.Random) -> bytes:
    """HDF5's own structures damaged more often than the numbers between them."""
    if chance.random() < 0.2:
        return damage(whole, chance)
    marks = (b"TREE", b"HEAP", b"SNOD", b"OHDR", b"\x01\0\x06\0\x01\0\0\0", b"\x89HDF")
    at = -1
    while at < 0:
        mark = chance.choice(marks)
        at = whole.find(mark, chance.randrange(len(whole)))
        if at < 0:
            at = whole.find(mark)
    end = min(len(whole), at + 300)
    return (
        whole[:at] + damage(whole[at:end], chance)[: end - at].ljust(end - at, b"\0") + whole[end:]
    )


def _flax(folder: Path, model: Any) -> Write:
    path = folder / "flax_model.msgpack"
    write_msgpack(path, nested({key: packed(a) for key, a in flax_arrays(model).items()}))
    whole = path.read_bytes()
    return lambda chance: _put(path, damage(whole, chance, most=8))


def _bundle(folder: Path, model: Any) -> Write:
    """Index and data damaged as they are: checksums must find it."""
    index, data = _bundle_paths(folder)
    entries, files = bundle_entries(tensorflow_v1_arrays(model))
    whole = table(entries)

    def write(chance: random.Random) -> None:
        of_index = chance.random() < 0.5
        _put(index, damage(whole, chance) if of_index else whole)
        _put(data, files[0] if of_index else damage(files[0], chance))

    return write


def _bundle_entries(folder: Path, model: Any) -> Write:
    """What stands below the checksums of an index damaged: blocks, keys, entries and slices."""
    index, data = _bundle_paths(folder)
    arrays = tensorflow_v1_arrays(model)
    words = "bert/embeddings/word_embeddings"
    rows = len(arrays[words])
    entries, files = bundle_entries(arrays, cuts={words: (0, (1, 30, rows - 31))})
    _put(data, files[0])

    def write(chance: random.Random) -> None:
        changed = list(entries)
        of_block = chance.random() < 0.4
        for _ in range(0 if of_block else chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            key, value = changed[at]
            if chance.random() < 0.3:
                changed[at] = (damage(key, chance, most=2), value)
            else:
                changed[at] = (key, damage(value, chance, most=2))
        share = 0.2 if of_block else 0.0
        _put(
            index,
            table(
                changed if of_block else sorted(dict(changed).items()),
                damage=lambda body: damage(body, chance) if chance.random() < share else body,
            ),
        )

    return write


def _bundle_paths(folder: Path) -> tuple[Path, Path]:
    return folder / "model.ckpt.index", folder / "model.ckpt.data-00000-of-00001"


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


FORMATS: dict[str, Callable[[Path, Any], Write]] = {
    "bundle": _bundle,
    "bundle-entries": _bundle_entries,
    "flax": _flax,
    "h5": _h5,
}


def mutations(kind: str, count: int, seed: int) -> Iterator[str | None]:
    """Read so many damaged files.

    Yields:
        Per file: ``None`` where it was read, else the message that refused it.

    Raises:
        Exception: Any that a user should not see.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "checkpoint"
        model = save_tiny(_HEAD, folder, num_labels=3)
        whole = load_checkpoint(str(folder))
        (folder / "model.safetensors").unlink()
        write = FORMATS[kind](folder, model)
        for number in range(count):
            write(random.Random(f"{seed} {number}"))
            try:
                yield _read(folder, whole)
            except Exception:
                sys.stderr.write(f"{kind}: file {number} of seed {seed}\n")
                raise


def _read(folder: Path, whole: Checkpoint) -> str | None:
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        from bert_export.checkpoints import tensorflow_v1

        read = tensorflow_v1 if tensorflow_v1.is_checkpoint(folder) else None
        tensors = (read.read_checkpoint if read else read_checkpoint)(folder, "damaged").tensors
        load_head(_HEAD, replace(whole, tensors=tensors))
    except BertExportError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {_SECONDS} s")


def main(count: str, seed: str = "0", *kinds: str) -> None:
    """Read damaged files under limits of time and memory, and say what came of them."""
    faulthandler.enable()
    torch.set_num_threads(1)
    signal.signal(signal.SIGPROF, _too_long)
    for kind in FORMATS:  # what is imported late is there before the limit
        list(mutations(kind, 3, -1))
    size = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmSize" in line
    )
    limit = int(size.split()[1]) * 1024 + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    for kind in kinds or FORMATS:
        start, read, refusals = time.perf_counter(), 0, set()
        for message in mutations(kind, int(count), int(seed)):
            if message is None:
                read += 1
            else:
                assert message.isprintable(), repr(message)
                assert len(message) < 2000, message
                refusals.add(re.sub(r"[0-9]+", "0", message.rsplit("expected", 1)[-1][:40]))
        seconds = time.perf_counter() - start
        print(  # noqa: T201 - this is what the command is for
            f"{kind}: {count} files, {read} read, {len(refusals)} kinds of refusals, "
            f"{seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
