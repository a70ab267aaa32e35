"""Folders for other tools: what is in them, that they answer as the bundle, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import onnx
import onnxruntime
import pytest
import transformers
from click.testing import CliRunner

from bert_export import load
from bert_export.cli import main
from bert_export.errors import BertExportError, TargetError, VerificationError
from bert_export.exporter import Export
from bert_export.hand_over import CONSUMER_NAMES, CONSUMERS, hand_over
from bert_export.hand_over.graph_forms import load_model, make_decoder

HEADS = {
    "feature-extraction": "BertModel",
    "sentence-embedding": "BertForSentenceEmbedding",
    "fill-mask": "BertForMaskedLM",
    "text-classification": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "question-answering": "BertForQuestionAnswering",
    "multiple-choice": "BertForMultipleChoice",
    "text-generation": "BertLMHeadModel",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "text-classification": {"num_labels": 3},
    "token-classification": {"num_labels": 3},
    "text-generation": {"is_decoder": True},
}
TEXTS = ["the cat sat on the mat.", "a dog", "中文 é NEW york"]


@pytest.fixture
def bundle_of(tiny_export: Callable[..., Export], embeddings: Path) -> Callable[[str], Path]:
    def make(task: str) -> Path:
        if task == "sentence-embedding":
            return embeddings
        return tiny_export(task, HEADS[task], **CONFIGS.get(task, {})).path

    return make


def test_the_names_are_those_of_the_table() -> None:
    assert list(CONSUMER_NAMES) == list(CONSUMERS)


def read_tokenizer(folder: Path) -> Any:
    """As transformers finds it."""
    loader: Any = transformers.AutoTokenizer
    return loader.from_pretrained(folder)


def outputs_of(graph: Path, rows: Any) -> dict[str, Any]:
    """What a default session gives, as strangers make one."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    made = session.run(None, {name: rows[name] for name in names})
    return dict(zip([value.name for value in session.get_outputs()], made, strict=True))


@pytest.mark.parametrize("task", HEADS)
def test_optimums_folder_is_what_transformers_reads(
    task: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of(task)
    done = hand_over(bundle, "optimum", tmp_path / "folder")
    assert done.largest_difference == 0.0
    config = transformers.AutoConfig.from_pretrained(done.folder)
    assert config.model_type == "bert"
    with load(bundle) as pipeline:
        assert [config.id2label[index] for index in range(len(pipeline.labels))] == list(
            pipeline.labels
        )
        tokenizer = read_tokenizer(done.folder)
        assert tokenizer.model_max_length == pipeline.tokenizer.max_length
        for text in (*TEXTS, "the cat " * 40):
            ((own,),) = pipeline.tokenizer.encode([text])
            assert tokenizer(text, truncation=True)["input_ids"] == own.ids
        ((own,),) = pipeline.tokenizer.encode([("the cat", "a dog")])
        pair = tokenizer("the cat", "a dog")
        assert (pair["input_ids"], pair["token_type_ids"]) == (own.ids, own.type_ids)
    assert {path.name for path in done.folder.iterdir()} == {
        *("config.json", "model.onnx", "model.onnx_data", "special_tokens_map.json"),
        *("tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    }


def test_fill_mask_scores_every_position(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = bundle_of("fill-mask")
    done = hand_over(bundle, "optimum", tmp_path / "folder")
    tokenizer = read_tokenizer(done.folder)
    rows = tokenizer(["the [MASK] sat", "a [MASK]"], padding=True, return_tensors="np")
    (logits,) = outputs_of(done.folder / "model.onnx", rows).values()
    assert logits.shape == (*rows["input_ids"].shape, len(tokenizer))
    flat = np.flatnonzero(rows["input_ids"] == tokenizer.mask_token_id)
    with load(bundle) as pipeline:
        own = pipeline.run({**rows, "masked_positions": flat.astype(np.int64)})
    np.testing.assert_array_equal(logits.reshape(-1, logits.shape[-1])[flat], own["logits"])


def test_a_causal_head_is_a_decoder_with_past(
    bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of("text-generation")
    done = hand_over(bundle, "optimum", tmp_path / "folder")
    ids = read_tokenizer(done.folder)("the cat sat", return_tensors="np")["input_ids"][:, :-1]
    rows = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with load(bundle) as pipeline:
        own = pipeline.run(rows | {"token_type_ids": np.zeros_like(ids)})
        pasts = [spec for spec in pipeline.manifest.engine().graph.inputs if "past" in spec.shape]
    empty = {spec.name: np.zeros((1, *spec.shape[1:2], 0, spec.shape[3]), "f") for spec in pasts}
    given = outputs_of(done.folder / "model.onnx", rows | empty)
    assert given["logits"].shape == (1, 1, own["logits"].shape[-1])  # generate takes the last
    assert set(given) == set(own)
    for name, array in own.items():
        np.testing.assert_array_equal(given[name].reshape(array.shape), array)


def test_a_graph_of_before_the_cache_is_refused(bundle_of: Callable[[str], Path]) -> None:
    model = load_model(bundle_of("fill-mask") / "onnxruntime.onnx")
    with pytest.raises(TargetError, match=r"graph keeps no keys and values.*Export the bundle"):
        make_decoder(model)


def test_a_sentence_is_one_token_for_sentence_transformers(
    bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of("sentence-embedding")
    done = hand_over(bundle, "sentence-transformers", tmp_path / "folder")
    tokenizer = read_tokenizer(done.folder)
    rows = tokenizer(TEXTS, padding=True, return_tensors="np")
    outputs = outputs_of(done.folder / "onnx" / "model.onnx", rows)
    assert list(outputs) == ["last_hidden_state"]
    with load(bundle) as pipeline:
        np.testing.assert_allclose(
            outputs["last_hidden_state"][:, 0], pipeline(TEXTS), rtol=0, atol=1e-6
        )
    modules = json.loads((done.folder / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling"]
    pooling = json.loads((done.folder / "1_Pooling" / "config.json").read_text())
    assert [name for name, value in pooling.items() if value is True] == ["pooling_mode_cls_token"]
    assert pooling["word_embedding_dimension"] == outputs["last_hidden_state"].shape[-1]


@pytest.mark.parametrize(
    ("consumer", "file"),
    [("transformers.js", "onnx/model.onnx"), ("vespa", "model.onnx")],
)
def test_some_want_one_file(
    consumer: str, file: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    done = hand_over(bundle_of("sentence-embedding"), consumer, tmp_path / "folder")
    graph = onnx.load(done.folder / file, load_external_data=False)
    assert not any(one.external_data for one in graph.graph.initializer)
    assert not list(done.folder.rglob("*_data"))


def test_vespas_component_is_xml(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    done = hand_over(bundle_of("sentence-embedding"), "vespa", tmp_path / "folder")
    component = ET.parse(done.folder / "component.xml").getroot()  # noqa: S314  our own
    assert component.get("type") == "hugging-face-embedder"
    assert component.findtext("transformer-output") == "last_hidden_state"
    assert component.findtext("pooling-strategy") == "cls"


@pytest.mark.parametrize("opset", [20, 22])
def test_an_older_opset_is_written_with_older_attention(
    opset: int, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    done = hand_over(bundle_of("text-classification"), "optimum", tmp_path / "x", opset=opset)
    model = onnx.load(done.folder / "model.onnx", load_external_data=False)
    (declared,) = (one.version for one in model.opset_import if not one.domain)
    assert declared == done.opset
    assert declared <= opset
    assert done.largest_difference is not None
    assert done.largest_difference < 1e-5


@pytest.mark.parametrize(
    ("task", "to", "options", "message"),
    [
        ("fill-mask", "optimun", {}, "consumer 'optimun' is unknown: .*Did you mean 'optimum'?"),
        ("fill-mask", "vespa", {}, "task fill-mask cannot be handed over to vespa"),
        ("multiple-choice", "transformers.js", {}, "has no pipeline for this head"),
        (
            "text-classification",
            "optimum",
            {"opset": 17},
            "in opset 17: expected opset 20 or later",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    task: str,
    to: str,
    options: dict[str, Any],
    message: str,
    bundle_of: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(BertExportError, match=message):
        hand_over(bundle_of(task), to, tmp_path / "folder", **options)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_stays(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BertExportError, match=r"exists already\. Remove it"):
        hand_over(bundle_of("fill-mask"), "optimum", tmp_path / "folder")
    assert not list((tmp_path / "folder").iterdir())


def test_a_graph_that_answers_otherwise_is_not_written(
    bundle_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One weight of the written graph is another."""

    def load_another(path: Path) -> Any:
        model = load_model(path)
        norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
        weight = norm.inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        weight.const_value = _changed(weight.const_value)
        return model

    monkeypatch.setattr("bert_export.hand_over.graph_forms.load_model", load_another)
    with pytest.raises(VerificationError, match=r"model\.onnx answers differently in a default"):
        hand_over(bundle_of("text-classification"), "optimum", tmp_path / "folder")
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_is_replaced_meanwhile_is_not_handed_over(
    bundle_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(bundle_of("text-classification"), tmp_path / "bundle"))

    def compare_and_replace(*_: object) -> float:
        shutil.rmtree(folder)
        shutil.copytree(bundle_of("token-classification"), folder)
        return 0.0

    monkeypatch.setattr("bert_export.hand_over.handing_over.compare_graph", compare_and_replace)
    with pytest.raises(BertExportError, match="changed while it was handed over to optimum"):
        hand_over(folder, "optimum", tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("python", ["/no/such/python", "/"])
def test_an_interpreter_that_is_none_is_named(
    python: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(VerificationError, match=f"cannot be loaded there: got {python}: "):
        hand_over(bundle_of("fill-mask"), "optimum", tmp_path / "folder", python=python)
    assert not list(tmp_path.iterdir())


def _changed(tensor: Any) -> Any:
    import onnx_ir as ir

    return ir.tensor(tensor.numpy() * np.float32(1.01), name=tensor.name)


def test_the_command_says_what_was_proved(bundle_of: Callable[[str], Path], tmp_path: Path) -> None:
    bundle, folder = str(bundle_of("fill-mask")), str(tmp_path / "folder")
    result = CliRunner().invoke(main, ["hand-over", bundle, "--to", "optimum", "-o", folder])
    assert result.exit_code == 0, result.output
    assert "differ from the bundle's by 0.0e+00 at most" in result.stdout
    assert f"wrote {folder}" in result.stdout.replace("\n", "")
    as_json = ["hand-over", bundle, "--to", "optimum", "-o", f"{folder}2", "--json"]
    said = json.loads(CliRunner().invoke(main, as_json).stdout)
    assert said["largest_difference"] == 0.0
    typo = CliRunner().invoke(main, ["hand-over", bundle, "--to", "tritn", "-o", f"{folder}3"])
    assert typo.exit_code == 2
    assert "Did you mean 'triton'?" in typo.stderr
