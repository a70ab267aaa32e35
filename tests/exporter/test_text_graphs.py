"""Graphs that take texts: written, kept in the manifest, and read again by whoever opens them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import tokenizers

import bert_export
from bert_export.bundle import (
    EngineRecord,
    ExportRequest,
    Manifest,
    check_graph,
    hash_file,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.errors import BundleError, InputError, TargetError, TokenizerError
from bert_export.exporter import Export, export, exporting, text_graphs
from bert_export.exporter.bundle_files import hash_files
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import check_request, find_form
from bert_export.runtime.tokenization import Tokenizer
from bert_export.targets.weights import WEIGHTS_FILE
from bert_export.tasks import TASKS, CheckpointFacts, SentenceFacts
from bert_export.tasks.fill_mask import TASK as FILL_MASK
from bert_export.tasks.multiple_choice import TASK as MULTIPLE_CHOICE
from bert_export.tasks.question_answering import TASK as QUESTION_ANSWERING
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING
from bert_export.tasks.text_classification import TASK as TEXT_CLASSIFICATION
from bert_export.tasks.text_generation import TASK as TEXT_GENERATION
from bert_export.tasks.token_classification import TASK as TOKEN_CLASSIFICATION
from bert_export.text_input.check import check_tokenizer
from bert_export.text_input.model import check_inputs
from tests.support import ONE_GRAPH

TEXT_FILE = "onnxruntime.text.onnx"
LABELS = {"num_labels": 3}
HEADS = {
    FILL_MASK.name: {},
    MULTIPLE_CHOICE.name: {},
    QUESTION_ANSWERING.name: {},
    TEXT_CLASSIFICATION.name: LABELS,
    TOKEN_CLASSIFICATION.name: LABELS,
}
TEXTS = ["The cat sat on the [MASK].", "", "caf\u00e9 \u4e2d\u6587", "dogs"]


@contextmanager
def compared_quickly() -> Iterator[None]:
    """Less is compared than an export compares."""
    few = partial(check_tokenizer, hostile=20, max_lengths=(4,), code_points=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_graphs, "check_tokenizer", few)
        yield


def with_texts(folder: Path) -> Manifest:
    """Add text graphs to a bundle's folder."""
    manifest = read_manifest(folder)
    request = msgspec.structs.replace(manifest.request, text_input=True)
    manifest = msgspec.structs.replace(manifest, request=request)
    with compared_quickly():
        engines = text_graphs.write_text_graphs(
            folder, manifest, manifest.engines, progress=Progress()
        )
    manifest = msgspec.structs.replace(manifest, engines=engines, files=hash_files(folder))
    write_manifest(folder, manifest)
    return manifest


@pytest.fixture(scope="session")
def bundles(
    tiny_export: Callable[..., Export], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Bundles with text graphs, one per task."""
    made: dict[str, Path] = {}

    def make(task: str) -> Path:
        if task not in made:
            done = tiny_export(task, TASKS[task].head, **HEADS[task])
            made[task] = tmp_path_factory.mktemp("texts") / task
            shutil.copytree(done.path, made[task])
            with_texts(made[task])
        return made[task]

    return make


def read_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def engine_of(folder: Path) -> EngineRecord:
    return read_manifest(folder).engine()


def feeds_of(form: str) -> dict[str, object]:
    feeds: dict[str, object] = {"text": TEXTS}
    if form == "pair":
        feeds["text_pair"] = TEXTS[::-1]
    if form == "choices":
        feeds["text_pair"] = [[text, "a dog"] for text in TEXTS]
    return feeds


@pytest.mark.parametrize("task", HEADS)
def test_the_answers_are_those_of_the_graph_that_takes_ids(bundles, task: str) -> None:
    folder = bundles(task)
    engine = engine_of(folder)
    assert engine.text is not None
    feeds = feeds_of(engine.text.form)
    with bert_export.load(folder) as pipeline:
        made = pipeline.run(feeds)
        rows = list(TEXTS)
        if "text_pair" in feeds:
            rows = [
                (text, other)
                for text, others in zip(TEXTS, feeds["text_pair"], strict=True)
                for other in ([others] if isinstance(others, str) else others)
            ]
        encoded = [row for (row,) in pipeline.tokenizer.encode(rows)]
        longest = max(map(len, encoded))
        shape = made["input_ids"].shape
        for name, values, pad in (
            ("input_ids", [row.ids for row in encoded], pipeline.tokenizer.pad_id),
            ("attention_mask", [[1] * len(row) for row in encoded], 0),
        ):
            padded = [[*value, *[pad] * (longest - len(value))] for value in values]
            assert made[name].tolist() == np.array(padded).reshape(shape).tolist()
        types = [[*row.type_ids, *[0] * (longest - len(row))] for row in encoded]
        ids = {
            "input_ids": made["input_ids"],
            "attention_mask": made["attention_mask"],
            "token_type_ids": np.array(types).reshape(shape),
        }
        if engine.text.form != "choices":  # whose rows have their axis already
            ids = pipeline.graph_feeds(ids)
        expected = pipeline.run(ids)
    for name, array in expected.items():
        assert made[name].tobytes() == array.tobytes()
    assert ("offsets" in made) is TASKS[task].text_offsets


def test_a_plain_session_reads_it(bundles) -> None:
    """Whoever has ONNX Runtime and nothing else registers nothing."""
    folder = bundles(FILL_MASK.name)
    session = onnxruntime.InferenceSession(folder / TEXT_FILE)
    logits, ids, mask = session.run(None, {"text": np.array(TEXTS, object)})
    (place,) = np.flatnonzero(ids == read_tokenizer(folder).token_to_id("[MASK]"))
    own = onnxruntime.InferenceSession(folder / "onnxruntime.onnx")
    feeds = {
        "input_ids": ids,
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(ids),
        "masked_positions": np.array([place]),
    }
    (expected,) = own.run(None, {spec.name: feeds[spec.name] for spec in own.get_inputs()})
    assert logits.tobytes() == expected.tobytes()
    many = session.run(["input_ids"], {"text": np.array(["a [MASK]"] * 257, object)})[0]
    assert (many == many[0]).all()
    assert len(many) == 257


def test_weights_are_stored_once(bundles, tiny_export) -> None:
    folder = bundles(TOKEN_CLASSIFICATION.name)
    before = tiny_export(
        TOKEN_CLASSIFICATION.name, TOKEN_CLASSIFICATION.head, **LABELS
    ).manifest.files[WEIGHTS_FILE]
    places = {}
    for file in engine_of(folder).graph_files:
        for graph in ir.load(folder / file).graphs():
            for value in graph.initializers.values():
                tensor = value.const_value
                if isinstance(tensor, ir.ExternalTensor):
                    places.setdefault(file, set()).add((tensor.offset, tensor.length))
    own, texts = (places[file] for file in engine_of(folder).graph_files)
    assert own <= texts
    assert all(offset >= before.bytes for offset, _ in texts - own)


def test_the_manifest_says_what_was_compared(bundles) -> None:
    folder = bundles(QUESTION_ANSWERING.name)
    manifest = read_manifest(folder)
    verify_files(folder, manifest)
    text = manifest.engine().text
    assert text is not None
    assert text.form == "pair"
    assert [(spec.name, spec.dtype, spec.shape) for spec in text.graph.inputs] == [
        ("text", "string", ("batch",)),
        ("text_pair", "string", ("batch",)),
    ]
    assert [spec.name for spec in text.graph.outputs] == [
        "start_logits",
        "end_logits",
        "input_ids",
        "attention_mask",
        "offsets",
    ]
    assert (text.check.hostile, text.check.max_lengths) == (20, (4, 32))
    assert text.check.pairs > 20 + 2 * text.check.texts
    assert text.check.answered > 4
    assert manifest.engine().files == ("onnxruntime.onnx", TEXT_FILE)


def test_another_file_in_its_place_is_refused(bundles, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles(TOKEN_CLASSIFICATION.name), tmp_path / "bundle")
    shutil.copyfile(bundles(QUESTION_ANSWERING.name) / TEXT_FILE, folder / TEXT_FILE)
    manifest = read_manifest(folder)
    files = manifest.files | {TEXT_FILE: hash_file(folder / TEXT_FILE)}
    write_manifest(folder, msgspec.structs.replace(manifest, files=files))
    with pytest.raises(BundleError, match=r"text.onnx has other inputs than the manifest says"):
        bert_export.load(folder)


def test_a_form_that_the_task_has_not_is_refused(bundles) -> None:
    folder = bundles(TOKEN_CLASSIFICATION.name)
    manifest = read_manifest(folder)
    engine = manifest.engine()
    text = msgspec.structs.replace(engine.text, form="pair")
    with pytest.raises(BundleError, match="has a text graph for onnxruntime that does not fit"):
        check_graph(folder, manifest, msgspec.structs.replace(engine, text=text))


def test_an_export_for_pairs_where_the_task_takes_either(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    with compared_quickly():
        done = export(
            task=TEXT_CLASSIFICATION.name,
            model=tiny(TEXT_CLASSIFICATION.head, **LABELS),
            text_input="pair",
            output=tmp_path / "bundle",
        )
    verify_files(done.path, read_manifest(done.path))
    assert "text" in [stage.name for stage in done.stages]
    with bert_export.load(done.path) as pipeline:
        made = pipeline.run({"text": ["the cat"], "text_pair": ["the dog"]})
        (row,) = pipeline.tokenizer.encode([("the cat", "the dog")])
        assert made["input_ids"].tolist() == [list(row[0].ids)]


def test_texts_that_are_none(bundles) -> None:
    with bert_export.load(bundles(TEXT_CLASSIFICATION.name)) as pipeline:
        for feeds, wrong in (
            ({"text": "one"}, "lists of strings"),
            ({"text": [1]}, "expected strings"),
            ({"text": ["\ud800"]}, "not valid Unicode"),
            ({"text": []}, "is empty"),
            ({"text": ["a"], "input_ids": ["a"]}, "input 'input_ids' is wrong"),
            ({"text": ["a"], "text_pair": ["b"]}, "feeds do not name"),
            ({"text": [["a"], ["b", "c"]]}, "is ragged|expected strings"),
        ):
            with pytest.raises(InputError, match=wrong):
                pipeline.run(feeds)
    with pytest.raises(InputError, match="session is closed"):
        pipeline.run({"text": ["a"]})


def test_a_bundle_without_one_says_so(tiny_export) -> None:
    done = tiny_export(TEXT_CLASSIFICATION.name, TEXT_CLASSIFICATION.head, **LABELS)
    with (
        bert_export.load(done.path) as pipeline,
        pytest.raises(InputError, match="has no graph for onnxruntime that takes texts"),
    ):
        pipeline.run({"text": ["a"]})


def test_a_bundle_that_was_replaced_is_not_mixed_up(bundles, tmp_path: Path) -> None:
    folder = shutil.copytree(bundles(TEXT_CLASSIFICATION.name), tmp_path / "bundle")
    with bert_export.load(folder) as pipeline:
        manifest = read_manifest(folder)
        write_manifest(folder, msgspec.structs.replace(manifest, versions={}))
        with pytest.raises(BundleError, match="changed while it was in use"):
            pipeline.run({"text": ["a"]})


@pytest.mark.parametrize(
    ("request_", "wrong"),
    [
        (ExportRequest(task=TEXT_GENERATION.name, text_input=True), "does not fit the task"),
        (ExportRequest(task=FILL_MASK.name, text_input="pair"), "does not fit the task"),
        (
            ExportRequest(task=FILL_MASK.name, text_input=True, targets=("openvino",)),
            "target openvino has no graph that takes texts",
        ),
    ],
)
def test_what_has_no_text_graph_is_refused_before_any_work(request_, wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        check_request(msgspec.structs.replace(request_, model="somewhere"))


def test_every_task_has_its_usual_form() -> None:
    forms = {name: find_form(task, asked=True) for name, task in TASKS.items() if task.text_forms}
    assert set(ONE_GRAPH) - set(forms) == {TEXT_GENERATION.name}
    assert set(forms) <= set(ONE_GRAPH)
    assert forms[MULTIPLE_CHOICE.name] == "choices"
    assert find_form(TASKS[TEXT_CLASSIFICATION.name], asked=False) is None


def test_a_tokenizer_without_an_exact_form_is_refused_before_the_trace(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(tiny(TEXT_CLASSIFICATION.head, **LABELS), tmp_path / "checkpoint")
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncation_side": "left"}))
    monkeypatch.setattr(exporting, "make_float_graph", None)
    with pytest.raises(TokenizerError, match="truncation side cannot be put into a graph"):
        export(
            task=TEXT_CLASSIFICATION.name,
            model=folder,
            text_input=True,
            output=tmp_path / "bundle",
        )
    assert not (tmp_path / "bundle").exists()


def test_an_input_that_no_text_says_is_refused() -> None:
    facts = CheckpointFacts(sentence=SentenceFacts(include_prompt=False))
    inputs = SENTENCE_EMBEDDING.interface(facts).inputs
    with pytest.raises(TargetError, match="has the input pooling_mask"):
        check_inputs(tensor.name for tensor in inputs)


def test_the_tokenizer_of_the_bundle_is_the_one_that_was_put_in(bundles) -> None:
    folder = bundles(TOKEN_CLASSIFICATION.name)
    manifest = read_manifest(folder)
    tokenizer = Tokenizer.from_file(folder / manifest.tokenizer.file, manifest.tokenizer)
    (row,) = tokenizer.encode(["caf\u00e9 sat"])[0]
    with bert_export.load(folder) as pipeline:
        made = pipeline.run({"text": ["caf\u00e9 sat"]})
    assert [tuple(span) for span in made["offsets"][0].tolist()] == list(row.offsets)
