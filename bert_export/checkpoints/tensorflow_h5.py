"""Weights that TensorFlow classes of ``transformers`` save: ``tf_model.h5``, whole or in shards.

A dataset's path is the layer's group, the model's scope and the weight's own name::

    bert/tf_bert_for_masked_lm/bert/embeddings/word_embeddings/weight:0

The scope may be numbered; shards leave out both. A head with a vocabulary stores the embeddings a
second time, under its own group: equal copies count once.

HDF5 can point out of the file, by links, by raw storage in other files and by virtual datasets, and
can declare sizes that nothing stands behind. All of that is refused before a byte is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bert_export.checkpoints.names import NameTable
from bert_export.errors import CheckpointError, MissingExtraError, one_line, plain

if TYPE_CHECKING:
    import h5py

__all__ = ["NAMES", "own_name", "read_h5"]

NAMES = NameTable("""
bert.embeddings = bert/embeddings
    word_embeddings.weight        word_embeddings/weight
    position_embeddings.weight    position_embeddings/embeddings
    token_type_embeddings.weight  token_type_embeddings/embeddings
    LayerNorm.weight              LayerNorm/gamma
    LayerNorm.bias                LayerNorm/beta
bert.encoder.layer.{layer} = bert/encoder/layer_._{layer}
    attention.self.query.weight        attention/self/query/kernel  T
    attention.self.query.bias          attention/self/query/bias
    attention.self.key.weight          attention/self/key/kernel  T
    attention.self.key.bias            attention/self/key/bias
    attention.self.value.weight        attention/self/value/kernel  T
    attention.self.value.bias          attention/self/value/bias
    attention.output.dense.weight      attention/output/dense/kernel  T
    attention.output.dense.bias        attention/output/dense/bias
    attention.output.LayerNorm.weight  attention/output/LayerNorm/gamma
    attention.output.LayerNorm.bias    attention/output/LayerNorm/beta
    intermediate.dense.weight          intermediate/dense/kernel  T
    intermediate.dense.bias            intermediate/dense/bias
    output.dense.weight                output/dense/kernel  T
    output.dense.bias                  output/dense/bias
    output.LayerNorm.weight            output/LayerNorm/gamma
    output.LayerNorm.bias              output/LayerNorm/beta
bert.pooler.dense = bert/pooler/dense
    weight  kernel  T
    bias    bias
cls.predictions = mlm___cls/predictions
    transform.dense.weight      transform/dense/kernel  T
    transform.dense.bias        transform/dense/bias
    transform.LayerNorm.weight  transform/LayerNorm/gamma
    transform.LayerNorm.bias    transform/LayerNorm/beta
    bias                        bias
heads
    cls.seq_relationship.weight  nsp___cls/seq_relationship/kernel  T
    cls.seq_relationship.bias    nsp___cls/seq_relationship/bias
    classifier.weight            classifier/kernel  T
    classifier.bias              classifier/bias
    qa_outputs.weight            qa_outputs/kernel  T
    qa_outputs.bias              qa_outputs/bias
""")
"""Tensors of the nine ``TFBert`` classes, without scope and without ``:0``."""

_DTYPES = ("float16", "float32", "float64")
_OPTIMIZER = "optimizer_weights"
_DEEPEST = 24  # groups inside one another; a real file has a dozen
_MOST_AXES = 8
_OUTER = 2  # parts of a path before the weight's own name, at most


def own_name(path: str) -> str:
    """A weight's name without what stands before it: the layer's group and the model's scope."""
    parts = path.removesuffix(":0").split("/")
    for count in range(min(_OUTER + 1, len(parts))):
        name = "/".join(parts[count:])
        if NAMES.to_ours(name) is not None:
            return name
    return "/".join(parts)


def read_h5(path: Path) -> dict[str, Tensor]:
    """Read a file of weights.

    Args:
        path: ``tf_model.h5``, or one of its shards.

    Returns:
        Copies by the names of :data:`NAMES`, or by their whole path where it is none of those; in
        TensorFlow's shapes, where a dense layer's matrix is (inputs, outputs), and in the stored
        type, a float of 16, 32 or 64 bits.

    Raises:
        CheckpointError: The file is truncated or no HDF5, or a dataset leaves the file, is no array
            of numbers, declares more than the file holds, or contradicts another of its name.
        MissingExtraError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"TensorFlow checkpoint {path}", extra="tensorflow-checkpoints"
        ) from error
    tensors: dict[str, Tensor] = {}
    left = path.stat().st_size
    try:
        with h5py.File(path, "r") as file:
            for place, dataset in _datasets(path, file, (), set()):
                left -= _check(path, place, dataset, left)
                tensor = torch.from_numpy(np.asarray(dataset[()]))
                name = own_name(place)
                if name in tensors and not torch.equal(tensors[name], tensor):
                    raise _refused(path, place, "one value", "another than its copy has")
                tensors[name] = tensor
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"file {path} cannot be read",
            expected="a complete HDF5 file",
            got=one_line(error, most=200),
            fix="Download or copy it again",
        ) from error
    return tensors


def _datasets(
    path: Path, group: h5py.Group, above: tuple[str, ...], met: set[int]
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group, by its path.

    Links that could lead elsewhere are refused, and so is whatever has two names: no walk is longer
    than the file.
    """
    import h5py

    if len(above) > _DEEPEST:
        raise _refused(path, "/".join(above[:4]), f"at most {_DEEPEST} groups", "more")
    for key in group:
        place = "/".join((*above, key))
        if not above and key == _OPTIMIZER:
            continue
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _refused(path, place, "a part of this file", f"a link ({type(link).__name__})")
        member: Any = group[key]
        address = h5py.h5o.get_info(member.id).addr
        if address in met:
            raise _refused(path, place, "a part of its own", "a second name of another")
        met.add(address)
        if isinstance(member, h5py.Group):
            yield from _datasets(path, member, (*above, key), met)
        elif isinstance(member, h5py.Dataset):
            yield place, member
        else:
            raise _refused(path, place, "an array", type(member).__name__)


def _check(path: Path, place: str, dataset: h5py.Dataset, left: int) -> int:
    """Refuse what is no array of numbers that lies in this file, whole and as it is.

    At most ``left`` bytes of the file belong to no other array. Gives the array's own.
    """
    if dataset.external is not None:
        raise _refused(path, place, "bytes of this file", "bytes of other files")
    if dataset.is_virtual:
        raise _refused(path, place, "bytes of this file", "a view of other files")
    if dataset.dtype.name not in _DTYPES or not dataset.dtype.isnative:
        raise _refused(path, place, " or ".join(_DTYPES), dataset.dtype)
    if dataset.id.get_create_plist().get_nfilters():
        raise _refused(path, place, "an array as it is", "one behind a filter (compression)")
    if not dataset.shape or len(dataset.shape) > _MOST_AXES:
        raise _refused(path, place, "a vector or a matrix", f"shape {dataset.shape}")
    size = int(math.prod(dataset.shape) * dataset.dtype.itemsize)
    if not 0 < size <= left:
        raise _refused(path, place, f"an array in {left} bytes", f"shape {dataset.shape}")
    if dataset.id.get_storage_size() < size:
        raise _refused(path, place, f"{size} bytes", f"{dataset.id.get_storage_size()} stored")
    return size


def _refused(path: Path, place: str, expected: object, got: object) -> CheckpointError:
    return CheckpointError(
        f"file {path} tensor {plain(place)} cannot be read",
        expected=expected,
        got=got,
        fix="Save the model with model.save_pretrained",
    )
