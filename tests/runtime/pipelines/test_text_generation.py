"""Continuations equal the original model's ``generate``; filters equal its logits warpers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from bert_export.bundle import Manifest
from bert_export.errors import InputError
from bert_export.runtime.pipelines.text_generation import TextGenerationPipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, Session, check_feeds
from tests.oracle import save_tiny
from tests.support import open_tiny

PROMPTS = ["the cat sat", "", "The  Dog isn't on 中文!", "a b c d e f g h i j k", "the", "run."]
LIMIT = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("causal")
    save_tiny("BertLMHeadModel", path, is_decoder=True, seed=3)
    return path


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> TextGenerationPipeline:
    opened = open_tiny("text-generation", folder)
    assert isinstance(opened, TextGenerationPipeline)
    return opened


class Oracle:
    """``generate`` on the prompt's ids, spelt by upstream's own post-processing."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.model = transformers.BertLMHeadModel.from_pretrained(folder)
        self.pipeline = transformers.pipeline(
            "text-generation", model=self.model, tokenizer=self.tokenizer, device="cpu"
        )

    def __call__(self, text: str, max_new_tokens: int, **options: Any) -> list[dict[str, str]]:
        ids = self.tokenizer(text, return_tensors="pt")["input_ids"][:, :-1]
        sequence = self.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_length=min(ids.shape[1] + max_new_tokens, LIMIT),
            pad_token_id=self.tokenizer.pad_token_id,
            **({"eos_token_id": self.tokenizer.sep_token_id} | options),
        )
        answer: list[dict[str, str]] = self.pipeline.postprocess(
            {"generated_sequence": sequence[None], "input_ids": ids, "prompt_text": text}
        )
        return answer


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Oracle:
    return Oracle(folder)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_greedy_answers_equal_generates(
    pipeline: TextGenerationPipeline, oracle: Oracle, count: int
) -> None:
    expected = [oracle(text, count) for text in PROMPTS]
    assert [pipeline(text, max_new_tokens=count) for text in PROMPTS] == expected
    assert pipeline(PROMPTS, max_new_tokens=count) == expected
    assert pipeline(PROMPTS, max_new_tokens=count, batch_size=2) == expected
    assert list(pipeline(iter(PROMPTS), max_new_tokens=count)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_greedy_answers_equal_generates_on_other_weights(tmp_path: Path, seed: int) -> None:
    save_tiny("BertLMHeadModel", tmp_path, is_decoder=True, seed=seed)
    oracle, pipeline = Oracle(tmp_path), open_tiny("text-generation", tmp_path, token_budget=64)
    expected = [oracle(text, 1000) for text in PROMPTS]
    assert pipeline(PROMPTS, max_new_tokens=1000) == expected


def test_a_prompt_ends_at_its_separator_or_the_limit(tmp_path: Path) -> None:
    lengths = set()
    for seed in (0, 3):
        save_tiny("BertLMHeadModel", tmp_path, is_decoder=True, seed=seed)
        pipeline = open_tiny("text-generation", tmp_path)
        assert isinstance(pipeline, TextGenerationPipeline)
        settings = pipeline.default_settings()
        for text in PROMPTS:
            ((row,),) = pipeline.encode_items([text], settings)
            assert row.input_ids[0] == pipeline.tokenizer.cls_id
            assert pipeline.tokenizer.sep_id not in row.input_ids
            assert len(row.input_ids) == len(row.token_type_ids)
            ((new,),) = pipeline._continue_prompts([row.input_ids], settings)
            assert pipeline.tokenizer.sep_id not in new[:-1]
            assert new[-1] == pipeline.tokenizer.sep_id or len(row) + len(new) == LIMIT
            lengths.add(len(row) + len(new))
    # Else the comparisons with generate() would test one kind of ending only.
    assert LIMIT in lengths
    assert lengths != {LIMIT}


class ScriptedSession(Session):
    """A graph that asks for ``[SEP]`` once a row holds as many tokens as its first id says."""

    def __init__(self, manifest: Manifest, separator: int) -> None:
        graph = manifest.engine().graph
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.rows: list[int] = []
        self._separator = separator

    def run(self, feeds: Feeds) -> Outputs:
        check_feeds(self.inputs, feeds)
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        assert (ids[mask == 0] == 0).all()
        self.rows.append(len(ids))
        done = np.arange(1, ids.shape[1] + 1) >= ids[:, :1]  # (B, S)
        logits = np.zeros((*ids.shape, 20), dtype=np.float32)
        logits[..., 9] = ~done
        logits[..., self._separator] = done
        return {"logits": logits}

    def close(self) -> None:
        """Nothing to free."""


def test_the_separator_stops_a_row_while_others_go_on(pipeline: TextGenerationPipeline) -> None:
    sep = pipeline.tokenizer.sep_id
    session = ScriptedSession(pipeline.manifest, sep)
    scripted = TextGenerationPipeline(pipeline.manifest, pipeline.tokenizer, session)
    prompts = [np.array([6]), np.array([3, 7]), np.array([9, 7, 7]), np.array([2, 7])]
    added = scripted._continue_prompts(prompts, scripted.default_settings())
    assert [new.tolist() for (new,) in added] == [[9] * 5 + [sep], [9, sep], [9] * 6 + [sep], [sep]]
    assert session.rows == [4, 3, 2, 2, 2, 2, 1]


def test_a_sampled_answer_depends_on_its_seed_alone(pipeline: TextGenerationPipeline) -> None:
    options: dict[str, Any] = {"do_sample": True, "temperature": 1.5, "max_new_tokens": 6}
    alone = [pipeline(text, seed=5, **options) for text in PROMPTS]
    assert pipeline(PROMPTS, seed=5, **options) == alone
    assert pipeline(PROMPTS[::-1], seed=5, batch_size=3, **options) == alone[::-1]
    assert pipeline(PROMPTS, seed=6, **options) != alone
    assert pipeline(PROMPTS, **options) != pipeline(PROMPTS, **options)


def test_sampling_among_one_is_greedy(pipeline: TextGenerationPipeline) -> None:
    greedy = pipeline(PROMPTS, max_new_tokens=9)
    assert pipeline(PROMPTS, max_new_tokens=9, do_sample=True, top_k=1) == greedy
    assert pipeline(PROMPTS, max_new_tokens=9, do_sample=True, top_p=0.0) == greedy


def test_the_prompt_can_be_left_out(pipeline: TextGenerationPipeline, oracle: Oracle) -> None:
    for text in PROMPTS:
        (answer,) = pipeline(text, max_new_tokens=6, return_full_text=False)
        (expected,) = oracle(text, 6)
        assert text + answer["generated_text"] == expected["generated_text"]


def test_the_steps_of_a_prompt_give_the_next_token(
    pipeline: TextGenerationPipeline, oracle: Oracle
) -> None:
    settings = pipeline.default_settings()
    ((row,),) = pipeline.encode_items(["the cat"], settings)
    feeds = {
        "input_ids": row.input_ids[None],
        "attention_mask": np.ones_like(row.input_ids)[None],
        "token_type_ids": row.token_type_ids[None],
    }
    outputs = {"logits": pipeline.run(feeds)["logits"][0]}
    reduced = pipeline.reduce(row, outputs, settings)
    assert pipeline.decode("the cat", [row], [reduced], settings) == oracle("the cat", 1)
    assert pipeline.item({"text": "a"}) == "a"


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ("the cat " * 40, {}, "too long"),
        (" ".join("a" * (LIMIT - 1)), {}, "too long"),
        (None, {}, "inputs are of the wrong type"),
        (["a", 1], {}, "text is of the wrong type"),
        ("a", {"max_new_tokens": 0}, "max_new_tokens is wrong"),
        ("a", {"max_new_tokens": 1.5}, "max_new_tokens is wrong"),
        ("a", {"top_k": -1}, "top_k is wrong"),
        ("a", {"top_p": 1.1}, "top_p is out of range"),
        ("a", {"temperature": 0.0}, "temperature is out of range"),
        ("a", {"temperature": float("nan")}, "temperature is wrong"),
        ("a", {"seed": -1}, "seed is wrong"),
        ("a", {"batch_size": 0}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    pipeline: TextGenerationPipeline, inputs: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pipeline(inputs, **options)
    assert "\n" not in str(caught.value)


def test_one_token_fits_where_one_place_is_left(
    pipeline: TextGenerationPipeline, oracle: Oracle
) -> None:
    text = " ".join("a" * (LIMIT - 2))
    assert pipeline(text) == oracle(text, 9)


def test_no_prompts_get_no_answers(pipeline: TextGenerationPipeline) -> None:
    assert pipeline([]) == []
