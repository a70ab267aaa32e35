"""Folders that other tools load, made of a bundle and compared with it.

::

    bundle -> consumer   one file and one row per tool     names.py, table.py, optimum.py, ...
           -> folder     graph in the tool's form          graph_forms.py
                         config, tokenizer, vocabulary     hugging_face_files.py
           -> proof      a default session, the tool       comparison.py, trying.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bert_export.hand_over.names import CONSUMER_NAMES
from bert_export.importing import import_on_use

if TYPE_CHECKING:  # they need onnx_ir, the names do not
    from bert_export.hand_over.handing_over import HandedOver, hand_over
    from bert_export.hand_over.table import CONSUMERS

__all__ = ["CONSUMERS", "CONSUMER_NAMES", "HandedOver", "hand_over"]

__getattr__ = import_on_use(
    __name__,
    {
        "CONSUMERS": "bert_export.hand_over.table",
        "HandedOver": "bert_export.hand_over.handing_over",
        "hand_over": "bert_export.hand_over.handing_over",
    },
)
