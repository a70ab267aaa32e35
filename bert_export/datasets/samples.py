"""The small labelled samples that come with the demonstrations, named as those: ``demo:snips``."""

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
    """The file of a sample; ``None`` where the name is none of a sample's form.

    Args:
        name: What a user gives in the place of a data file.

    Raises:
        DatasetError: It has a sample's form, and there is none of that name.
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
