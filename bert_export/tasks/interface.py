"""What goes into a task's graph and comes out of it, by name and axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = [
    "ATTENTIONS",
    "BATCH",
    "CHOICES",
    "HIDDEN_STATES",
    "INNER_OUTPUTS",
    "MASKED",
    "MASKED_POSITIONS",
    "OFFSETS",
    "PAST",
    "SEQUENCE",
    "SOURCE",
    "TEXT",
    "TEXT_PAIR",
    "TOKEN_INPUTS",
    "TOTAL",
    "Axes",
    "GraphInterface",
    "GraphTensor",
    "ScoredPositions",
    "TextForm",
    "cached_interface",
    "cached_outputs",
    "cross_attending_interface",
    "decoder_name",
    "has_source",
    "inner_outputs",
    "is_inner_output",
    "kept_outputs",
    "named_outputs",
    "outputs_per_token",
    "pruned_interface",
    "split_interface",
    "text_interface",
    "token_inputs",
    "with_inner_outputs",
]

BATCH, CHOICES, SEQUENCE, MASKED = "batch", "choices", "sequence", "masked"
"""The dynamic axes: texts, continuations of a text, tokens of a row, masks of a batch."""

PAST, TOTAL = "past", "total"
"""The dynamic axes of a cache: tokens of earlier calls, 0 or more, and those with this call's."""

SOURCE = "source"
"""The dynamic axis of a text that another graph encoded: its tokens, to which a decoder attends."""

MASKED_POSITIONS = "masked_positions"
"""Graph input, where the graph scores masks only: ``row * S + column``, int64 (M,), in order."""

HIDDEN_STATES, ATTENTIONS = "hidden_states", "attentions"

INNER_OUTPUTS = (HIDDEN_STATES, ATTENTIONS)
"""What an export may ask of a head beside its answers: ``hidden_states.<i>``, the states before the
first layer (0) and behind layer ``i``, and ``attentions.<i>``, layer ``i``'s weights, from 0 on."""
TEXT, TEXT_PAIR = "text", "text_pair"
"""Graph inputs, where the graph tokenizes: strings (B,)."""

OFFSETS = "offsets"
"""Graph output, where the graph tokenizes and tokens are answers: int64 (B, S, 2), the characters
of its own text that a token stands for; zeros for special tokens and padding."""

TextForm = Literal["single", "pair", "choices"]
"""The strings of a graph that tokenizes.

``single``: ``text`` (B,). ``pair``: ``text_pair`` (B,) too. ``choices``: ``text_pair`` (B, C), the
continuations of each text.
"""

ScoredPositions = Literal["every_token", "first_token", "last_token", "masks"]
"""The tokens whose states a head reads.

``every_token``: nothing of the last layer can be left out. ``first_token``: ``[CLS]`` alone.
``last_token``: the last that the attention mask keeps; the graph's outputs lose the sequence axis.
``masks``: those that :data:`MASKED_POSITIONS` names; the graph's outputs are (masked, ...).
"""

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""BERT's graph inputs, int64 (B, S)."""

Axes = tuple[str | int, ...]
"""One entry per axis: a dynamic axis, a size, or a name for a size that the checkpoint fixes
(``"labels"``, ``"hidden"``, ``"vocabulary"``, ``"embedding"``)."""


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One named input or output of a graph.

    Args:
        name: The ONNX name, the field's standard term.
        shape: See :data:`Axes`.
        dtype: numpy's name; ``string`` for texts that the graph itself tokenizes.
    """

    name: str
    shape: Axes
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class GraphInterface:
    """The inputs and outputs of a head's graph, in order.

    A key/value cache is two more inputs and two more outputs per layer, see
    :func:`cached_interface`; a text is an input of dtype ``string``.
    """

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]

    @property
    def input_axes(self) -> tuple[tuple[str, Axes], ...]:
        """Name and axes of each input."""
        return tuple((tensor.name, tensor.shape) for tensor in self.inputs)

    @property
    def output_axes(self) -> tuple[tuple[str, Axes], ...]:
        """Name and axes of each output."""
        return tuple((tensor.name, tensor.shape) for tensor in self.outputs)


def token_inputs(*further: str, axes: Axes = (BATCH, SEQUENCE)) -> tuple[GraphTensor, ...]:
    """BERT's three inputs, and further ones of the same axes, int64."""
    return tuple(GraphTensor(name, axes, "int64") for name in (*TOKEN_INPUTS, *further))


def cached_interface(
    interface: GraphInterface, *, layers: int, heads: int, head_size: int
) -> GraphInterface:
    """The interface of a causal head that keeps keys and values from one call to the next.

    Inputs are called ``past_key_values.<layer>.key`` and ``.value``, outputs
    ``present.<layer>.key`` and ``.value``, as in the decoders that optimum exports. The attention
    mask is of all tokens, (B, P + S).

    Args:
        interface: Without a cache.
        layers: Of the encoder; there is no cache for 0.
        heads: Of each layer.
        head_size: Width of each head.
    """
    if not layers:
        return interface

    def tensors(prefix: str, axis: str) -> tuple[GraphTensor, ...]:
        return tuple(
            GraphTensor(f"{prefix}.{layer}.{part}", (BATCH, heads, axis, head_size))
            for layer in range(layers)
            for part in ("key", "value")
        )

    inputs = tuple(
        GraphTensor(tensor.name, (BATCH, TOTAL), tensor.dtype)
        if tensor.name == "attention_mask"
        else tensor
        for tensor in interface.inputs
    )
    return GraphInterface(
        (*inputs, *tensors("past_key_values", PAST)),
        (*interface.outputs, *tensors("present", TOTAL)),
    )


def cross_attending_interface(*, layers: int, heads: int, head_size: int) -> GraphInterface:
    """The interface of a causal head whose layers also attend to a text that an encoder reads.

    The names of the inputs are those of transformers' encoder-decoder models, and of the caches
    those that optimum gives them: ``present.<layer>.decoder`` are keys and values of the tokens so
    far, ``present.<layer>.encoder`` those of the encoded text, which do not change while an answer
    grows. Its keys are transposed, (B, N, D, source), as every step reads them.

    Such a head is one graph until it is written: then it is two, see :func:`split_interface`.

    Args:
        layers: Of the decoder; there is no cache for 0.
        heads: Of each layer.
        head_size: Width of each head.
    """
    text, own = (BATCH, SOURCE), (BATCH, SEQUENCE)
    pasts, presents, encoded = [], [], []
    for layer in range(layers):
        for part in ("key", "value"):
            name = f"{layer}.decoder.{part}"
            pasts.append(GraphTensor(f"past_key_values.{name}", (BATCH, heads, PAST, head_size)))
            presents.append(GraphTensor(f"present.{name}", (BATCH, heads, TOTAL, head_size)))
            encoded.append(
                GraphTensor(
                    f"present.{layer}.encoder.{part}",
                    (BATCH, heads, head_size, SOURCE)
                    if part == "key"
                    else (BATCH, heads, SOURCE, head_size),
                )
            )
    return GraphInterface(
        (
            GraphTensor("input_ids", text, "int64"),
            GraphTensor("attention_mask", text, "int64"),
            GraphTensor("decoder_input_ids", own, "int64"),
            GraphTensor("decoder_attention_mask", (BATCH, TOTAL if layers else SEQUENCE), "int64"),
            *pasts,
        ),
        (GraphTensor("logits", (BATCH, SEQUENCE, "vocabulary")), *presents, *encoded),
    )


def has_source(tensors: Iterable[_Named]) -> bool:
    """Whether some of a graph's tensors belong to a text that an encoder reads."""
    return any(SOURCE in tensor.shape for tensor in tensors)


def split_interface(interface: GraphInterface) -> tuple[GraphInterface, GraphInterface]:
    """What becomes of :func:`cross_attending_interface` once the encoder is a graph of its own.

    Returns:
        Of the encoder, which gives keys and values of the text; and of the decoder, which takes
        them as ``past_key_values.<layer>.encoder``. The decoder's ids and mask are ``input_ids``
        and ``attention_mask`` there, and the text's mask is ``encoder_attention_mask``.
    """
    text = tuple(tensor for tensor in interface.inputs if SOURCE in tensor.shape)
    encoded = tuple(tensor for tensor in interface.outputs if SOURCE in tensor.shape)
    decoder_inputs = (
        *(tensor for tensor in interface.inputs if SOURCE not in tensor.shape),
        *(tensor for tensor in text if tensor.name == "attention_mask"),
        *encoded,
    )
    decoder = GraphInterface(
        tuple(
            GraphTensor(decoder_name(tensor.name), tensor.shape, tensor.dtype)
            for tensor in decoder_inputs
        ),
        tuple(tensor for tensor in interface.outputs if SOURCE not in tensor.shape),
    )
    return GraphInterface(text, encoded), decoder


def decoder_name(name: str) -> str:
    """What a decoder's graph calls a tensor of the whole head that it takes."""
    if name == "attention_mask":
        return "encoder_attention_mask"
    if name.startswith("present."):
        return name.replace("present.", "past_key_values.", 1)
    return name.removeprefix("decoder_")


def pruned_interface(interface: GraphInterface, scored: ScoredPositions) -> GraphInterface:
    """The interface once passes left out the scores that a head does not read.

    Args:
        interface: Before the passes.
        scored: The tokens whose states the head reads.
    """
    positions: tuple[GraphTensor, ...] = ()
    axes: dict[str | int, Axes] = {SEQUENCE: ()}
    if scored == "masks":
        positions = (GraphTensor(MASKED_POSITIONS, (MASKED,), "int64"),)
        axes[BATCH] = (MASKED,)
    elif scored != "last_token":
        return interface
    outputs = tuple(
        GraphTensor(
            tensor.name,
            tuple(new for axis in tensor.shape for new in axes.get(axis, (axis,))),
            tensor.dtype,
        )
        for tensor in interface.outputs
    )
    return GraphInterface((*interface.inputs, *positions), outputs)


def text_interface(
    interface: GraphInterface, form: TextForm, *, offsets: bool
) -> GraphInterface | None:
    """The interface of a graph that makes the ids of its texts itself.

    Args:
        interface: Of the graph that takes ids.
        form: Of the texts.
        offsets: Whether the characters of each token are told.

    Returns:
        ``None`` where the graph has an input that no text says.
    """
    ids = interface.inputs[0]
    positions = {MASKED_POSITIONS}
    if {tensor.name for tensor in interface.inputs} - positions != set(TOKEN_INPUTS):
        return None
    texts = [GraphTensor(TEXT, (BATCH,), "string")]
    if form != "single":
        axes = (BATCH, CHOICES) if form == "choices" else (BATCH,)
        texts.append(GraphTensor(TEXT_PAIR, axes, "string"))
    told = [GraphTensor(name, ids.shape, "int64") for name in TOKEN_INPUTS[:2]]
    if offsets:
        told.append(GraphTensor(OFFSETS, (*ids.shape, 2), "int64"))
    return GraphInterface(tuple(texts), (*interface.outputs, *told))


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Axes: ...


def with_inner_outputs(
    interface: GraphInterface, outputs: Iterable[str], *, layers: int, heads: int
) -> GraphInterface:
    """The interface of a head that gives inner values too.

    Args:
        interface: Of the head alone. Where it keeps a cache, weights are over all tokens so far.
        outputs: Of :data:`INNER_OUTPUTS`.
        layers: Of the encoder.
        heads: Of each layer.
    """
    asked, lead = frozenset(outputs), interface.inputs[0].shape[:-1]
    keys = next(each for each in interface.inputs if each.name == "attention_mask").shape[-1]
    states = [
        GraphTensor(f"{HIDDEN_STATES}.{index}", (*lead, SEQUENCE, "hidden"))
        for index in range(layers + 1)
        if HIDDEN_STATES in asked
    ]
    weights = [
        GraphTensor(f"{ATTENTIONS}.{index}", (*lead, heads, SEQUENCE, keys))
        for index in range(layers)
        if ATTENTIONS in asked
    ]
    return GraphInterface(interface.inputs, (*interface.outputs, *states, *weights))


def named_outputs(names: str | Iterable[str]) -> tuple[str, ...]:
    """Kinds of inner values as a user writes them, each once: a text has commas between them."""
    listed = names.split(",") if isinstance(names, str) else names
    return tuple(dict.fromkeys(name.strip() for name in listed))


def is_inner_output(name: str | None) -> bool:
    """Whether an output is an inner value that the export was asked for."""
    return name is not None and name.partition(".")[0] in INNER_OUTPUTS


def inner_outputs(outputs: Iterable[_Named]) -> frozenset[str]:
    """Names of the outputs that are inner values."""
    return frozenset(tensor.name for tensor in outputs if is_inner_output(tensor.name))


def cached_outputs(outputs: Iterable[_Named]) -> frozenset[str]:
    """Names of the outputs that are a cache for the next call."""
    return frozenset(
        tensor.name
        for tensor in outputs
        if TOTAL in tensor.shape and not is_inner_output(tensor.name)
    )


def kept_outputs(outputs: Iterable[_Named]) -> frozenset[str]:
    """Names of the outputs that are no answer: a cache, and keys and values of a text."""
    tensors = tuple(outputs)
    encoded = frozenset(tensor.name for tensor in tensors if SOURCE in tensor.shape)
    return cached_outputs(tensors) | encoded


def outputs_per_token(outputs: Iterable[_Named]) -> frozenset[str]:
    """Names of the outputs whose second axis is the sequence."""
    return frozenset(tensor.name for tensor in outputs if tensor.shape[1:2] == (SEQUENCE,))
