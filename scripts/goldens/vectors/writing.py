"""Cases as JSON text, and the folder that holds them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from scripts.goldens.vectors.call import RECORD
from scripts.goldens.vectors.tasks import RECORDERS
from scripts.goldens.vectors.vocabulary import TOKENIZERS, tokenizer_json

__all__ = ["UPDATE", "VECTORS", "expected_files", "same_text", "task_text"]

VECTORS = Path(__file__).parents[3] / "tests" / "vectors"
UPDATE = "python scripts/goldens/update_vectors.py"


def expected_files(tasks: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name and text of the tokenizers, and of the vectors of tasks; of all when none is named."""
    for file in TOKENIZERS:
        yield file, tokenizer_json(file)
    for task in tasks or RECORDERS:
        yield f"{task}.json", task_text(task)


def task_text(task: str) -> str:
    """The vectors of a task as JSON, one field of a case a line."""
    version = transformers.__version__
    head = {
        "task": task,
        "description": f"Answers of transformers {version}; see README.md beside this file.",
        "tokenizer": RECORD,
    }
    lines = [f"{_json(name)}: {_json(value)}," for name, value in head.items()]
    cases = ",\n".join(_case_text(case) for case in RECORDERS[task]())
    return "{\n" + "\n".join(lines) + f'\n"cases": [\n{cases}\n]\n}}\n'


def same_text(old: str, new: str) -> bool:
    """Whether two texts of vectors differ at most in the last bits of their numbers."""
    if not old:
        return False
    return old == new or _same(json.loads(old), json.loads(new))


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return list(old) == list(new) and all(_same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-7)
    return type(old) is type(new) and bool(old == new)


def _case_text(case: dict[str, Any]) -> str:
    return "{" + ",\n ".join(f"{_json(key)}: {_field(key, case[key])}" for key in case) + "}"


def _field(key: str, value: Any) -> str:
    """A field on a line; rows and outputs on a line each."""
    if key not in ("rows", "outputs") or not value:
        return _json(value)
    return "[\n  " + ",\n  ".join(map(_json, value)) + "]"


def _json(value: Any) -> str:
    text: str = json.dumps(
        _plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _plain(value: Any) -> Any:
    """The value with numbers as the shortest decimals that float32 reads back."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float | np.floating):
        return float(str(np.float32(value)))
    return value.item() if isinstance(value, np.integer) else value
