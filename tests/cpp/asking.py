"""The C++ tokenizer as its program answers, and the library's answers in the same form."""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Encoding
from tokenizers import Tokenizer as Backend

from bert_export.bundle import TokenizerRecord
from bert_export.runtime.decoding.encoded import Encoded

__all__ = ["Request", "added_texts", "answers", "aspects", "differences"]

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


def differences(
    build: Path,
    folder: Path,
    tokenizer: str,
    record: TokenizerRecord,
    backend: Backend,
    texts: Iterable[str],
) -> list[tuple[str, Any]]:
    """Texts of which the program says another row than the library, and what it says.

    Args:
        build: Of the C++ library.
        folder: For the files that it reads.
        tokenizer: ``tokenizer.json``.
        record: What the manifest says of it.
        backend: The library's tokenizer of the same file.
        texts: Read as they are compared, so there may be millions of them.
    """
    files = folder / "tokenizer.json", folder / "record.json"
    files[0].write_text(tokenizer, encoding="utf-8")
    files[1].write_bytes(msgspec.json.encode(record))
    own: list[str] = []
    added = added_texts(backend)
    with tempfile.TemporaryFile() as written:
        with subprocess.Popen(
            [str(build / "compare_rows"), *map(str, files)], stdin=subprocess.PIPE, stdout=written
        ) as running:
            assert running.stdin is not None
            for chunk in _chunks(texts, 4096):
                own += chunk
                for text, encoding in zip(chunk, backend.encode_batch(chunk), strict=True):
                    running.stdin.write(_frame(text.encode(), encoding, added))
        assert running.returncode == 0
        written.seek(0)
        *found, last = map(msgspec.json.decode, written.read().splitlines())
    assert last == {"texts": len(own)}
    return [(own[each["place"]], each.get("rows", each.get("error"))) for each in found]


def _chunks(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while chunk := list(islice(iterator, size)):
        yield chunk


def added_texts(backend: Backend) -> dict[int, str]:
    """Texts of the added tokens by id, as the vocabulary has them.

    An encoding of the library has them as the text spells them; ours has them so.
    """
    return {index: token.content for index, token in backend.get_added_tokens_decoder().items()}


def _spelled(row: Encoding | Encoded, added: Mapping[int, str]) -> list[str]:
    return [added.get(index, token) for index, token in zip(row.ids, row.tokens, strict=True)]


def _frame(text: bytes, row: Encoding, added: Mapping[int, str]) -> bytes:
    """A text and its row, see ``compare_rows.cpp``."""
    numbers = array("i", row.ids)
    numbers.extend(row.type_ids)
    numbers.extend(chain.from_iterable(row.offsets))
    for owners in (row.word_ids, row.sequence_ids):
        numbers.extend(-1 if owner is None else owner for owner in owners)
    numbers.extend(row.special_tokens_mask)
    tokens = "".join(f"{token}\n" for token in _spelled(row, added)).encode()
    sizes = struct.pack("=III", len(text), len(tokens), len(row.ids))
    return sizes + text + tokens + numbers.tobytes()


def aspects(
    row: Encoding | Encoded,
    text: str | Sequence[str],
    *,
    split: bool = False,
    added: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """A row of the library or of the Python package, as the program writes it.

    Args:
        row: The row.
        text: What was encoded: a text, a pair, or with ``split`` the words of a text.
        split: Whether offsets count in the words.
        added: Texts of the added tokens, for a row of the library.
    """
    texts = [text] if isinstance(text, str) else text
    offsets = [list(span) for span in row.offsets]
    return {
        "ids": list(row.ids),
        "type_ids": list(row.type_ids),
        "tokens": _spelled(row, added or {}),
        "offsets": offsets,
        "byte_offsets": [
            [0, 0] if owner is None else [len(texts[owner][:place].encode()) for place in span]
            for owner, span in zip(
                row.word_ids if split else row.sequence_ids, offsets, strict=True
            )
        ],
        "word_ids": _numbers(row.word_ids),
        "sequence_ids": _numbers(row.sequence_ids),
        "special_tokens_mask": list(row.special_tokens_mask),
    }


def _numbers(values: Sequence[int | None]) -> list[int]:
    return [-1 if value is None else value for value in values]
