"""Random damage: to bytes, to values of JSON, to texts."""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "ODD_FILES",
    "damage",
    "damage_json",
    "damage_tokenizer",
    "hostile_text",
    "hostile_value",
]

ODD_FILES: tuple[Callable[[Path], object], ...] = (
    os.mkfifo,
    Path.mkdir,
    Path.exists,
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.symlink_to("/dev/tty"),
    lambda path: path.symlink_to(path.name),
    lambda path: os.truncate(_empty(path), 1 << 40),
    lambda path: _empty(path).chmod(0),
)
"""What may stand where a file is expected; one of them is nothing."""

_INTERESTING = (
    b"\0", b"\xff", b"\x7f", b"\x80", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f",
    b"\0\0\0\0\0\x01\0\0", b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xdf\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"../../etc/passwd\0",
)  # fmt: skip


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


_PIECES = (
    "the cat sat on the mat", "[MASK]", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "##s", " ", "\t", "\n",
    "\r\n", "\0", "\x1b[31m", "\x7f", "\u200b", "\u200d", "\u202e", "\ufeff", "\ufffd", "\u2028",
    "\ud800", "\udfff", "é", "e\u0301", "İ", "ı", "ß", "中文", "ﷺ", "👩‍👩‍👧‍👦", "🇩🇪",
    "\U0010ffff", "\ue000", "a" * 101, "0123456789", "'", '"', "\\", "{}", "{label}", "%s", "../..",
    "http://x.y/z?q=1",
    "don't", "U.S.A.", "…", "—", ".", ",", "?!", "1e309", "NaN", "\u0300" * 30, "क्षि", "กำ", "لا",
)  # fmt: skip


def hostile_text(chance: random.Random) -> str:
    """A text: pieces that tokenizers and post-processing stumble over, rarely very many."""
    if chance.random() < 0.02:
        return chance.choice(_PIECES) * chance.choice((1000, 20_000))
    text = "".join(chance.choice(_PIECES) for _ in range(chance.choice((0, 1, 1, 2, 4, 8, 40))))
    if chance.random() < 0.3:
        characters = (chr(chance.randrange(0x110000)) for _ in range(chance.randrange(8)))
        text += "".join(characters)
    return text


def hostile_value(chance: random.Random) -> Any:
    """A value of any JSON type, as a rule at the edge of something."""
    return chance.choice((
        None, True, False, 0, 1, 2, 3, 5, -1, 31, 32, 33, 512, 10**6, 2**31, 2**63, -(2**63), 2**64,
        10**30, 0.0, -0.0, 0.5, 1.0, 1.5, -1e-9, 1e308, math.inf, -math.inf, math.nan, "", "1", "x",
        "none", "simple", "longest_first", "../x", "/etc/passwd", "\ud800", "x" * 5000, [], [[]],
        [None], [1, 2], ["a", "b"], {}, {"text": "a"}, {"": None},
    ))  # fmt: skip


def damage_json(value: Any, chance: random.Random, *, most: int = 3) -> Any:
    """A copy of a JSON value in which a few entries are other, gone, new or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, most)):
        places = list(_places(value))
        if not places:
            return hostile_value(chance)
        holder, key = chance.choice(places)
        kind = chance.randrange(6)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other_holder, other = chance.choice(places)
            holder[key] = copy.deepcopy(other_holder[other])
        elif kind == 2 and isinstance(holder, dict):
            holder[chance.choice(("x", "", "text", f"{key}s"))] = hostile_value(chance)
        elif kind == 3 and isinstance(holder[key], str):
            holder[key] = hostile_text(chance)
        elif kind == 4 and isinstance(holder[key], int | float):
            holder[key] = chance.choice((-1, 0, 1, 2, 7)) * holder[key] + chance.choice((-1, 0, 1))
        else:
            holder[key] = hostile_value(chance)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every entry of every list and object inside a value: what holds it, and its key."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    places = [(value, key) for key in keys] if isinstance(value, dict | list) else []
    for holder, key in list(places):
        if isinstance(holder[key], dict | list):
            places += _places(holder[key])
    return places


def damage_tokenizer(content: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Damage its parts rather than its many words."""
    name = chance.choice(list(content))
    if name == "model" and chance.random() < 0.5:
        words = content["model"]["vocab"]
        words[chance.choice(list(words))] = hostile_value(chance)
        words.pop(chance.choice(list(words)))
        return content
    vocab = content["model"].pop("vocab")
    content[name] = damage_json(content[name], chance) if content[name] else hostile_value(chance)
    if isinstance(content["model"], dict):
        content["model"].setdefault("vocab", vocab)
    return content


def _empty(path: Path) -> Path:
    path.touch()
    return path
