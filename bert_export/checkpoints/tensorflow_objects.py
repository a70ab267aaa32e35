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

from bert_export.checkpoints.own_files import is_file
from bert_export.checkpoints.tensor_bundle import INDEX, TensorBundle, find_bundle
from bert_export.checkpoints.tensorflow_h5 import NAMES, own_name
from bert_export.errors import CheckpointError, plain

__all__ = ["find_objects", "read_objects"]

_SAVED_MODELS = (Path("variables", "variables"), Path("saved_model", "1", "variables", "variables"))
_SLOT = ".OPTIMIZER_SLOT"
_WORDS = "bert.embeddings.word_embeddings.weight"
_GARDEN = "layer_with_weights-"


def find_objects(folder: Path) -> Path | None:
    """The bundle's prefix in a folder; ``None`` where there is no bundle.

    Raises:
        CheckpointError: There are several, and the file ``checkpoint`` names none.
    """
    for prefix in _SAVED_MODELS:
        if is_file(folder / prefix.with_name(prefix.name + INDEX)):
            return folder / prefix
    return find_bundle(folder) if any(folder.glob(f"*{INDEX}")) else None


def read_objects(prefix: Path, source: str) -> dict[str, Tensor]:
    """Read the weights of a bundle of objects; those of its optimizer are left.

    Args:
        prefix: Path of the bundle's files up to ``.index``.
        source: What the user asked for, for errors.

    Returns:
        By canonical names, in PyTorch's shapes, float32.

    Raises:
        CheckpointError: The bundle is damaged, holds no objects, or they are not a BERT as
            ``transformers`` names it, or more than that.
        MissingExtraError: The library for checksums is not installed.
    """
    bundle = TensorBundle(prefix)
    variables = {key: full for key, full in bundle.full_names().items() if _SLOT not in key}
    weights = {key: full for key, full in variables.items() if _ours(full) is not None}
    if _WORDS not in map(_ours, weights.values()):
        stored = next((name for name in bundle.names if not name.startswith("_")), "none")
        of_garden = any(_GARDEN in name for name in bundle.names)
        raise CheckpointError(
            f"TensorFlow checkpoint {prefix} holds no BERT of transformers",
            expected=f"a variable {NAMES.rows[0].theirs}",
            got=f"TensorFlow's model garden ({_GARDEN}0 ...)" if of_garden else plain(stored),
            fix="Load it with its own library and save it as a checkpoint of transformers",
        )
    # What else is in the model's scope belongs to it, and the table refuses it.
    scopes = {full.split("/")[0] for full in weights.values() if not _in_table(full)}
    model = [key for key, full in variables.items() if full.split("/")[0] in scopes]
    return NAMES.rename(
        ((own_name(variables[key]), bundle.read(key)) for key in dict.fromkeys([*weights, *model])),
        f"TensorFlow checkpoint {source}",
    )


def _ours(full: str) -> str | None:
    name = NAMES.to_ours(own_name(full))
    return None if name is None else name.ours


def _in_table(full: str) -> bool:
    """Whether a full name has no scope before it."""
    return NAMES.to_ours(full.removesuffix(":0")) is not None
