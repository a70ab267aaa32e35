"""The calls of sentence-transformers, and their formulas."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.errors import CheckpointError, InputError
from bert_export.runtime.decoding.embeddings import (
    PRECISIONS,
    compare_pairs,
    compare_vectors,
    quantize_vectors,
)
from bert_export.runtime.pipelines.sentence_embedding import SentenceEmbeddingPipeline
from bert_export.tasks.sentence_embedding import SIMILARITIES
from tests.checkpoints.conftest import write_modules
from tests.support import open_tiny

TEXTS = ["The cat sat on the mat.", "", "naïve Élan — 中文 😀", "x", "the cat sat " * 20]
PROMPTS = {"query": "find: ", "document": "the cat", "passage": "a dog", "other": "x "}

Save = Callable[..., Path]


@pytest.fixture(scope="module")
def save(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Save:
    """Writes a checkpoint of sentence-transformers with mean pooling."""

    def write(*extra: tuple[str, str], pooling: dict[str, Any] | None = None, **said: Any) -> Path:
        folder = tmp_path_factory.mktemp("sentence") / "model"
        shutil.copytree(tiny("BertModel"), folder)
        write_modules(folder, {"pooling_mode_mean_tokens": True, **(pooling or {})}, *extra)
        if not extra:  # leave the normalization out
            rows = json.loads((folder / "modules.json").read_text())
            (folder / "modules.json").write_text(json.dumps(rows[:2]))
        (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
        return folder

    return write


def open_model(folder: Path) -> SentenceEmbeddingPipeline:
    opened = open_tiny("sentence-embedding", folder)
    assert isinstance(opened, SentenceEmbeddingPipeline)
    return opened


@pytest.fixture(scope="module")
def model(save: Save) -> SentenceEmbeddingPipeline:
    """A model with prompts."""
    return open_model(save(prompts=PROMPTS))


def test_a_list_is_a_matrix_and_a_text_is_a_vector(model: SentenceEmbeddingPipeline) -> None:
    vectors = model.encode(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((5, 16), np.float32)
    single = model.encode(TEXTS[0])
    assert single.shape == (16,)
    np.testing.assert_allclose(single, vectors[0], atol=1e-6)
    np.testing.assert_array_equal(model.encode(iter(TEXTS)), vectors)
    np.testing.assert_array_equal(model(TEXTS), vectors)
    assert model.encode([]).shape == (0, 16)
    listed = model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(listed, list)
    np.testing.assert_array_equal(np.stack(listed), vectors)


def test_what_the_checkpoint_says_is_told(model: SentenceEmbeddingPipeline, save: Save) -> None:
    assert model.prompts == PROMPTS
    assert (model.default_prompt_name, model.truncate_dim) == (None, None)
    assert model.max_seq_length == 24
    assert model.get_embedding_dimension() == model.get_sentence_embedding_dimension() == 16
    assert model.similarity_fn_name == "cosine"
    said = {"similarity_fn_name": "dot", "truncate_dim": 5, "default_prompt_name": "query"}
    other = open_model(save(prompts=PROMPTS, **said))
    assert (other.similarity_fn_name, other.truncate_dim) == ("dot", 5)
    assert other.default_prompt_name == "query"
    assert other.get_sentence_embedding_dimension() == 5
    assert other.encode(TEXTS).shape == (5, 5)
    np.testing.assert_allclose(
        other.encode(TEXTS), model.encode(TEXTS, prompt="find: ")[:, :5], atol=1e-6
    )
    with pytest.raises(CheckpointError, match="similarity_fn_name 'angle' is unknown"):
        open_model(save(similarity_fn_name="angle"))
    with pytest.raises(CheckpointError, match="truncate_dim is malformed"):
        open_model(save(truncate_dim=0))


def test_queries_and_documents_have_their_prompts(model: SentenceEmbeddingPipeline) -> None:
    def same(found: Any, prompt: str) -> None:
        np.testing.assert_array_equal(found, model.encode(TEXTS, prompt=prompt))

    same(model.encode(TEXTS), "")
    same(model.encode_query(TEXTS), "find: ")
    same(model.encode_document(TEXTS), "the cat")
    same(model.encode_query(TEXTS, prompt_name="other"), "x ")
    same(model.encode_document(TEXTS, prompt=""), "")
    with pytest.raises(InputError, match=r"Did you mean 'passage'\?"):
        model.encode(TEXTS, prompt_name="pasage")


def test_no_prompt_where_the_model_has_none(save: Save) -> None:
    plain = open_model(save())
    np.testing.assert_array_equal(plain.encode_query(TEXTS), plain.encode(TEXTS))
    np.testing.assert_array_equal(plain.encode_document(TEXTS), plain.encode(TEXTS))
    assert plain.prompts == {"query": "", "document": ""}
    # A default prompt is for calls that are neither.
    defaulting = open_model(save(prompts={"passage": "a "}, default_prompt_name="passage"))
    np.testing.assert_array_equal(defaulting.encode_document(TEXTS), plain.encode(TEXTS))
    np.testing.assert_array_equal(defaulting.encode(TEXTS), plain.encode_query(TEXTS, prompt="a "))


@pytest.mark.parametrize("dimensions", [1, 5, 16, 99])
def test_cut_vectors_are_scaled_after_the_cut(
    model: SentenceEmbeddingPipeline, save: Save, dimensions: int
) -> None:
    normalizing = open_model(save(("Normalize", "2_Normalize")))
    for one in (model, normalizing):
        whole = torch.tensor(one.encode(TEXTS))
        found = one.encode(TEXTS, truncate_dim=dimensions, normalize_embeddings=True)
        expected = torch.nn.functional.normalize(whole[:, :dimensions], p=2, dim=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(
            one.encode(TEXTS, truncate_dim=dimensions), whole[:, :dimensions]
        )


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_signs_are_packed(model: SentenceEmbeddingPipeline, precision: Any) -> None:
    found = model.encode(TEXTS, precision=precision)
    assert (found.shape, found.dtype) == ((5, 2), "int8" if precision == "binary" else "uint8")
    bits = np.unpackbits((found.astype(int) + 128 * (precision == "binary")).astype(np.uint8), 1)
    np.testing.assert_array_equal(bits, model.encode(TEXTS) > 0)
    np.testing.assert_array_equal(model.encode(TEXTS[0], precision=precision), found[0])


def test_levels_need_the_ranges_of_what_is_compared(model: SentenceEmbeddingPipeline) -> None:
    vectors = model.encode(TEXTS)
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    found = model.encode(TEXTS, precision="int8", ranges=ranges)
    assert (found.dtype, found.min(), found.max()) == ("int8", -128, 127)
    steps = (ranges[1] - ranges[0]) / 255
    np.testing.assert_allclose((found.astype(float) + 128) * steps + ranges[0], vectors, atol=0.05)
    unsigned = model.encode(TEXTS, precision="uint8", ranges=ranges)
    np.testing.assert_array_equal(unsigned.astype(int) - 128, found)
    # One text alone has the levels that it has among others.
    np.testing.assert_array_equal(model.encode(TEXTS[2], precision="int8", ranges=ranges), found[2])
    for wrong in (None, ranges[:, :3], ranges.tolist()[0]):
        with pytest.raises(InputError, match=r"int8 needs .*expected ranges of shape \(2, 16\)"):
            model.encode(TEXTS, precision="int8", ranges=wrong)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="ranges are of the wrong type"):
        model.encode(TEXTS, precision="int8", ranges=["a", "b"])  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision is unknown"),
        ({"convert_to_tensor": True}, r"Pass the answer to torch\.from_numpy"),
        ({"convert_to_numpy": "yes"}, "convert_to_numpy is wrong"),
        ({"normalize_embedding": True}, r"Did you mean 'normalize_embeddings'\?"),
        ({"show_progress_bar": 3}, "show_progress_bar is wrong"),
        ({"batch_size": 0}, "batch_size is wrong"),
        ({"truncate_dim": 0}, "truncate_dim is wrong"),
    ],
)
def test_malformed_options(
    model: SentenceEmbeddingPipeline, options: dict[str, Any], message: str
) -> None:
    for call in (model.encode, model.encode_query, model.encode_document):
        with pytest.raises(InputError, match=message):
            call(TEXTS, **options)
    with pytest.raises(InputError, match=r"^item 1: text is of the wrong type"):
        model.encode(["a", None])  # type: ignore[list-item]


def test_a_bar_is_drawn_where_it_is_asked_for(
    model: SentenceEmbeddingPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = model.encode(TEXTS)
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(model.encode(TEXTS, show_progress_bar=True), expected)
    drawn = capsys.readouterr()
    assert (drawn.out, "5/5" in drawn.err) == ("", True)
    logger = logging.getLogger("bert_export")
    logger.setLevel(logging.INFO)
    try:
        model.encode(TEXTS)
    finally:
        logger.setLevel(logging.NOTSET)
    assert "5/5" in capsys.readouterr().err


VECTORS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 5), st.just(7)),
    elements=st.floats(-100, 100, width=32),
)


class TestSimilarity:
    FORMULAS: ClassVar[dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
        "cosine": lambda a, b: torch.nn.functional.cosine_similarity(
            a[:, None], b[None], dim=-1, eps=1e-12
        ),
        "dot": lambda a, b: a @ b.T,
        "euclidean": lambda a, b: -torch.cdist(a, b, p=2.0),
        "manhattan": lambda a, b: -torch.cdist(a, b, p=1.0),
    }

    @pytest.mark.parametrize("name", SIMILARITIES)
    @given(left=VECTORS, right=VECTORS)
    def test_formulas(self, name: Any, left: Any, right: Any) -> None:
        found = compare_vectors(left, right, name)
        assert (found.shape, found.dtype) == ((len(left), len(right)), np.float32)
        wide = [torch.tensor(side, dtype=torch.float64) for side in (left, right)]
        expected = self.FORMULAS[name](*wide)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)
        count = min(len(left), len(right))
        paired = compare_pairs(left[:count], right[:count], name)
        np.testing.assert_allclose(paired, np.diagonal(found), rtol=1e-4, atol=1e-2)

    @pytest.mark.parametrize("name", SIMILARITIES)
    def test_the_model_compares_as_it_was_trained(self, save: Save, name: str) -> None:
        model = open_model(save(similarity_fn_name=name))
        vectors = model.encode(TEXTS)
        found = model.similarity(vectors, vectors[:2])
        assert (found.shape, found.dtype) == ((5, 2), np.float32)
        tensors = [torch.tensor(vectors), torch.tensor(vectors[:2])]
        np.testing.assert_allclose(found, self.FORMULAS[name](*tensors), rtol=1e-4, atol=1e-4)
        assert model.similarity(vectors[0], vectors[1]).shape == (1, 1)
        assert model.similarity(vectors.tolist(), vectors[1]).shape == (5, 1)
        np.testing.assert_allclose(
            model.similarity_pairwise(vectors, vectors),
            np.diagonal(model.similarity(vectors, vectors)),
            atol=1e-5,
        )

    def test_what_cannot_be_compared(self, model: SentenceEmbeddingPipeline) -> None:
        vectors = model.encode(TEXTS)
        with pytest.raises(InputError, match="embeddings2 are of another length"):
            model.similarity(vectors, vectors[:, :3])
        with pytest.raises(InputError, match="embeddings1 are of the wrong type"):
            model.similarity(["a text"], vectors)
        with pytest.raises(InputError, match="embeddings1 have the wrong shape"):
            model.similarity(vectors[None], vectors)
        with pytest.raises(InputError, match="embeddings2 do not pair"):
            model.similarity_pairwise(vectors, vectors[:2])


@pytest.fixture(scope="module")
def both(save: Save) -> tuple[SentenceEmbeddingPipeline, Any]:
    """A model, and the library's own over the same folder."""
    library = pytest.importorskip("sentence_transformers")
    folder = save(prompts=PROMPTS, similarity_fn_name="euclidean", truncate_dim=9)
    return open_model(folder), library.SentenceTransformer(str(folder), device="cpu")


class TestSentenceTransformers:
    """The library itself, where it is installed."""

    @pytest.mark.parametrize("call", ["encode", "encode_query", "encode_document"])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"normalize_embeddings": True},
            {"truncate_dim": 4, "normalize_embeddings": True},
            {"prompt_name": "other"},
            {"prompt": "the "},
            {"batch_size": 2, "show_progress_bar": False},
        ],
        ids=str,
    )
    def test_vectors(
        self, both: tuple[SentenceEmbeddingPipeline, Any], call: str, options: dict[str, Any]
    ) -> None:
        ours, theirs = both
        for inputs in (TEXTS, TEXTS[0], [TEXTS[2]]):
            found = getattr(ours, call)(inputs, **options)
            expected = getattr(theirs, call)(inputs, **options)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_facts_and_similarity(self, both: tuple[SentenceEmbeddingPipeline, Any]) -> None:
        ours, theirs = both
        assert ours.get_embedding_dimension() == theirs.get_embedding_dimension()
        assert ours.max_seq_length == theirs.max_seq_length
        assert ours.similarity_fn_name == theirs.similarity_fn_name
        assert ours.default_prompt_name == theirs.default_prompt_name
        assert ours.prompts == theirs.prompts
        vectors = ours.encode(TEXTS)
        expected = theirs.similarity(vectors, vectors[:2])
        np.testing.assert_allclose(ours.similarity(vectors, vectors[:2]), expected, atol=1e-5)
        np.testing.assert_allclose(
            ours.similarity_pairwise(vectors, vectors[::-1].copy()),
            theirs.similarity_pairwise(vectors, vectors[::-1].copy()),
            atol=1e-5,
        )

    @pytest.mark.parametrize("precision", PRECISIONS)
    @given(vectors=VECTORS.filter(len))
    def test_fewer_bits(self, precision: Any, vectors: Any) -> None:
        quantize = pytest.importorskip("sentence_transformers.util").quantize_embeddings
        ranges = np.stack([np.full(7, -30, np.float32), np.full(7, 50, np.float32)])
        found = quantize_vectors(vectors, precision, ranges)
        expected = quantize(vectors, precision, ranges=ranges)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_minilm_as_sentence_transformers_calls_it(minilm: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(str(minilm), device="cpu")
    ours = open_model(minilm)
    texts = ["The harbour froze twice that winter.", "東京で会いましょう 😀", "Ships waited."]
    for options in ({}, {"truncate_dim": 64, "normalize_embeddings": True}):
        found, expected = ours.encode(texts, **options), theirs.encode(texts, **options)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(
            ours.similarity(found, found), theirs.similarity(expected, expected), atol=1e-5
        )
    assert ours.get_sentence_embedding_dimension() == 384
