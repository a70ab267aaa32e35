"""Names of the same tensor in two frameworks, as an ordered table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bert_export.errors import CheckpointError, plain

__all__ = ["NameTable", "TensorName"]

_LAYER = "{layer}"


@dataclass(frozen=True, slots=True)
class TensorName:
    """One row of a table; ``{layer}`` stands for an encoder layer's number.

    Args:
        ours: The canonical name, see :class:`bert_export.checkpoints.checkpoint.Checkpoint`.
        theirs: The name in the other framework.
        transposed: Whether the other framework stores the matrix as (inputs, outputs), where ours
            is (outputs, inputs).
    """

    ours: str
    theirs: str
    transposed: bool


class NameTable:
    """All tensors of a BERT and its heads, by their names in another framework.

    Args:
        text: Sections. A line that is not indented opens one: ``ours = theirs`` are the beginnings
            that the names below it share, and a line without ``=`` says that they share none. Each
            indented line is a tensor: our name, their name, and ``T`` where their matrix is
            transposed. Names are joined by the first of ``.`` and ``/`` that stands in theirs.
    """

    def __init__(self, text: str) -> None:
        self.rows = tuple(_parse(text))
        self._by_theirs = tuple((_pattern(row.theirs), row) for row in self.rows)
        self._by_ours = tuple((_pattern(row.ours), row) for row in self.rows)

    def to_ours(self, theirs: str) -> TensorName | None:
        """Our name of one of their tensors; ``None`` where it is not of a BERT."""
        return _match(self._by_theirs, theirs)

    def to_theirs(self, ours: str) -> TensorName | None:
        """Their name of one of our tensors; ``None`` where they have none."""
        return _match(self._by_ours, ours)

    def rename(self, tensors: Iterable[tuple[str, Tensor]], checkpoint: str) -> dict[str, Tensor]:
        """Give tensors our names and our orientation.

        Args:
            tensors: Their names and values, of any dtype; each is let go before the next is read.
            checkpoint: Its format and name, for errors.

        Returns:
            By canonical names, contiguous. Floating-point numbers are float32: those of half the
            width are not kept beside what the head is made of.

        Raises:
            CheckpointError: A tensor is of no known head, is no matrix where one is transposed, or
                two have one name.
        """
        renamed: dict[str, Tensor] = {}
        for theirs, tensor in tensors:
            name = self.to_ours(theirs)
            if name is None:
                raise CheckpointError(
                    f"{checkpoint} tensor {plain(theirs)} is not of a BERT encoder or head",
                    expected=f"names such as {self.rows[0].theirs}",
                    got=f"shape {tuple(tensor.shape)}",
                    fix="Remove the tensor, or export the model without what it adds to BERT",
                )
            if name.ours in renamed:
                raise CheckpointError(
                    f"{checkpoint} tensor {name.ours} is stored twice",
                    expected="one name per tensor",
                    got=f"also {plain(theirs)}",
                )
            if name.transposed and tensor.ndim != 2:
                raise CheckpointError(
                    f"{checkpoint} tensor {plain(theirs)} has the wrong shape",
                    expected="a matrix",
                    got=tuple(tensor.shape),
                )
            if tensor.is_floating_point():
                tensor = tensor.to(torch.float32)
            renamed[name.ours] = tensor.T.contiguous() if name.transposed else tensor
        return renamed


def _parse(text: str) -> Iterator[TensorName]:
    ours = theirs = ""
    for line in text.strip().splitlines():
        words = line.split()
        if not line.startswith(" "):
            separator = "/" if "/" in line else "."
            ours, theirs = (f"{words[0]}.", f"{words[2]}{separator}") if "=" in words else ("", "")
        else:
            yield TensorName(ours + words[0], theirs + words[1], transposed=words[2:] == ["T"])


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.escape(template).replace(re.escape(_LAYER), r"(0|[1-9][0-9]{0,3})"))


def _match(patterns: Sequence[tuple[re.Pattern[str], TensorName]], name: str) -> TensorName | None:
    """The row that a name is of, with its layer's number filled in."""
    for pattern, row in patterns:
        match = pattern.fullmatch(name)
        if match is not None:
            number = match[1] if pattern.groups else ""
            ours, theirs = (part.replace(_LAYER, number) for part in (row.ours, row.theirs))
            return TensorName(ours, theirs, row.transposed)
    return None
