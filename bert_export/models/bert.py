"""The BERT encoder, one small module per box of the paper's figure.

Parameters have the names of the original checkpoints. Shapes stand at line ends: B batch,
S sequence, P tokens of earlier calls, T = P + S, H hidden, N heads, D head width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_export.models.config import BertConfig

__all__ = [
    "Bert",
    "BertAttention",
    "BertCrossAttention",
    "BertCrossSelfAttention",
    "BertEmbeddings",
    "BertEncoder",
    "BertIntermediate",
    "BertLayer",
    "BertOutput",
    "BertPooler",
    "BertSelfAttention",
    "Encoded",
    "KeysValues",
    "activate",
]

KeysValues: TypeAlias = tuple[Tensor, Tensor]
"""Keys and values of one layer, (B, N, P, D) each; with those of this call (B, N, T, D)."""

Encoded: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Of a text of E tokens that a layer attends to: its keys (B, N, D, E) and values (B, N, E, D), and
the additive mask (B, 1, 1, E)."""


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_tanh_gelu = partial(functional.gelu, approximate="tanh")

# The tanh forms of the original differ in how they are written, not in what they compute.
_FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_fast": _tanh_gelu,
    "gelu_new": _tanh_gelu,
    "gelu_python": functional.gelu,
    "gelu_pytorch_tanh": _tanh_gelu,
    "quick_gelu": _quick_gelu,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation that ``hidden_act`` names.

    Args:
        name: One of :data:`bert_export.models.config.ACTIVATIONS`.
        x: Any shape, float32.

    Returns:
        The same shape.
    """
    return _FUNCTIONS[name](x)


def _table(rows: int, width: int) -> nn.Embedding:
    """A lookup table for a checkpoint's vectors, without random initialization."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


class BertEmbeddings(nn.Module):
    """Sum the word, segment and position vectors and normalize (Devlin 2018, figure 2).

    Relative position types add nothing here: see :class:`BertSelfAttention`.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = _table(config.vocab_size, config.hidden_size)
        self.position_embeddings = (
            _table(config.max_position_embeddings, config.hidden_size)
            if config.position_embedding_type == "absolute"
            else None
        )
        self.token_type_embeddings = _table(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Look up ids of shape (B, S), int64; gives (B, S, H).

        Args:
            input_ids: Of the words.
            token_type_ids: Of the segments; all tokens are of the first when ``None``.
            positions: int64 (B, S); 0, 1, ... in every row when ``None``.
        """
        words: Tensor = self.word_embeddings(input_ids)  # (B, S, H)
        if token_type_ids is None:
            states = words + self.token_type_embeddings.weight[0]  # (B, S, H)
        else:
            states = words + self.token_type_embeddings(token_type_ids)  # (B, S, H)
        if self.position_embeddings is not None:
            if positions is None:
                states = states + self.position_embeddings.weight[: input_ids.size(1)]  # (S, H)
            else:
                states = states + self.position_embeddings(positions)  # (B, S, H)
        normalized: Tensor = self.LayerNorm(states)  # (B, S, H)
        return normalized


class BertSelfAttention(nn.Module):
    """Let every token look at the others (Vaswani 2017, section 3.2).

    With ``relative_key``, query times the vector of the tokens' distance is added to each score
    (Shaw 2018). With ``relative_key_query``, key times that vector is added too (Huang 2020,
    method 4).
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.position_embedding_type = config.position_embedding_type
        self.max_position_embeddings = config.max_position_embeddings
        self.softmax = nn.Softmax(dim=-1)
        if config.position_embedding_type != "absolute":
            distances = 2 * config.max_position_embeddings - 1
            self.distance_embedding = _table(distances, config.head_size)

    def forward(
        self, states: Tensor, mask: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Attend to the tokens of this call and of earlier ones.

        Args:
            states: (B, S, H).
            mask: Additive, (B, 1, 1 or S, T).
            past: Of the earlier tokens, where there may be some.

        Returns:
            (B, S, H), and the keys and values of all tokens.
        """
        query = self._split(self.query(states))  # (B, N, S, D)
        key = self._split(self.key(states))  # (B, N, S, D)
        value = self._split(self.value(states))  # (B, N, S, D)
        if past is not None:
            key = torch.cat((past[0], key), dim=2)  # (B, N, T, D)
            value = torch.cat((past[1], value), dim=2)  # (B, N, T, D)
        scores = torch.matmul(query, key.transpose(-1, -2))  # (B, N, S, T)
        if self.position_embedding_type != "absolute":
            earlier = None if past is None else past[0].size(2)
            scores = scores + self._relative_scores(query, key, earlier)  # (B, N, S, T)
        scores = scores / math.sqrt(self.head_size) + mask  # (B, N, S, T)
        weights = self.softmax(scores)  # (B, N, S, T)
        context = torch.matmul(weights, value)  # (B, N, S, D)
        return context.transpose(1, 2).flatten(2), (key, value)  # (B, S, H)

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, H) to (B, N, S, D)."""
        return torch.unflatten(x, -1, (self.heads, self.head_size)).transpose(1, 2)

    def _relative_scores(self, query: Tensor, key: Tensor, earlier: int | None) -> Tensor:
        keys = torch.arange(key.size(2), device=query.device)  # (T,)
        queries = keys if earlier is None else keys[earlier:]  # (S,)
        distance = queries.unsqueeze(1) - keys.unsqueeze(0)  # (S, T)
        table = self.distance_embedding(distance + self.max_position_embeddings - 1)  # (S, T, D)
        scores = torch.einsum("bnqd,qkd->bnqk", query, table)  # (B, N, S, T)
        if self.position_embedding_type == "relative_key_query":
            scores = scores + torch.einsum("bnkd,qkd->bnqk", key, table)  # (B, N, S, T)
        return scores


class BertOutput(nn.Module):
    """Project, add the residual, normalize; after attention and after the feed-forward layer."""

    def __init__(self, config: BertConfig, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Join x (B, S, width) and residual (B, S, H); gives (B, S, H)."""
        normalized: Tensor = self.LayerNorm(self.dense(x) + residual)  # (B, S, H)
        return normalized


class BertAttention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertOutput(config, config.hidden_size)

    def forward(
        self, states: Tensor, mask: Tensor, past: KeysValues | None = None
    ) -> tuple[Tensor, KeysValues]:
        """States (B, S, H), additive mask (B, 1, 1 or S, T); gives (B, S, H), keys and values."""
        context, present = self.self(states, mask, past)  # (B, S, H)
        return self.output(context, states), present  # (B, S, H)


class BertCrossSelfAttention(nn.Module):
    """Let every token of a decoder look at the tokens of a text that an encoder read.

    Keys and values depend on that text alone, so they are made once, by :meth:`project`. There are
    no positions in it, whatever type the decoder's own are of.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)

    def project(self, encoded: Tensor) -> KeysValues:
        """Keys (B, N, D, E) and values (B, N, E, D) of the encoder's states (B, E, H)."""
        key, value = self.key(encoded), self.value(encoded)  # (B, E, H)
        return self._split(key).permute(0, 2, 3, 1), self._split(value).transpose(1, 2)

    def forward(self, states: Tensor, encoded: Encoded) -> Tensor:
        """States (B, S, H) and an encoded text; gives (B, S, H)."""
        key, value, mask = encoded
        query = self._split(self.query(states)).transpose(1, 2)  # (B, N, S, D)
        scores = torch.matmul(query, key) / math.sqrt(self.head_size) + mask  # (B, N, S, E)
        weights = functional.softmax(scores, dim=-1)  # (B, N, S, E)
        context = torch.matmul(weights, value)  # (B, N, S, D)
        return context.transpose(1, 2).flatten(2)  # (B, S, H)

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, H) to (B, S, N, D)."""
        return torch.unflatten(x, -1, (self.heads, self.head_size))


class BertCrossAttention(nn.Module):
    """Cross-attention and its output projection."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.self = BertCrossSelfAttention(config)
        self.output = BertOutput(config, config.hidden_size)

    def forward(self, states: Tensor, encoded: Encoded) -> Tensor:
        """States (B, S, H) and an encoded text; gives (B, S, H)."""
        attended: Tensor = self.output(self.self(states, encoded), states)  # (B, S, H)
        return attended


class BertIntermediate(nn.Module):
    """The wide half of the feed-forward layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.hidden_act = config.hidden_act

    def forward(self, states: Tensor) -> Tensor:
        """States (B, S, H); gives (B, S, intermediate)."""
        return activate(self.hidden_act, self.dense(states))


class BertLayer(nn.Module):
    """One Transformer block, normalized after each half."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.crossattention = None if config.encoder is None else BertCrossAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertOutput(config, config.intermediate_size)

    def forward(
        self,
        states: Tensor,
        mask: Tensor,
        past: KeysValues | None = None,
        encoded: Encoded | None = None,
    ) -> tuple[Tensor, KeysValues]:
        """States (B, S, H), additive mask (B, 1, 1 or S, T); gives (B, S, H), keys and values."""
        states, present = self.attention(states, mask, past)  # (B, S, H)
        if self.crossattention is not None:
            states = self.crossattention(states, encoded)  # (B, S, H)
        return self.output(self.intermediate(states), states), present  # (B, S, H)


class BertEncoder(nn.Module):
    """The stack of blocks."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        states: Tensor,
        mask: Tensor,
        past: Sequence[KeysValues] = (),
        encoded: Sequence[Encoded] = (),
    ) -> tuple[Tensor, list[KeysValues]]:
        """States (B, S, H) and additive mask (B, 1, 1 or S, T); gives (B, S, H), and the cache.

        Args:
            states: Of the tokens of this call.
            mask: Over all tokens.
            past: Keys and values of each layer for the tokens of earlier calls; empty where there
                is no cache.
            encoded: The text that each layer attends to too; empty where there is none.
        """
        presents = []
        for index, layer in enumerate(self.layer):
            states, present = layer(
                states,
                mask,
                past[index] if past else None,
                encoded[index] if encoded else None,
            )  # (B, S, H)
            presents.append(present)
        return states, presents


class BertPooler(nn.Module):
    """The first token's vector through one tanh layer (Devlin 2018, appendix A.1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """States (B, S, H); gives (B, H)."""
        return torch.tanh(self.dense(states[:, 0]))


class Bert(nn.Module):
    """Embeddings, encoder and, for heads that read it, the pooler: the heads' ``bert.``."""

    def __init__(self, config: BertConfig, *, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.is_decoder = config.is_decoder
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None
    ) -> Tensor:
        """Encode three tensors of shape (B, S), int64; gives the last states (B, S, H)."""
        states = self.embeddings(input_ids, token_type_ids)  # (B, S, H)
        encoded: Tensor = self.encoder(states, self.additive(attention_mask))[0]  # (B, S, H)
        return encoded

    def mean_of_last(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, *, layers: int
    ) -> Tensor:
        """The mean of the states behind the last layers, (B, S, H)."""
        states = self.embeddings(input_ids, token_type_ids)  # (B, S, H)
        mask = self.additive(attention_mask)  # (B, 1, 1 or S, S)
        behind: list[Tensor] = []
        for layer in self.encoder.layer:
            states, _ = layer(states, mask)  # (B, S, H)
            behind.append(states)
        first, *others = behind[-layers:]
        for other in others:
            first = first + other
        return first / layers

    def forward_cached(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None,
        past: Sequence[KeysValues],
        encoded: Sequence[Encoded] = (),
    ) -> tuple[Tensor, list[KeysValues]]:
        """Encode tokens that follow those of earlier calls.

        Args:
            input_ids: int64 (B, S), as are the types.
            attention_mask: int64 (B, T): the earlier tokens first. A token's position is the
                number of tokens before it that the mask keeps, so padding may stand on either side
                and between calls.
            token_type_ids: As the ids.
            past: Keys and values of each layer.
            encoded: The text that each layer attends to too; empty where there is none.

        Returns:
            The last states (B, S, H), and the keys and values of all tokens.
        """
        earlier = past[0][0].size(2)  # P
        before = attention_mask.cumsum(dim=1) - attention_mask  # (B, T)
        states = self.embeddings(input_ids, token_type_ids, before[:, earlier:])  # (B, S, H)
        mask = self.additive(attention_mask, earlier)  # (B, 1, S, T)
        states, presents = self.encoder(states, mask, past, encoded)  # (B, S, H)
        return states, presents

    def pool(self, states: Tensor) -> Tensor:
        """Run the pooler on states (B, S, H); gives (B, H)."""
        pooled: Tensor = cast("BertPooler", self.pooler)(states)  # (B, H)
        return pooled

    def additive(self, attention_mask: Tensor, earlier: int | None = None) -> Tensor:
        """0 where a token may be seen, the lowest float32 where not: (B, 1, 1 or S, T).

        Args:
            attention_mask: int64 (B, T).
            earlier: Tokens of earlier calls, P; ``None`` where there is no cache, so that T is S.
        """
        visible = attention_mask[:, None, None, :]  # (B, 1, 1, T)
        if self.is_decoder:
            keys = torch.arange(attention_mask.size(1), device=attention_mask.device)  # (T,)
            queries = keys if earlier is None else keys[earlier:]  # (S,)
            seen = keys.unsqueeze(0) <= queries.unsqueeze(1)  # (S, T)
            visible = visible * seen.to(attention_mask.dtype)  # (B, 1, S, T)
        lowest = torch.finfo(torch.float32).min
        return (1.0 - visible.to(torch.float32)) * lowest  # (B, 1, 1 or S, T)
