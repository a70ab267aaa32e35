"""A checkpoint's generation config means what transformers' pipelines make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_export.errors import ConfigError
from bert_export.tasks import ALIASES, TASKS, CheckpointFacts, find_task
from scripts.goldens.vectors.oracle import silence
from tests.oracle import save_tiny_halves

NAMES = ("text2text-generation", "summarization")
FIELDS = {
    "max_length": st.sampled_from([20, 7, 30]),
    "max_new_tokens": st.sampled_from([5, 64]),
    "min_length": st.integers(0, 5),
    "min_new_tokens": st.integers(1, 3),
    "num_beams": st.integers(1, 6),
    "length_penalty": st.sampled_from([0.5, 2.0]),
    "early_stopping": st.sampled_from([True, False, "never"]),
    "no_repeat_ngram_size": st.integers(0, 3),
    "repetition_penalty": st.sampled_from([1.0, 1.5]),
    "eos_token_id": st.sampled_from([3, [3, 4]]),
}
SOME = st.fixed_dictionaries({}, optional=FIELDS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder: Path = tmp_path_factory.mktemp("halves")
    saved = save_tiny_halves(folder)
    return saved, transformers.BertTokenizerFast.from_pretrained(folder)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(own=SOME, of_task=SOME, name=st.sampled_from(NAMES))
def test_settled_as_the_original_does(
    model: tuple[Any, Any], own: dict[str, Any], of_task: dict[str, Any], name: str
) -> None:
    saved, tokenizer = model
    start = {"decoder_start_token_id": 2, "pad_token_id": 0}
    with silence():
        saved.generation_config = transformers.GenerationConfig(**start | own)
        saved.config.task_specific_params = {name: dict(of_task)}
        pipeline = transformers.pipeline(name, model=saved, tokenizer=tokenizer, device="cpu")
        config, _ = saved._prepare_generation_config(pipeline.generation_config, None)
    generation = {**start, **own, "task_specific_params": {name: of_task}}
    facts = CheckpointFacts(generation=generation)
    found = find_task(name).postprocessing.from_checkpoint(facts)
    most = config.max_length - 1 if config.max_new_tokens is None else config.max_new_tokens
    least = config.min_length - 1 if config.min_new_tokens is None else config.min_new_tokens
    ends = config.eos_token_id
    assert (found.max_new_tokens, found.min_new_tokens) == (most, max(least, 0))
    assert list(found.eos_token_id) == ([ends] if isinstance(ends, int) else ends or [])
    for field in ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size"):
        assert getattr(found, field) == getattr(config, field)
    assert found.repetition_penalty == config.repetition_penalty


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({}, "does not say how an answer begins: expected decoder_start_token_id"),
        ({"bos_token_id": 2, "forced_bos_token_id": 4}, "forced_bos_token_id is not supported"),
        ({"bos_token_id": 2, "num_beam_groups": 2}, "num_beam_groups is not supported: expected 1"),
        ({"bos_token_id": 2, "do_sample": True}, "do_sample is not supported"),
        ({"bos_token_id": "[CLS]"}, "generation config is malformed"),
        ({"bos_token_id": 2, "length_penalty": "long"}, "generation config is malformed"),
    ],
)
def test_what_cannot_be_done_is_refused(generation: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_task(NAMES[0]).postprocessing.from_checkpoint(CheckpointFacts(generation=generation))


def test_an_answer_begins_with_bos_where_nothing_else_is_said() -> None:
    facts = CheckpointFacts(generation={"bos_token_id": 7})
    assert find_task(NAMES[0]).postprocessing.from_checkpoint(facts).decoder_start_token_id == 7


def test_summarization_is_a_variant() -> None:
    task, variant = TASKS[NAMES[0]], find_task("Summarization")
    assert task.variants == (variant,)
    assert ALIASES[variant.name] is variant
    assert variant.head == task.head
    assert variant.name not in TASKS
