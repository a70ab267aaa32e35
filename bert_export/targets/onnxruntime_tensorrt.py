"""ONNX Runtime's TensorRT provider, which builds an engine of the graph when it is opened.

The form is TensorRT's own, see :mod:`bert_export.targets.tensorrt_form`; BF16 is not offered.
"""

from __future__ import annotations

from bert_export.passes.recipe import Recipes
from bert_export.targets import tensorrt_form
from bert_export.targets.tensorrt_form import check_graph, check_installed, open_written, scheme

__all__ = ["RECIPES", "check_graph", "check_installed", "open_written", "scheme"]

RECIPES: Recipes = {
    precision: tensorrt_form.RECIPES[precision] for precision in ("fp32", "fp16", "int8")
}
