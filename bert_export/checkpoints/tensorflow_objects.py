"""TensorFlow 2's checkpoints of objects: ``tf.train.Checkpoint`` and the variables of a SavedModel.

Both are tensor bundles whose keys follow the program's objects, or are mere numbers. Beside them
the bundle keeps a graph of the objects with each variable's full name, which is that of
``tf_model.h5``::

    config.json
    ckpt-7.index, ckpt-7.data-00000-of-00001             tf.train.Checkpoint
    variables/variables.index, variables/variables.data-...   a SavedModel
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bert_export.checkpoints.tensor_bundle import INDEX, TensorBundle
from bert_export.checkpoints.tensorflow_h5 import NAMES, own_name
from bert_export.errors import CheckpointError

__all__ = ["find_objects", "read_objects"]

_SAVED_MODEL = Path("variables", "variables")
_SLOT = ".OPTIMIZER_SLOT"


def find_objects(folder: Path) -> Path | None:
    """The bundle's prefix in a folder; ``None`` where there is no bundle, or several."""
    saved_model = folder / _SAVED_MODEL
    if saved_model.with_name(saved_model.name + INDEX).is_file():
        return saved_model
    there = sorted(folder.glob(f"*{INDEX}"))
    return there[0].with_suffix("") if len(there) == 1 else None


def read_objects(prefix: Path, source: str) -> dict[str, Tensor]:
    """Read the weights of a bundle of objects; those of its optimizer are left.

    Args:
        prefix: Path of the bundle's files up to ``.index``.
        source: What the user asked for, for the messages.

    Returns:
        By canonical names.

    Raises:
        CheckpointError: The bundle is damaged, holds no objects, or none of them is a BERT as
            ``transformers`` names it.
        MissingExtraError: The library for checksums is not installed.
    """
    bundle = TensorBundle(prefix)
    names = bundle.full_names()
    weights = {
        key: own_name(full)
        for key, full in names.items()
        if _SLOT not in key and NAMES.to_ours(own_name(full)) is not None
    }
    if not weights:
        stored = [key for key in bundle.entries if not key.startswith(("\0", "_"))]
        raise CheckpointError(
            f"checkpoint {source} holds no weights of a BERT of transformers",
            expected=f"variables such as {NAMES.rows[0].theirs}",
            got=next(iter(names.values()), next(iter(stored), "none")),
            fix="Load it with its own library and save it as a checkpoint of transformers",
        )
    return NAMES.rename(((name, bundle.read(key)) for key, name in weights.items()), source)
