"""Text that follows from another text: summaries and the like, by an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import msgspec

from bert_export.errors import ConfigError, shown
from bert_export.tasks.checkpoint_facts import CheckpointFacts
from bert_export.tasks.interface import GraphInterface, cross_attending_interface
from bert_export.tasks.postprocessing import Count, Positive, PostProcessing, Truncation
from bert_export.tasks.task import Task, always

__all__ = ["SUMMARIZATION", "TASK", "TextToTextPostProcessing"]

_MAX_NEW_TOKENS, _NUM_BEAMS = 256, 4
"""Of transformers' pipelines, whatever the checkpoint says; a checkpoint's ``max_length`` takes the
place of the first, and its parameters of the task the place of both."""

_DEFAULTS: Mapping[str, object] = {
    "early_stopping": False,
    "eos_token_id": None,
    "length_penalty": 1.0,
    "max_length": 20,
    "max_new_tokens": None,
    "min_length": 0,
    "min_new_tokens": None,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
}
"""Of transformers' generation config: what a checkpoint says that says nothing."""

_REFILLS_SINCE = (4, 50)
"""Transformers' version since which checkpoints fill in what equals a default once more."""

_NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "bad_words_ids": (),
    "begin_suppress_tokens": (),
    "diversity_penalty": (0,),
    "do_sample": (False,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "num_beam_groups": (1,),
    "sequence_bias": (),
    "suppress_tokens": (),
}
"""Fields of a generation config that would change answers and are not there, with the values that
change nothing; ``None`` does not either."""

_COPIED = (
    "early_stopping",
    "length_penalty",
    "no_repeat_ngram_size",
    "num_return_sequences",
    "repetition_penalty",
    "temperature",
    "top_k",
    "top_p",
)


class TextToTextPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """How an answer is generated, as transformers' pipeline does with the checkpoint's config.

    Args:
        decoder_start_token_id: Id that every answer begins with; that of ``[CLS]`` when ``null``.
        eos_token_id: Ids of the tokens that end an answer; none where it always has its full
            length.
        max_new_tokens: Tokens that an answer has at most behind the first; ``null`` for as many as
            the decoder has positions for.
        min_new_tokens: Tokens that come before the end may.
        do_sample: Whether tokens are drawn; the likeliest are taken otherwise.
        temperature: Logits are divided by it before a token is drawn.
        top_k: Only that many of the likeliest tokens may be drawn; 0 for all.
        top_p: Only the likeliest tokens that together reach this probability may be drawn.
        num_beams: Answers that a beam search keeps side by side; 1 for none.
        length_penalty: A beam's score is divided by its new tokens to the power of this.
        early_stopping: Whether a beam search ends with as many ended answers as beams; ``never``
            goes on as long as a better one could come.
        repetition_penalty: Above 1 makes tokens that are in the answer less likely.
        no_repeat_ngram_size: Tokens of an n-gram that may come only once; 0 for no bound.
        num_return_sequences: Answers to each text.
        prefix: Written before every text.
        truncation: Whether a text that is too long loses its end.
    """

    decoder_start_token_id: Count | None = None
    eos_token_id: tuple[Count, ...] = ()
    max_new_tokens: Positive | None = _MAX_NEW_TOKENS
    min_new_tokens: Count = 0
    do_sample: bool = False
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    top_k: Count = 50
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    num_beams: Positive = _NUM_BEAMS
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    no_repeat_ngram_size: Count = 0
    num_return_sequences: Positive = 1
    prefix: str = ""
    truncation: Truncation = "none"

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        """What the checkpoint's generation config makes of transformers' pipeline.

        Raises:
            ConfigError: It does not say how an answer begins, a value is malformed, or it asks for
                something that is not there.
        """
        return cls._generating(facts, TASK.name)

    @classmethod
    def _generating(cls, facts: CheckpointFacts, task: str) -> Self:
        if facts.generation is None:
            return cls()
        given = {name: value for name, value in facts.generation.items() if value is not None}
        of_tasks = given.get("task_specific_params")
        of_task = of_tasks.get(task) if isinstance(of_tasks, Mapping) else None
        of_task = of_task if isinstance(of_task, Mapping) else {}
        # The order of transformers' pipeline: its own defaults, a length of the checkpoint's, and
        # what the checkpoint says of the task.
        settled = given | {"num_beams": _NUM_BEAMS, "max_new_tokens": _MAX_NEW_TOKENS}
        if given.get("max_length", _DEFAULTS["max_length"]) != _DEFAULTS["max_length"]:
            settled["max_new_tokens"] = None
        settled |= of_task
        if _refills(given.get("transformers_version")):
            for name, default in _DEFAULTS.items():
                if settled.get(name, default) == default and name in given:
                    settled[name] = given[name]
        for name, neutral in _NEUTRAL.items():
            value = settled.get(name)
            if value is not None and value not in neutral:
                raise ConfigError(
                    f"generation config's {name} is not supported",
                    expected=" or ".join(map(str, (*neutral, None))),
                    got=shown(value),
                    fix="Remove it from generation_config.json where answers may do without it",
                )
        start = settled.get("decoder_start_token_id", settled.get("bos_token_id"))
        if start is None:
            raise ConfigError(
                "generation config does not say how an answer begins",
                expected="decoder_start_token_id, the id of its first token",
                got="none",
                fix="Write it into generation_config.json; for BERT it is as a rule that of [CLS]",
            )
        ends = settled.get("eos_token_id")
        fields = {
            "decoder_start_token_id": start,
            "eos_token_id": ends if isinstance(ends, list) else [] if ends is None else [ends],
            "max_new_tokens": _new_tokens(settled, "max"),
            "min_new_tokens": _new_tokens(settled, "min") or 0,
            "num_beams": settled["num_beams"],
            "prefix": settled.get("prefix", ""),
        } | {name: settled[name] for name in _COPIED if name in settled}
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(
                "generation config is malformed",
                expected="the values that transformers documents",
                got=error,
            ) from error


class SummarizationPostProcessing(TextToTextPostProcessing, frozen=True, kw_only=True):
    """The same, with the checkpoint's parameters of summarization."""

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        """See :meth:`TextToTextPostProcessing.from_checkpoint`."""
        return cls._generating(facts, SUMMARIZATION.name)


def _refills(version: object) -> bool:
    """Whether ``generate`` takes the checkpoint's values where a call's equal the defaults."""
    if not isinstance(version, str):
        return True
    numbers = version.split(".")[:2]
    return not all(map(str.isdecimal, numbers)) or tuple(map(int, numbers)) >= _REFILLS_SINCE


def _new_tokens(fields: Mapping[str, Any], bound: str) -> Any:
    """A bound on the new tokens: the checkpoint's own, or that on all without the first.

    Args:
        fields: Of a generation config.
        bound: ``max`` or ``min``.
    """
    own, whole = fields.get(f"{bound}_new_tokens"), fields.get(f"{bound}_length")
    if own is not None or not isinstance(whole, int):
        return own
    return max(whole - 1, 1 if bound == "max" else 0)


def _interface(facts: CheckpointFacts) -> GraphInterface:
    """The next word's scores, and the keys and values of all tokens so far and of the text."""
    return cross_attending_interface(
        layers=facts.layers, heads=facts.heads, head_size=facts.head_size
    )


_BASE = Task(
    name="text2text-generation",
    aliases=("seq2seq", "text2text"),
    summary="text that follows from a text, such as its summary, by an encoder-decoder",
    head="EncoderDecoderModel",
    architectures=("EncoderDecoderModel",),
    interface=_interface,
    scored_positions="last_token",
    text_forms=(),
    postprocessing=TextToTextPostProcessing,
    pipeline="text2text_generation:TextToTextPipeline",
    scorer=always("words:AnswerWordScorer"),
    metric=always("next-token accuracy"),
    agreement=always("token"),
    shortest_row=3,
    required=("text",),
    optional=("summary",),
    calibration="text-generation",
    unseen=("demo:gutenberg",),
    demo="requests",
    example={"text": "The mayor opened the new bridge on Monday. It took four years to build."},
)

SUMMARIZATION = replace(
    _BASE,
    name="summarization",
    aliases=(),
    summary="a text's summary by an encoder-decoder",
    architectures=(),
    postprocessing=SummarizationPostProcessing,
    pipeline="text2text_generation:SummarizationPipeline",
)
"""The task under the name, and with the answers, of transformers' pipeline for summaries."""

TASK = replace(_BASE, variants=(SUMMARIZATION,))
