"""The small labelled samples of the demonstrations, by the same names: ``demo:snips``."""

from __future__ import annotations

from pathlib import Path

from bert_export.errors import DatasetError

__all__ = ["find_sample", "sample_names"]

_PREFIX = "demo:"
_FOLDER = Path(__file__).parents[1] / "demonstrations"
_FILE = "sample.jsonl"


def sample_names() -> tuple[str, ...]:
    """Names of all samples, such as ``demo:snips``."""
    return tuple(f"{_PREFIX}{path.parent.name}" for path in sorted(_FOLDER.glob(f"*/{_FILE}")))


def find_sample(name: str) -> Path | None:
    """The file of a sample; ``None`` if the name does not begin with ``demo:``.

    Args:
        name: What a user gives instead of a data file.

    Raises:
        DatasetError: The name begins with ``demo:``, and there is no such sample.
    """
    if not name.startswith(_PREFIX):
        return None
    if name not in sample_names():
        raise DatasetError(
            f"data sample {name} does not exist",
            expected=f"one of {', '.join(sample_names())}, or a file",
            got=name,
        )
    return _FOLDER / name.removeprefix(_PREFIX) / _FILE
