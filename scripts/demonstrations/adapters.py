"""Low-rank updates of an encoder: attach them to a head, train, collect them as an adapter.

Source: Hu 2021, LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_export.models import BertHead
from bert_export.models.bert import Bert
from bert_export.models.heads import EncoderDecoderModel

__all__ = ["LowRankLinear", "attach", "collect", "trainable_groups"]

# Vectors and small tables of the encoder that are trained and stored whole.
_SMALL = (".bias", ".LayerNorm.weight", "token_type_embeddings.weight")
_DECODER = "cls.predictions.decoder"
_CROSS = "crossattention"


class LowRankLinear(nn.Module):
    """A frozen linear layer and a trained update of its weight: ``W + lora_B @ lora_A``.

    Args:
        linear: The layer; its bias is trained, its weight is not.
        rank: Rows of ``lora_A``.
        dropout: Share of the r inner values that are left out in training.
    """

    def __init__(self, linear: nn.Linear, *, rank: int, dropout: float) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = dropout
        bound = 1 / math.sqrt(linear.in_features)
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features).uniform_(-bound, bound))
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Input (..., in); gives (..., out)."""
        inner = functional.linear(x, self.lora_A)  # (..., r): cheaper to drop than (..., in)
        inner = functional.dropout(inner, self.dropout, self.training)
        return functional.linear(x, self.weight, self.bias) + functional.linear(inner, self.lora_B)


def attach(head: BertHead, *, rank: int, dropout: float) -> None:
    """Give every linear layer of the encoder an update, and free what is stored whole.

    What is stored whole: biases, layer norms and segment vectors of the encoder, the pooler, the
    cross-attention of a decoder, and the head without the tied word table.

    Args:
        head: Changed in place; its trainable parameters become copies of the checkpoint's. Both
            halves of an encoder-decoder are treated as an encoder.
        rank: Of the updates; 0 leaves the encoder as it is and trains the head alone.
        dropout: Inside the updates.
    """
    berts = _berts(head)
    layers = tuple(f"{prefix}{part}." for prefix in berts for part in ("encoder", "embeddings"))
    for name, parameter in head.named_parameters():
        small = rank > 0 and name.startswith(tuple(berts)) and name.endswith(_SMALL)
        whole = not name.startswith(layers) or _CROSS in name
        if (small or whole) and not name.endswith(f"{_DECODER}.weight"):
            parameter.data = parameter.data.clone()
            parameter.requires_grad_()
    for bert in berts.values():
        for name, module in list(bert.encoder.named_modules()):
            if rank > 0 and isinstance(module, nn.Linear) and _CROSS not in name:
                parent, _, child = name.rpartition(".")
                update = LowRankLinear(module, rank=rank, dropout=dropout)
                setattr(bert.encoder.get_submodule(parent), child, update)


def _berts(head: BertHead) -> dict[str, Bert]:
    """The BERTs of a head by the prefix of their parameters."""
    if isinstance(head, EncoderDecoderModel):
        return {"encoder.": head.encoder, "decoder.bert.": head.decoder.bert}
    return {"bert.": head.bert}


def trainable_groups(head: BertHead, *, rate: float) -> list[dict[str, object]]:
    """Parameter groups: updates at the full rate with decay, everything else at a third of it."""
    updates: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            if name.endswith(("lora_A", "lora_B")):
                updates.append(parameter)
            else:
                (matrices if parameter.dim() > 1 else vectors).append(parameter)
    return [
        {"params": updates, "lr": rate, "weight_decay": 0.01},
        {"params": matrices, "lr": rate / 3, "weight_decay": 0.01},
        {"params": vectors, "lr": rate / 3, "weight_decay": 0.0},
    ]


def collect(head: BertHead) -> dict[str, Tensor]:
    """What the adapter stores of a trained head, under the names of the format; float16."""
    return {
        _stored_name(name): parameter.detach().to(torch.float16).contiguous()
        for name, parameter in head.named_parameters()
        if parameter.requires_grad
    }


def _stored_name(parameter: str) -> str:
    """What the format calls a trained parameter."""
    base, _, leaf = parameter.rpartition(".")
    if leaf.startswith("lora_"):
        return f"{base}.weight.{leaf}"
    return parameter.replace(f"{_DECODER}.bias", "cls.predictions.bias")
