"""Every way of decoding over every kind of cache: the tokens of the original's ``generate``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bert_export
from bert_export.errors import InputError
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from bert_export.runtime.sessions.openvino import OpenVinoSession
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from tests.oracle import save_tiny
from tests.runtime.pipelines.test_text_generation import LIMIT, PROMPTS, Oracle
from tests.support import open_tiny

WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "repetition": {"repetition_penalty": 1.7},
    "less than one": {"repetition_penalty": 0.8},
    "n-grams": {"no_repeat_ngram_size": 2},
    "single tokens": {"no_repeat_ngram_size": 1, "min_new_tokens": 3},
    "least": {"min_new_tokens": 6},
    "beams": {"num_beams": 3},
    "long beams": {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 3},
    "short beams": {"num_beams": 4, "length_penalty": -1.0, "num_return_sequences": 4},
    "early": {"num_beams": 3, "early_stopping": True, "num_return_sequences": 2},
    "never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 0.5},
    "all": {
        "num_beams": 3,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 2,
        "num_return_sequences": 2,
    },
}


class PlainSession(Session):
    """The session below, without what its engine does for caches."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.longest = session.longest

    def run(self, feeds: Feeds) -> Outputs:
        return self._session.run(feeds)

    def close(self) -> None:
        """The session belongs to another pipeline."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("causal")
    save_tiny("BertLMHeadModel", path, is_decoder=True, seed=6)
    return path


@pytest.fixture(scope="module")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "causal"
    bert_export.export(
        model=folder, output=path, task="text-generation", targets=("onnxruntime", "openvino")
    )
    return path


@pytest.fixture(scope="module")
def bound(bundle: Path) -> Iterator[TextGenerationPipeline]:
    with bert_export.load(bundle) as pipeline:
        assert isinstance(pipeline, TextGenerationPipeline)
        yield pipeline


@pytest.fixture(scope="module", params=["buffers", "arrays", "state", "tokens"])
def pipeline(
    request: pytest.FixtureRequest, bound: TextGenerationPipeline, bundle: Path, folder: Path
) -> Iterator[TextGenerationPipeline]:
    if request.param == "buffers":
        yield bound
    elif request.param == "arrays":
        plain = PlainSession(bound._session)
        yield TextGenerationPipeline(bound.manifest, bound.tokenizer, plain)
    elif request.param == "state":
        with bert_export.load(bundle, target="openvino", threads=1) as opened:
            yield opened
    else:
        tokens = open_tiny("text-generation", folder)
        assert isinstance(tokens, TextGenerationPipeline)
        yield tokens


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)


@pytest.fixture(scope="module")
def expected(oracle: Oracle) -> dict[str, list[Any]]:
    return {name: [oracle(text, 9, **way) for text in PROMPTS] for name, way in WAYS.items()}


@pytest.mark.parametrize("way", WAYS)
def test_answers_equal_generates(
    pipeline: TextGenerationPipeline, expected: dict[str, list[Any]], way: str
) -> None:
    options = {"max_new_tokens": 9, **WAYS[way]}
    assert pipeline(PROMPTS[0], **options) == expected[way][0]
    assert pipeline(PROMPTS, **options) == expected[way]  # unequal prompts, in one batch
    assert pipeline(PROMPTS, batch_size=2, **options) == expected[way]


def test_the_ways_differ(expected: dict[str, list[Any]]) -> None:
    texts = {
        name: [answers[0]["generated_text"] for answers in of] for name, of in expected.items()
    }
    assert len({tuple(of) for of in texts.values()}) > len(WAYS) // 2


def test_other_tokens_may_end_a_text(pipeline: TextGenerationPipeline, oracle: Oracle) -> None:
    ends = [pipeline.tokenizer.sep_id, *range(20, 60)]
    wanted = [oracle(text, 9, eos_token_id=ends) for text in PROMPTS]
    assert pipeline(PROMPTS, max_new_tokens=9, eos_token_id=ends) == wanted
    assert wanted != pipeline(PROMPTS, max_new_tokens=9)


def test_max_length_counts_the_prompt(pipeline: TextGenerationPipeline, oracle: Oracle) -> None:
    prompt = "the cat sat"
    ((row,),) = pipeline.encode_items([prompt], pipeline.defaults)
    assert pipeline(prompt, max_length=len(row) + 2) == oracle(prompt, 2)
    assert pipeline(prompt, max_length=LIMIT, max_new_tokens=1) == oracle(prompt, 1)
    with pytest.raises(InputError, match=r"prompt is as long as max_length allows.*above its 4"):
        pipeline(prompt, max_length=len(row))


@pytest.mark.parametrize("text", PROMPTS)
def test_pieces_make_the_answer(pipeline: TextGenerationPipeline, text: str) -> None:
    options: dict[str, Any] = {
        "max_new_tokens": 20,
        "min_new_tokens": 15,
        "no_repeat_ngram_size": 2,
    }
    pieces = list(pipeline.stream(text, **options))
    (answer,) = pipeline(text, return_full_text=False, **options)
    assert "".join(pieces) == answer["generated_text"]
    assert all(pieces)
    assert len(pieces) > 3


def test_a_drawn_answer_depends_on_its_seed_alone(pipeline: TextGenerationPipeline) -> None:
    options: dict[str, Any] = {"do_sample": True, "temperature": 1.5, "max_new_tokens": 6}
    alone = [pipeline(text, seed=5, num_return_sequences=2, **options) for text in PROMPTS]
    assert pipeline(PROMPTS, seed=5, num_return_sequences=2, **options) == alone
    assert [answer[:1] for answer in alone] == pipeline(PROMPTS, seed=5, **options)
    assert any(first != second for first, second in alone)


def test_rows_leave_and_padding_with_them(bound: TextGenerationPipeline) -> None:
    # The long prompt ends at the limit: what the short one gets must not count its padding.
    long = " ".join("a" * (LIMIT - 3))
    options: dict[str, Any] = {"min_new_tokens": 25, "max_new_tokens": 25}
    assert bound([long, "the"], **options)[1] == bound("the", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 0}, "num_beams is wrong"),
        ({"num_beams": 2, "do_sample": True}, "do_sample and num_beams do not go together"),
        ({"num_return_sequences": 2}, "num_return_sequences is larger than"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is out of range"),
        ({"repetition_penalty": "much"}, "repetition_penalty is wrong"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is wrong"),
        ({"min_new_tokens": -1}, "min_new_tokens is wrong"),
        ({"early_stopping": "soon"}, "early_stopping is wrong.*true, false or never"),
        ({"early_stopping": np.ones(2)}, "early_stopping is wrong.*true, false or never"),
        ({"length_penalty": float("inf")}, "length_penalty is wrong"),
        ({"eos_token_id": 10**6}, "eos_token_id is wrong.*ids from 0 to"),
        ({"eos_token_id": "."}, "eos_token_id is wrong"),
        ({"max_length": 0}, "max_length is wrong"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    bound: TextGenerationPipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        bound("the cat", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, "stream gives one text"),
        ({"max_new_token": 2}, "max_new_token means nothing to stream.*max_new_tokens"),
        ({"return_full_text": True}, "return_full_text means nothing to stream"),
        ({"temperature": -1.0}, "temperature is out of range"),
    ],
)
def test_malformed_streams_say_it_at_once(
    bound: TextGenerationPipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        bound.stream("the cat", **options)


def test_a_state_is_a_calls_own_and_its_request_is_used_again(bundle: Path) -> None:
    with bert_export.load(bundle, target="openvino", threads=1) as pipeline:
        assert isinstance(pipeline, TextGenerationPipeline)
        expected = [
            pipeline(text, max_new_tokens=5, return_full_text=False) for text in PROMPTS[:2]
        ]
        streams = [pipeline.stream(text, max_new_tokens=5) for text in PROMPTS[:2]]
        pieces: list[list[str]] = [[], []]
        for both in zip_longest(*streams, fillvalue=""):  # both states are in use
            for own, piece in zip(pieces, both, strict=True):
                own.append(piece)
        assert ["".join(own) for own in pieces] == [
            answer["generated_text"] for (answer,) in expected
        ]
        session = pipeline._session
        assert isinstance(session, OpenVinoSession)
        made = len(session.held())
        pipeline(PROMPTS[0], max_new_tokens=5, num_beams=3)
        assert len(session.held()) == made
        stream = pipeline.stream(PROMPTS[0], max_new_tokens=5)
    with pytest.raises(InputError, match="session is closed"):
        list(stream)


def test_caches_of_another_shape_are_refused(bound: TextGenerationPipeline) -> None:
    feeds = dict(bound.feeds(bound.encode_items(["the cat"], bound.defaults)[0]))
    name = "past_key_values.0.key"
    wrong = {**feeds, name: np.zeros((1, 4, 2, 5), np.float32)}
    with pytest.raises(InputError, match=f"input {name} has the wrong shape"):
        bound.run(wrong)
    longer = {key: np.zeros((1, 4, 2, 4), np.float32) for key in feeds if "past" in key}
    with pytest.raises(InputError, match=r"attention_mask does not fit the cache: expected 5 tok"):
        bound.run(feeds | longer)
    many = {key: np.zeros((1, 4, LIMIT, 4), np.float32) for key in feeds if "past" in key}
    mask = np.ones((1, LIMIT + feeds["input_ids"].shape[1]), np.int64)
    with pytest.raises(InputError, match="rows are longer than the model takes"):
        bound.run(feeds | many | {"attention_mask": mask})
