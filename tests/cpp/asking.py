"""The C++ tokenizer as its program answers, and the library's answers in the same form."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Encoding

from bert_export.bundle import TokenizerRecord

__all__ = ["Request", "answers", "aspects"]

Request = Mapping[str, Any]


def answers(
    build: Path, folder: Path, tokenizer: str, record: TokenizerRecord, requests: Sequence[Request]
) -> Any:
    """What the program answers each request.

    Args:
        build: Of the library.
        folder: For the files that it reads.
        tokenizer: ``tokenizer.json``.
        record: What the manifest says of it.
        requests: See ``answer_requests.cpp``.

    Returns:
        Per request a list of rows, a text, or an object with ``error``; that object alone where the
        tokenizer is refused.
    """
    files = folder / "tokenizer.json", folder / "record.json"
    files[0].write_text(tokenizer, encoding="utf-8")
    files[1].write_bytes(msgspec.json.encode(record))
    done = subprocess.run(
        [str(build / "answer_requests"), *map(str, files)],
        input="".join(f"{json.dumps(request)}\n" for request in requests).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-4000:]
    opened, *lines = done.stdout.splitlines()
    if b"error" in opened:
        return msgspec.json.decode(opened)
    assert len(lines) == len(requests)
    return [msgspec.json.decode(line) for line in lines]


def aspects(encoding: Encoding, text: str | Sequence[str] | None = None) -> dict[str, Any]:
    """An encoding of the library, as the program writes a row.

    Args:
        encoding: The library's.
        text: What was encoded, by sequence id where it is a pair; for the offsets in bytes. ``None``
            leaves them out.
    """
    offsets = [list(span) for span in encoding.offsets]
    row = {
        "ids": encoding.ids,
        "type_ids": encoding.type_ids,
        "tokens": encoding.tokens,
        "offsets": offsets,
        "word_ids": _numbers(encoding.word_ids),
        "sequence_ids": _numbers(encoding.sequence_ids),
        "special_tokens_mask": encoding.special_tokens_mask,
    }
    if text is not None:
        texts = [text] if isinstance(text, str) else text
        row["byte_offsets"] = [
            [0, 0] if side is None else [len(texts[side][:place].encode()) for place in span]
            for side, span in zip(encoding.sequence_ids, offsets, strict=True)
        ]
    return row


def _numbers(values: Sequence[int | None]) -> list[int]:
    return [-1 if value is None else value for value in values]
