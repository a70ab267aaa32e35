"""Vectors equal those of sentence-transformers' ``encode``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from bert_export.errors import BundleError, InputError
from bert_export.runtime.batching import FIRST_CHUNK
from bert_export.runtime.pipelines.sentence_embedding import (
    SentenceEmbeddingPipeline,
    choose_prompt,
)
from bert_export.tasks.sentence_embedding import SentenceEmbeddingPostProcessing
from tests.oracle import save_tiny
from tests.support import open_tiny

sentence_transformers = pytest.importorskip("sentence_transformers")
modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

TEXTS = [
    "The cat sat on the mat.",
    "",
    "  a dog  ",
    "naïve Élan — 中文 😀",
    "x",
    "the cat sat on the mat " * 9,
    "[MASK] a [SEP] b",
]
PROMPTS = {"query": "find: ", "run": "the cat", "empty": ""}


def save_sentence_model(
    folder: Path,
    *,
    pooling: str | tuple[str, ...] = "mean",
    include_prompt: bool = True,
    dense: int | None = None,
    normalize: bool = False,
    **config: Any,
) -> None:
    """Save a random model of sentence-transformers."""
    save_tiny("BertModel", folder / "bert")
    transformer = modules.Transformer(str(folder / "bert"), max_seq_length=24)
    pool = modules.Pooling(
        transformer.get_embedding_dimension(), pooling, include_prompt=include_prompt
    )
    parts = [transformer, pool]
    if dense is not None:
        torch.manual_seed(0)
        width = pool.get_embedding_dimension()
        parts.append(modules.Dense(width, dense, activation_function=torch.nn.Tanh()))
    if normalize:
        parts.append(modules.Normalize())
    model = sentence_transformers.SentenceTransformer(modules=parts, device="cpu", **config)
    model.save(str(folder / "whole"), create_model_card=False)


def _open(folder: Path, **batching: Any) -> SentenceEmbeddingPipeline:
    opened = open_tiny("sentence-embedding", folder, **batching)
    assert isinstance(opened, SentenceEmbeddingPipeline)
    return opened


def _equal(found: Any, expected: Any) -> None:
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


MODELS: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls": {"pooling": "cls"},
    "max": {"pooling": "max"},
    "two modes": {"pooling": ("mean", "max"), "normalize": True},
    "dense": {"dense": 6, "normalize": True},
    "default prompt": {"prompts": PROMPTS, "default_prompt_name": "query"},
    "prompt not pooled": {"prompts": PROMPTS, "include_prompt": False, "normalize": True},
    "weighted, prompt not pooled": {
        "prompts": PROMPTS,
        "include_prompt": False,
        "pooling": "weightedmean",
        "default_prompt_name": "run",
    },
}


@pytest.fixture(scope="module", params=MODELS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SentenceEmbeddingPipeline, Any]:
    """A pipeline, and the oracle over the same folder."""
    folder = tmp_path_factory.mktemp("sentence")
    save_sentence_model(folder, **MODELS[request.param])
    oracle = sentence_transformers.SentenceTransformer(str(folder / "whole"), device="cpu")
    return _open(folder / "whole", token_budget=60), oracle


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> SentenceEmbeddingPipeline:
    """A pipeline whose graph neither normalizes nor leaves prompts out."""
    folder = tmp_path_factory.mktemp("plain")
    save_sentence_model(folder)
    return _open(folder / "whole")


def test_vectors_equal_the_oracles(pair: tuple[SentenceEmbeddingPipeline, Any]) -> None:
    pipeline, oracle = pair
    expected = oracle.encode(TEXTS)
    _equal(pipeline(TEXTS), expected)
    _equal(pipeline(TEXTS, batch_size=2), expected)
    _equal(pipeline(iter(TEXTS)), expected)
    _equal(pipeline(np.asarray(TEXTS)), expected)
    _equal(np.stack(list(pipeline.stream(TEXTS))), expected)
    _equal(pipeline(TEXTS[0]), oracle.encode(TEXTS[0]))
    assert pipeline.dimension == expected.shape[1]


@pytest.mark.parametrize("prompt", ["", "find: ", "the", " ", "q", "the cat sat on the mat " * 6])
def test_prompts_equal_the_oracles(
    pair: tuple[SentenceEmbeddingPipeline, Any], prompt: str
) -> None:
    pipeline, oracle = pair
    _equal(pipeline(TEXTS, prompt=prompt), oracle.encode(TEXTS, prompt=prompt))
    _equal(pipeline("a dog", prompt=prompt), oracle.encode("a dog", prompt=prompt))


def test_named_prompts_equal_the_oracles(pair: tuple[SentenceEmbeddingPipeline, Any]) -> None:
    pipeline, oracle = pair
    for name in pipeline.parameters.prompts:
        _equal(pipeline(TEXTS, prompt_name=name), oracle.encode(TEXTS, prompt_name=name))
    with pytest.raises(InputError, match="prompt 'other' is unknown"):
        pipeline(TEXTS, prompt_name="other")


@pytest.mark.parametrize("truncate_dim", [None, 1, 4, 10**6])
@pytest.mark.parametrize("normalize", [None, True])
def test_cut_and_scaled_vectors_equal_the_oracles(
    pair: tuple[SentenceEmbeddingPipeline, Any], truncate_dim: int | None, normalize: bool | None
) -> None:
    pipeline, oracle = pair
    expected = oracle.encode(TEXTS, truncate_dim=truncate_dim, normalize_embeddings=bool(normalize))
    options: dict[str, Any] = {"truncate_dim": truncate_dim, "normalize": normalize}
    _equal(pipeline(TEXTS, **options), expected)
    _equal(np.stack(list(pipeline.stream(TEXTS, **options))), expected)
    _equal(pipeline(TEXTS[3], **options), expected[3])


def test_normalization_cannot_be_taken_out_of_the_graph(
    pair: tuple[SentenceEmbeddingPipeline, Any],
) -> None:
    pipeline, oracle = pair
    if pipeline.parameters.normalize:
        with pytest.raises(InputError, match="normalize=False does not fit the bundle"):
            pipeline(TEXTS, normalize=False)
    else:
        _equal(pipeline(TEXTS, normalize=False), oracle.encode(TEXTS))


def test_no_texts_are_no_rows(plain: SentenceEmbeddingPipeline) -> None:
    assert plain([]).shape == (0, plain.dimension)
    assert plain([], truncate_dim=3).shape == (0, 3)
    assert list(plain.stream([])) == []


def test_an_endless_stream_is_read_a_chunk_at_a_time(plain: SentenceEmbeddingPipeline) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for text in cycle(TEXTS):
            read += 1
            yield text

    found = list(islice(plain.stream(texts()), 3))
    _equal(np.stack(found), plain(TEXTS[:3]))
    assert read == FIRST_CHUNK


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (3, {}, "inputs are of the wrong type"),
        (None, {}, "inputs are of the wrong type"),
        ({"text": "a"}, {}, "inputs are of the wrong type"),
        (["a", None], {}, "text is of the wrong type"),
        ([("a", "b")], {}, "text is of the wrong type"),
        ("a", {"truncate_dim": 0}, "truncate_dim is wrong"),
        ("a", {"prompt": 3}, "prompt is of the wrong type"),
        ("a", {"batch_size": 0}, "batch_size is wrong"),
    ],
)
def test_malformed_calls_say_what_is_wrong(
    plain: SentenceEmbeddingPipeline,
    inputs: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        plain(inputs, **options)
    assert "\n" not in str(caught.value)


def test_a_single_text_is_no_stream(plain: SentenceEmbeddingPipeline) -> None:
    with pytest.raises(InputError, match="expected an iterable of texts"):
        plain.stream("a")


def test_a_record_is_its_first_text(plain: SentenceEmbeddingPipeline) -> None:
    assert plain.item({"text": "a", "text_pair": "b", "score": 0.5}) == "a"
    with pytest.raises(InputError, match="item lacks 'text'"):
        plain.item({"text_pair": "b"})


def test_malformed_postprocessing_is_refused(plain: SentenceEmbeddingPipeline) -> None:
    manifest = msgspec.structs.replace(plain.manifest, postprocessing={"prompts": 3})
    with pytest.raises(BundleError, match="malformed postprocessing"):
        SentenceEmbeddingPipeline(manifest, plain.tokenizer, plain._session)


def test_a_prompt_goes_before_a_name() -> None:
    options = SentenceEmbeddingPostProcessing(prompts=PROMPTS, default_prompt_name="query")
    assert choose_prompt(options, None, None) == "find: "
    assert choose_prompt(options, "", None) == ""
    assert choose_prompt(options, None, "run") == "the cat"
    with pytest.warns(UserWarning, match="prompt_name 'run' is ignored"):
        assert choose_prompt(options, "x", "run") == "x"
    assert choose_prompt(SentenceEmbeddingPostProcessing(), None, None) == ""


def test_minilm_equals_sentence_transformers(minilm: Path) -> None:
    oracle = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    pipeline = _open(minilm)
    texts = [
        "The harbour froze twice that winter.",
        "",
        "Zażółć gęślą jaźń — 東京で会いましょう 😀",
        "A man is eating food. " * 80,
        *(f"Order {index} was shipped on day {index % 7}." for index in range(12)),
    ]
    _equal(pipeline(texts), oracle.encode(texts))
    options: dict[str, Any] = {"prompt": "query: ", "truncate_dim": 128}
    _equal(
        pipeline(texts[:4], normalize=True, **options),
        oracle.encode(texts[:4], normalize_embeddings=True, **options),
    )
