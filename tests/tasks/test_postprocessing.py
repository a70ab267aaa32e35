"""The manifest holds every default; older manifests, which do not, still say the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bert_export.errors import BundleError
from bert_export.tasks import TASKS, CheckpointFacts, PostProcessing, SentenceFacts, find_task

IDENTITY = {"activation_fn": "torch.nn.modules.linear.Identity"}
FACTS = CheckpointFacts(
    labels=("a",),
    problem_type="regression",
    activation_fn="torch.nn.modules.linear.Identity",
    sentence=SentenceFacts(
        normalize=True, prompts={"q": "find: "}, default_prompt_name="q", include_prompt=False
    ),
)


def of(task: str) -> type[PostProcessing]:
    return find_task(task).postprocessing


@pytest.mark.parametrize("task", TASKS)
def test_every_field_is_written_and_read_again(task: str) -> None:
    for facts in (FACTS, CheckpointFacts()):
        parameters = of(task).from_checkpoint(facts)
        written = parameters.to_manifest()
        assert set(written) == {field.name for field in msgspec.structs.fields(parameters)}
        assert json.loads(json.dumps(written)) == written
        assert of(task).from_manifest(written) == parameters


@pytest.mark.parametrize("task", TASKS)
def test_an_older_manifest_has_the_defaults(task: str) -> None:
    assert of(task).from_manifest({}) == of(task)()


@pytest.mark.parametrize(
    ("task", "older"),
    [
        ("text-classification", {"problem_type": "regression"} | IDENTITY),
        ("zero-shot-classification", {"problem_type": "regression"} | IDENTITY),
        (
            "sentence-embedding",
            {
                "normalize": True,
                "prompts": {"q": "find: "},
                "default_prompt_name": "q",
                "include_prompt": False,
            },
        ),
    ],
)
def test_an_older_manifest_of_a_checkpoint_says_the_same(task: str, older: dict[str, Any]) -> None:
    assert of(task).from_manifest(older) == of(task).from_checkpoint(FACTS)


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("fill-mask", {"top_k": "five"}),
        ("fill-mask", {"top_n": 5}),
        ("fill-mask", {"top_k": -1}),
        ("text-classification", {"top_k": 0}),
        ("text-classification", {"function_to_apply": "tanh"}),
        ("token-classification", {"aggregation_strategy": "mean"}),
        ("question-answering", {"method": "squad"}),
        ("text-generation", {"temperature": 0.0}),
        ("sentence-embedding", {"prompts": 3}),
        ("sentence-embedding", {"similarity_fn_name": "angle"}),
        ("multiple-choice", {"truncation": True}),
    ],
)
def test_what_no_pipeline_could_follow_is_refused(task: str, given: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="malformed postprocessing: expected the fields of"):
        of(task).from_manifest(given)
