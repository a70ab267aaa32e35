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


def run_head(head: BertHead, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Run a head in float32.

    Args:
        head: In evaluation mode.
        feeds: An array for each of ``head.inputs``, int64, with the head's axes.

    Returns:
        An array for each of ``head.outputs``.
    """
    tensors = [torch.from_numpy(feeds[name]) for name in head.inputs]
    with torch.inference_mode():
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            with _OneDnnLinear():
                outputs = head(*tensors)
        else:
            outputs = head(*tensors)
    if isinstance(outputs, torch.Tensor):
        outputs = (outputs,)
    return {name: np.asarray(output) for name, output in zip(head.outputs, outputs, strict=True)}
