"""A tokenizer as a graph of stock operators: strings in, ids out, nothing to register.

:func:`tokenizer_graph` writes that of a bundle, having compared it with the ``tokenizers`` library.
"""

from __future__ import annotations

from bert_export.text_input.model import tokenizer_graph

__all__ = ["tokenizer_graph"]
