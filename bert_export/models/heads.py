"""The heads: what each task adds to the encoder.

Every head's ``forward`` takes its ``inputs`` in order, int64, and gives its ``outputs`` in order,
float32: a tensor if there is one, a tuple if there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from bert_export.checkpoints.sentence_transformers import SentenceModules
from bert_export.models.bert import Bert, BertCrossAttention, BertLayer, KeysValues, activate
from bert_export.models.config import BertConfig

__all__ = [
    "HEADS",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSentenceEmbedding",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertHead",
    "BertLMHeadModel",
    "BertModel",
    "EncoderDecoderModel",
]


class BertHead(nn.Module):
    """The base of all heads: the encoder, and the ONNX names of inputs and outputs."""

    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, config: BertConfig, *, add_pooling_layer: bool) -> None:
        super().__init__()
        self.bert = Bert(config, add_pooling_layer=add_pooling_layer)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Last states (B, S, H) of three tensors (B, S)."""
        states: Tensor = self.bert(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        return states


class BertModel(BertHead):
    """The bare encoder: token vectors and, if the checkpoint has a pooler, the pooled one."""

    outputs: tuple[str, ...] = ("last_hidden_state", "pooler_output")

    def __init__(self, config: BertConfig, *, add_pooling_layer: bool = True) -> None:
        super().__init__(config, add_pooling_layer=add_pooling_layer)
        if not add_pooling_layer:
            self.outputs = ("last_hidden_state",)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode (B, S) ids; gives (B, S, H), and (B, H) with a pooler."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        if self.bert.pooler is None:
            return states
        return states, self.bert.pool(states)  # (B, S, H), (B, H)


class BertPredictionHeadTransform(nn.Module):
    """The layer before the vocabulary decoder."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.hidden_act = config.hidden_act

    def forward(self, states: Tensor) -> Tensor:
        """States (B, S, H); gives (B, S, H)."""
        transformed: Tensor = self.LayerNorm(activate(self.hidden_act, self.dense(states)))
        return transformed


class BertLMPredictionHead(nn.Module):
    """Score every word of the vocabulary for every token (Devlin 2018, section 3.1, task 1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, states: Tensor) -> Tensor:
        """States (B, S, H); gives (B, S, V)."""
        logits: Tensor = self.decoder(self.transform(states))  # (B, S, V)
        return logits


class BertPreTrainingHeads(nn.Module):
    """The children of ``cls.``: word scores and, in pre-training, the next-sentence score."""

    def __init__(self, config: BertConfig, *, words: bool = True, pairs: bool = False) -> None:
        super().__init__()
        if words:
            self.predictions = BertLMPredictionHead(config)
        if pairs:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertForPreTraining(BertHead):
    """Both heads of pre-training (Devlin 2018, section 3.1)."""

    outputs = ("prediction_logits", "seq_relationship_logits")

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=True)
        self.cls = BertPreTrainingHeads(config, pairs=True)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score (B, S) ids; gives (B, S, V) and (B, 2)."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        words = self.cls.predictions(states)  # (B, S, V)
        return words, self.cls.seq_relationship(self.bert.pool(states))  # (B, S, V), (B, 2)


class BertForMaskedLM(BertHead):
    """Score the vocabulary at every token (Devlin 2018, section 3.1, task 1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.cls = BertPreTrainingHeads(config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Score (B, S) ids; gives (B, S, V)."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        logits: Tensor = self.cls.predictions(states)  # (B, S, V)
        return logits


class BertLMHeadModel(BertHead):
    """Score the next word at every token; ``is_decoder`` makes the encoder causal.

    With a cache, ``past`` holds keys and values of every layer in turn, float32 (B, N, P, D) each,
    and those of all tokens, (B, N, T, D), follow the logits. The attention mask then is (B, T).
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.cls = BertPreTrainingHeads(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        *past: Tensor,
    ) -> Tensor | tuple[Tensor, ...]:
        """Score (B, S) ids; gives (B, S, V), and with a cache the keys and values."""
        if not past:
            plain = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
            scores: Tensor = self.cls.predictions(plain)  # (B, S, V)
            return scores
        states, presents = self.bert.forward_cached(
            input_ids,
            attention_mask,
            token_type_ids,
            list(zip(past[::2], past[1::2], strict=True)),
        )  # (B, S, H)
        logits: Tensor = self.cls.predictions(states)  # (B, S, V)
        return logits, *(tensor for present in presents for tensor in present)


class BertForNextSentencePrediction(BertHead):
    """Whether the second segment follows the first (Devlin 2018, section 3.1, task 2)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=True)
        self.cls = BertPreTrainingHeads(config, words=False, pairs=True)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Score (B, S) ids; gives (B, 2), of which index 0 means that it follows."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        logits: Tensor = self.cls.seq_relationship(self.bert.pool(states))  # (B, 2)
        return logits


class BertForSequenceClassification(BertHead):
    """One score per label from the pooled token (Devlin 2018, section 4.1)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=True)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Score (B, S) ids; gives (B, L)."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        logits: Tensor = self.classifier(self.bert.pool(states))  # (B, L)
        return logits


class BertForMultipleChoice(BertHead):
    """One score per choice, each choice a row of its own (Devlin 2018, section 4.4)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=True)
        self.classifier = nn.Linear(config.hidden_size, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Score (B, C, S) ids; gives (B, C)."""
        rows = (input_ids, attention_mask, token_type_ids)
        states = self.encode(*(row.flatten(0, 1) for row in rows))  # (B * C, S, H)
        scores: Tensor = self.classifier(self.bert.pool(states))  # (B * C, 1)
        return scores.view(input_ids.size(0), input_ids.size(1))  # (B, C)


class BertForTokenClassification(BertHead):
    """One score per label and token (Devlin 2018, section 5.3)."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Score (B, S) ids; gives (B, S, L)."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        logits: Tensor = self.classifier(states)  # (B, S, L)
        return logits


class BertForQuestionAnswering(BertHead):
    """Score every token as answer start and end (Devlin 2018, section 4.2)."""

    outputs = ("start_logits", "end_logits")

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score (B, S) ids; gives two of (B, S)."""
        states = self.encode(input_ids, attention_mask, token_type_ids)  # (B, S, H)
        start, end = self.qa_outputs(states).unbind(dim=-1)  # 2 x (B, S)
        return start, end


def _pool_cls(states: Tensor, mask: Tensor) -> Tensor:
    """The first token under the mask: states (B, S, H), mask (B, S) of 0. and 1.; (B, H)."""
    return _take(states, mask.argmax(dim=1))


def _pool_max(states: Tensor, mask: Tensor) -> Tensor:
    return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)  # (B, H)


def _pool_mean(states: Tensor, mask: Tensor) -> Tensor:
    return _sum(states, mask) / mask.sum(dim=1, keepdim=True).clamp(min=1e-9)  # (B, H)


def _pool_mean_sqrt_len(states: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum(dim=1, keepdim=True).clamp(min=1e-9)  # (B, 1)
    return _sum(states, mask) / count.sqrt()  # (B, H)


def _pool_weightedmean(states: Tensor, mask: Tensor) -> Tensor:
    return _pool_mean(states, mask * _ordinals(mask))  # (B, H)


def _pool_lasttoken(states: Tensor, mask: Tensor) -> Tensor:
    last = (mask * _ordinals(mask)).argmax(dim=1)  # (B,)
    return _take(states * mask.unsqueeze(-1), last)  # (B, H)


def _ordinals(mask: Tensor) -> Tensor:
    """1., 2., ... along the sequence: (S,)."""
    return torch.arange(1, mask.size(1) + 1, device=mask.device).to(mask.dtype)


def _sum(states: Tensor, weights: Tensor) -> Tensor:
    return (states * weights.unsqueeze(-1)).sum(dim=1)  # (B, H)


def _take(states: Tensor, index: Tensor) -> Tensor:
    """The token at index (B,) of states (B, S, H): (B, H)."""
    positions = index[:, None, None].expand(-1, 1, states.size(2))  # (B, 1, H)
    return states.gather(1, positions).squeeze(1)  # (B, H)


_POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _pool_cls,
    "lasttoken": _pool_lasttoken,
    "max": _pool_max,
    "mean": _pool_mean,
    "mean_sqrt_len": _pool_mean_sqrt_len,
    "weightedmean": _pool_weightedmean,
}

_DENSE_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "identity": lambda x: x,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class BertForSentenceEmbedding(BertHead):
    """One vector per text: pooling, dense layers, scaling to length 1 (Reimers 2019, section 3).

    If prompts are left out of the pooling there is a fourth input, ``pooling_mask`` (B, S): the
    attention mask with 0 at the prompt's tokens.
    """

    outputs = ("sentence_embedding",)

    def __init__(self, config: BertConfig, modules: SentenceModules) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.pooling, self.normalize = modules.pooling, modules.normalize
        self.pooled_layers = modules.pooled_layers
        self.dense = nn.ModuleList(
            nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
            for layer in modules.dense
        )
        self.activations = tuple(layer.activation for layer in modules.dense)
        if not modules.include_prompt:
            self.inputs = (*self.inputs, "pooling_mask")

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        pooling_mask: Tensor | None = None,
    ) -> Tensor:
        """Embed (B, S) ids; gives (B, E), E the last dense layer's width or H per pooling."""
        inputs = (input_ids, attention_mask, token_type_ids)
        if self.pooled_layers == 1:
            states = self.encode(*inputs)  # (B, S, H)
        else:
            states = self.bert.mean_of_last(*inputs, layers=self.pooled_layers)  # (B, S, H)
        pooled_tokens = attention_mask if pooling_mask is None else pooling_mask  # (B, S)
        mask = pooled_tokens.to(states.dtype)  # (B, S)
        vectors = [_POOLINGS[mode](states, mask) for mode in self.pooling]
        embedding = torch.cat(vectors, dim=-1)  # (B, E)
        for layer, name in zip(self.dense, self.activations, strict=True):
            embedding = _DENSE_ACTIVATIONS[name](layer(embedding))  # (B, E)
        return functional.normalize(embedding, dim=1) if self.normalize else embedding  # (B, E)


class EncoderDecoderModel(BertHead):
    """Score an answer's next word by a text that an encoder read (Rothe 2020, BERT2BERT).

    Names of parameters are those of transformers' class. ``past`` holds keys and values of every
    decoder layer in turn, float32 (B, N, P, D) each. Those of all tokens, (B, N, T, D), follow the
    logits, and behind them those of the text, keys (B, N, D, E) and values (B, N, E, D) in turn.

    Source: Rothe 2020, "Leveraging Pre-trained Checkpoints for Sequence Generation Tasks".
    """

    inputs = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask")

    def __init__(self, config: BertConfig) -> None:
        nn.Module.__init__(self)  # its two BERTs have other names than the one of other heads
        assert config.encoder is not None, "load_head asks for an encoder-decoder's config"
        self.encoder = Bert(config.encoder, add_pooling_layer=False)
        self.decoder = BertLMHeadModel(config)
        self.heads, self.head_size = config.num_attention_heads, config.head_size
        self.enc_to_dec_proj = (
            nn.Linear(config.encoder.hidden_size, config.hidden_size)
            if config.encoder.hidden_size != config.hidden_size
            else None
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor,
        *past: Tensor,
    ) -> tuple[Tensor, ...]:
        """Score (B, S) ids by a text (B, E); gives (B, S, V), and keys and values."""
        states = self.encoder(input_ids, attention_mask, None)  # (B, E, encoder's H)
        if self.enc_to_dec_proj is not None:
            states = self.enc_to_dec_proj(states)  # (B, E, H)
        layers = (cast("BertLayer", layer) for layer in self.decoder.bert.encoder.layer)
        projected = [
            cast("BertCrossAttention", layer.crossattention).self.project(states)
            for layer in layers
        ]
        mask = self.encoder.additive(attention_mask)  # (B, 1, 1, E)
        states, presents = self.decoder.bert.forward_cached(
            decoder_input_ids,
            decoder_attention_mask,
            None,
            list(zip(past[::2], past[1::2], strict=True)) or self._no_past(decoder_input_ids),
            [(key, value, mask) for key, value in projected],
        )  # (B, S, H)
        logits: Tensor = self.decoder.cls.predictions(states)  # (B, S, V)
        return (
            logits,
            *(tensor for present in presents for tensor in present),
            *(tensor for pair in projected for tensor in pair),
        )

    def _no_past(self, ids: Tensor) -> list[KeysValues]:
        """The cache of a first call, whose P is 0."""
        empty = torch.zeros(ids.size(0), self.heads, 0, self.head_size)  # (B, N, 0, D)
        return [(empty, empty) for _ in self.decoder.bert.encoder.layer]


HEADS: Mapping[str, type[BertHead]] = {
    head.__name__: head
    for head in (
        BertModel,
        BertForPreTraining,
        BertLMHeadModel,
        BertForMaskedLM,
        BertForNextSentencePrediction,
        BertForSequenceClassification,
        BertForMultipleChoice,
        BertForTokenClassification,
        BertForQuestionAnswering,
        BertForSentenceEmbedding,
        EncoderDecoderModel,
    )
}
