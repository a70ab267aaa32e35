"""Two layers of random weights per task, through tracing, quantization and recipe."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import torch

from bert_export.checkpoints.checkpoint import Checkpoint
from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.checkpoints.tokenizer_files import TokenizerFiles
from bert_export.models import HEADS, BertConfig, load_head
from bert_export.models.heads import BertForSentenceEmbedding
from bert_export.passes.prepare import prepare
from bert_export.quantization.int8_calibration import Int8Calibration
from bert_export.quantization.quantizer import find_linear_layers, quantize_graph
from bert_export.quantization.query_key import find_query_key_operands
from bert_export.targets import TARGETS, load_target
from bert_export.targets.lowering import lower
from bert_export.tasks import CheckpointFacts, Task
from bert_export.tracing import trace

__all__ = ["SIZES", "TinyTrace"]

SIZES: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 12,
    "type_vocab_size": 2,
    "id2label": {index: f"LABEL_{index}" for index in range(3)},
}
"""No two axes are of one size, but for what is always so, so that a reader can tell them apart."""

_PROCESSOR = "x86-64-vnni"


class TinyTrace:
    """One task's head, traced once; each graph that is asked for is a copy.

    Args:
        task: Of :data:`bert_export.tasks.TASKS`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        interface = task.interface(
            CheckpointFacts(
                layers=SIZES["num_hidden_layers"],
                heads=SIZES["num_attention_heads"],
                head_size=SIZES["hidden_size"] // SIZES["num_attention_heads"],
            )
        )
        model = trace(
            load_head(task.head, _checkpoint(task)),
            inputs=interface.input_axes,
            outputs=interface.output_axes,
            max_length=SIZES["max_position_embeddings"],
        )
        self._traced = ir.serde.serialize_model(model)

    def traced(self) -> ir.Model:
        """The graph as the passes get it."""
        return ir.serde.deserialize_model(self._traced)

    def emitted(self, target: str, precision: str) -> ir.Model:
        """The graph as the bundle gets it; the steps are those of an export.

        Args:
            target: Such as ``onnxruntime``.
            precision: ``fp32`` or ``int8``.
        """
        model = self.traced()
        layers = SIZES["num_hidden_layers"]
        prepare(model, task=self.task, config_layers=layers)
        if precision == "int8":
            sites, _ = find_linear_layers(model)
            activations = dict.fromkeys(site.activation for site in sites)
            # Ranges that no calibration can blur, all unlike so that no two scales are shared.
            ranges = {name: (-1.0, 1.0 + index / 8) for index, name in enumerate(activations)}
            scheme = load_target(TARGETS[target]).scheme(_PROCESSOR)
            scores = {
                operand.name: 2.0 + index / 8
                for index, operand in enumerate(find_query_key_operands(model))
            }
            quantize_graph(model, Int8Calibration.from_ranges(ranges, scores), scheme=scheme)
        lower(model, target=target, precision=precision, task=self.task, config_layers=layers)
        return model


def _checkpoint(task: Task) -> Checkpoint:
    """Random weights, no two of them equal, so that passes share only what a real model shares."""
    fields = SIZES | {
        "architectures": [task.head],
        "is_decoder": task.head == "BertLMHeadModel",
    }
    config = BertConfig.from_dict(fields)
    sentence = None
    with torch.device("meta"):
        if task.head == "BertForSentenceEmbedding":
            sentence = SentenceModules(pooling=("mean",), normalize=True)
            head: torch.nn.Module = BertForSentenceEmbedding(config, sentence)
        else:
            head = HEADS[task.head](config)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(0)
    return Checkpoint(
        source="tiny",
        config=fields,
        tensors={
            name: torch.randn(tensor.shape, generator=generator)
            for name, tensor in head.state_dict().items()
        },
        tokenizer=_tokenizer(),
        sentence=sentence,
    )


def _tokenizer() -> TokenizerFiles:
    """None that works: nothing is tokenized."""
    cls, sep, pad, mask, unk = ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")
    return TokenizerFiles(
        json="{}",
        max_length=None,
        do_lower_case=True,
        cls_token=cls,
        sep_token=sep,
        pad_token=pad,
        mask_token=mask,
        unk_token=unk,
    )
