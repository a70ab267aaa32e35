"""Inner values on request: in the graph and the manifest only when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import bert_export
from bert_export.bundle import ExportRequest
from bert_export.errors import InputError
from bert_export.exporter.exporting import Export
from bert_export.exporter.float_graph import FloatGraph, make_float_graph
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import check_request
from bert_export.exporter.source import load_source
from bert_export.models.reference import run_head
from bert_export.tasks.interface import INNER_OUTPUTS
from tests.passes.graphs import run_model

LAYERS, HEADS, HIDDEN = 2, 4, 16
STATES = [f"hidden_states.{index}" for index in range(LAYERS + 1)]
WEIGHTS = [f"attentions.{index}" for index in range(LAYERS)]


@pytest.fixture(scope="module")
def encoder(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Export:
    """All inner values of a bare encoder in INT8, whose last states are an answer too."""
    return bert_export.export(
        model=tiny("BertModel"),
        task="feature-extraction",
        output=tmp_path_factory.mktemp("inner") / "bundle",
        precision="int8",
        outputs="hidden_states, attentions",
    )


def test_the_manifest_names_them(encoder: Export) -> None:
    (engine,) = encoder.manifest.engines
    shapes = {spec.name: spec.shape for spec in engine.graph.outputs}
    assert list(shapes) == ["last_hidden_state", "pooler_output", *STATES, *WEIGHTS]
    assert {shapes[name] for name in STATES} == {("batch", "sequence", HIDDEN)}
    assert {shapes[name] for name in WEIGHTS} == {("batch", HEADS, "sequence", "sequence")}
    assert encoder.manifest.request is not None
    assert encoder.manifest.request.outputs == ("hidden_states", "attentions")


def test_run_gives_them_by_name_and_a_call_answers_as_ever(encoder: Export) -> None:
    texts = ["the cat sat on the mat", "a dog"]
    with bert_export.load(encoder.path) as pipeline:
        rows = [row for (row,) in pipeline.encode_items(texts, pipeline.defaults)]
        outputs = pipeline.run(pipeline.feeds(rows))
        answers = pipeline(texts)
    np.testing.assert_array_equal(outputs[STATES[-1]], outputs["last_hidden_state"])
    for row, answer, states in zip(rows, answers, outputs[STATES[-1]], strict=True):
        np.testing.assert_allclose(np.squeeze(answer), states[: len(row)], rtol=0, atol=1e-5)
    for name in WEIGHTS:
        np.testing.assert_allclose(outputs[name].sum(axis=-1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("pretraining", "BertForPreTraining"),
        ("next-sentence-prediction", "BertForNextSentencePrediction"),
        ("question-answering", "BertForQuestionAnswering"),
        ("token-classification", "BertForTokenClassification"),
    ],
)
def test_a_heads_graph_gives_them_behind_its_own(
    task: str, head: str, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    request = ExportRequest(
        model=str(tiny(head, num_hidden_layers=1)), task=task, outputs=INNER_OUTPUTS
    )
    source = load_source(check_request(request), progress=Progress())
    graph = make_float_graph(source, progress=Progress())
    names = [tensor.name for tensor in source.interface.outputs]
    own = [tensor.name for tensor in source.task.outputs]
    assert names == [*own, "hidden_states.0", "hidden_states.1", "attentions.0"]
    ids = np.array([[2, 7, 8, 9, 3], [2, 7, 3, 0, 0]])
    feeds = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}
    feeds["token_type_ids"] = np.zeros_like(ids)
    expected = run_head(source.head, feeds, outputs=names)
    given = run_model(graph.model, feeds, tmp_path)
    assert list(given) == names
    for name in names:
        np.testing.assert_allclose(given[name], expected[name], rtol=0, atol=1e-4)
    assert given["hidden_states.1"].shape == (2, 5, HIDDEN)
    assert given["attentions.0"].shape == (2, HEADS, 5, 5)
    assert (given["attentions.0"][1, :, :, 3:] == 0).all()  # nobody looks at padding


def test_nothing_is_there_unasked(graph_of: Callable[..., FloatGraph]) -> None:
    assert [value.name for value in graph_of().model.graph.outputs] == ["logits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "fill-mask", "outputs": ("hidden_state",)},
            "output 'hidden_state' is unknown: .*'hidden_states'",
        ),
        (
            {"task": "fill-mask", "outputs": ("",)},
            "output '' is unknown: expected one of hidden_states, attentions",
        ),
        ({"task": "fill-mask", "pooled_layers": 4}, "pooled_layers has no use for task fill-mask"),
        ({"task": "sentence-embedding", "pooled_layers": 0}, "pooled_layers is out of range"),
    ],
)
def test_what_is_not_there_is_refused_by_name(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_request(ExportRequest(**options))  # type: ignore[arg-type]


def test_a_checkpoint_with_fewer_layers_is_named(tiny: Callable[..., Path]) -> None:
    request = ExportRequest(
        model=str(tiny("BertModel")), task="sentence-embedding", pooled_layers=LAYERS + 1
    )
    with pytest.raises(InputError, match=f"expected 1 to {LAYERS}, the checkpoint's layers"):
        load_source(check_request(request), progress=Progress())
    plain = load_source(
        check_request(msgspec.structs.replace(request, pooled_layers=LAYERS)),
        progress=Progress(),
    )  # it does not say how to pool: by the mean
    assert plain.manifest.postprocessing["normalize"] is False
