"""A head's own outputs in PyTorch, which every engine is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from bert_export.models.heads import BertHead

__all__ = ["run_head"]


class _OneDnnLinear(TorchFunctionMode):
    """Sends linear layers to oneDNN.

    PyTorch itself multiplies float32 matrices with MKL, which takes twice the time of oneDNN on
    AMD's processors. The results differ by rounding alone.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.nn.functional.linear:
            states, *parameters = args
            return func(states.to_mkldnn(), *parameters, **(kwargs or {})).to_dense()
        return func(*args, **(kwargs or {}))


def run_head(
    head: BertHead,
    feeds: Mapping[str, NDArray[Any]],
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> dict[str, NDArray[Any]]:
    """Run a head in float32.

    Args:
        head: In evaluation mode.
        feeds: An array for each input, int64, with the head's axes; a cache is float32.
        inputs: What is read, in order; ``head.inputs`` when empty.
        outputs: What the head then gives, in order; ``head.outputs`` when empty.

    Returns:
        An array for each output.
    """
    tensors = [torch.from_numpy(feeds[name]) for name in inputs or head.inputs]
    with torch.inference_mode():
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            with _OneDnnLinear():
                given = head(*tensors)
        else:
            given = head(*tensors)
    arrays = (given,) if isinstance(given, torch.Tensor) else given
    names = outputs or head.outputs
    return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}
