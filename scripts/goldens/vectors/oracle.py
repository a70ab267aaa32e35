"""The original's tokenizer and model, so that what goes in and comes out can be kept."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import tokenizers
import torch

from scripts.goldens.vectors.call import Call, Tensors
from scripts.goldens.vectors.vocabulary import WORDS, tokenizer_json

__all__ = [
    "Graph",
    "open_pipeline",
    "open_tokenizer",
    "open_writing_pipeline",
    "scripted",
    "silence",
]

transformers: Any = import_module("transformers")
modeling_outputs: Any = import_module("transformers.modeling_outputs")

_HEADS: dict[str, tuple[str, Any]] = {
    "feature-extraction": ("BertModel", modeling_outputs.BaseModelOutputWithPooling),
    "fill-mask": ("BertForMaskedLM", modeling_outputs.MaskedLMOutput),
    "text-classification": (
        "BertForSequenceClassification",
        modeling_outputs.SequenceClassifierOutput,
    ),
    "zero-shot-classification": (
        "BertForSequenceClassification",
        modeling_outputs.SequenceClassifierOutput,
    ),
    "token-classification": (
        "BertForTokenClassification",
        modeling_outputs.TokenClassifierOutput,
    ),
    "question-answering": (
        "BertForQuestionAnswering",
        modeling_outputs.QuestionAnsweringModelOutput,
    ),
    "text-generation": ("BertLMHeadModel", modeling_outputs.CausalLMOutputWithCrossAttentions),
}


@contextmanager
def silence() -> Iterator[None]:
    """The original without what it logs and warns of."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(transformers.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(before)


class _Recording:
    """What is put before a class of the original's tokenizers, to keep what it makes."""

    made: list[tokenizers.Encoding]

    def _batch_encode_plus(self, *args: Any, **options: Any) -> Any:
        batch = super()._batch_encode_plus(*args, **options)  # type: ignore[misc]
        self.made += batch.encodings
        return batch


def open_tokenizer(call: Call) -> Any:
    """The original's tokenizer as a call's record describes it; every encoding is in ``made``."""
    record = call.record
    name, base = "BertTokenizerFast", transformers.BertTokenizerFast
    tokenizer = type(name, (_Recording, base), {})(
        tokenizer_object=tokenizers.Tokenizer.from_str(tokenizer_json(record["file"])),
        model_max_length=record["max_length"],
        do_lower_case=record["do_lower_case"],
        clean_up_tokenization_spaces=record["clean_up_tokenization_spaces"],
        truncation_side=record["truncation_side"],
    )
    tokenizer.made = []
    return tokenizer


class Graph:
    """Answers rows as the call's script says, and keeps them in order.

    Args:
        call: Whose script, and whose longest row.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self.seen: list[tuple[list[int], list[int], Tensors]] = []

    def __call__(self, ids: Sequence[int], types: Sequence[int]) -> Tensors:
        """The outputs of one row without padding.

        Raises:
            IndexError: The row is empty, or longer than the model's positions.
        """
        if not 0 < len(ids) <= self._call.record["max_length"]:
            raise IndexError(len(ids))
        outputs = self._call.script(ids, types)
        self.seen.append((list(ids), list(types), outputs))
        return outputs


def scripted(task: str, call: Call, graph: Graph) -> Any:
    """A model of the original's class for the task whose forward asks the graph.

    Args:
        task: Such as ``fill-mask``.
        call: For the labels and sizes of its config.
        graph: What is asked, a row at a time.
    """
    name, output = _HEADS[task]
    base = getattr(transformers, name)

    def forward(
        _self: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> Any:
        rows = []
        for index, row in enumerate(input_ids.tolist()):
            size = len(row) if attention_mask is None else int(attention_mask[index].sum())
            types = [0] * size if token_type_ids is None else token_type_ids[index, :size].tolist()
            own = graph(row[:size], types)
            rows.append({key: _full(task, key, row[:size], own[key], len(row)) for key in own})
        return output(**{key: torch.stack([row[key] for row in rows]) for key in rows[0]})

    config = _config(
        call,
        is_decoder=task == "text-generation",
        use_cache=False,
        problem_type=call.postprocessing.get("problem_type"),
        id2label=dict(enumerate(call.labels or ("LABEL_0", "LABEL_1"))),
        label2id={label: index for index, label in enumerate(call.labels)},
    )
    return type(name, (base,), {"forward": forward, "__module__": base.__module__})(config).eval()


def _config(call: Call, **others: Any) -> Any:
    """The config of a model that computes nothing itself."""
    return transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=call.record["max_length"],
        **others,
    )


def _full(
    task: str, name: str, ids: list[int], array: np.ndarray[Any, Any], size: int
) -> torch.Tensor:
    """A row's output with all that the original's model gives and our graph leaves out."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if task == "fill-mask":
        whole = torch.zeros(size, len(WORDS))
        whole[[index for index, one in enumerate(ids) if one == WORDS.index("[MASK]")]] = tensor
        return whole
    if task == "text-generation":
        return tensor.expand(size, -1)
    if name in ("start_logits", "end_logits") or task in (
        "feature-extraction",
        "token-classification",
    ):
        if name == "pooler_output":
            return tensor
        padding = [0, 0] * (tensor.ndim - 1) + [0, size - len(ids)]
        return torch.nn.functional.pad(tensor, padding)
    return tensor


def open_pipeline(task: str, call: Call, graph: Graph, tokenizer: Any) -> Any:
    """The original's pipeline of a task over a scripted model."""
    return transformers.pipeline(
        task, model=scripted(task, call, graph), tokenizer=tokenizer, device="cpu"
    )


class _Reader(torch.nn.Module):
    """An encoder whose states are the ids that it was given."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        """Ids (B, E) as states (B, E, 1); texts come alone, so that nothing is padded."""
        states = input_ids[..., None].to(torch.float64)
        return modeling_outputs.BaseModelOutput(last_hidden_state=states)


def open_writing_pipeline(call: Call, graph: Graph, tokenizer: Any) -> Any:
    """The original's text2text-generation over an encoder-decoder that asks the graph.

    Args:
        call: For its prefix and the sizes of the config.
        graph: Asked with the ids of a text and those of what is answered so far.
        tokenizer: See :func:`open_tokenizer`.
    """
    base = transformers.EncoderDecoderModel

    def forward(_self: Any, decoder_input_ids: torch.Tensor, encoder_outputs: Any, **_: Any) -> Any:
        texts = encoder_outputs.last_hidden_state[..., 0].long().tolist()
        rows = [
            torch.from_numpy(graph(text, own)["logits"])
            for text, own in zip(texts, decoder_input_ids.tolist(), strict=True)
        ]
        size = decoder_input_ids.size(1)
        return modeling_outputs.Seq2SeqLMOutput(
            logits=torch.stack([row.expand(size, -1) for row in rows])
        )

    half = _config(call)
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(half, half)
    parts = {
        "forward": forward,
        "get_encoder": lambda self: self.reader,
        "__module__": base.__module__,
    }
    model = type(base.__name__, (base,), parts)(config=config).eval()
    model.reader = _Reader()
    model.generation_config = transformers.GenerationConfig(
        use_cache=False, pad_token_id=WORDS.index("[PAD]")
    )
    pipeline = transformers.pipeline(
        "text2text-generation", model=model, tokenizer=tokenizer, device="cpu"
    )
    pipeline.prefix = call.postprocessing.get("prefix")
    return pipeline
