"""``bert-export explain`` and ``--explain`` as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bert_export.cli import main
from bert_export.exporter import Export


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def classifier(tiny_export: Callable[..., Export]) -> str:
    done = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3)
    return str(done.path)


def test_explain_prints_passes_stages_and_layers(classifier: str) -> None:
    result = invoke("explain", classifier, "--shape", "8x16")
    assert result.exit_code == 0, result.output
    assert "fuse_attention" in result.stdout
    assert "Softmax 2 → 0" in result.stdout
    assert "cost at batch 8, sequence 16" in result.stdout
    for words in ("embeddings", "feed-forward", "normalization", "head", "total", "encoder layer"):
        assert words in result.stdout


def test_explain_prints_refusals(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model, bundle = str(tiny("BertModel")), str(tmp_path / "bundle")
    made = invoke("export", "--model", model, "-o", bundle, "--opset", "20", "--quiet")
    assert made.exit_code == 0, made.output
    result = invoke("explain", bundle)
    assert "not rewritten because" in result.stdout
    assert "opset 20 has no Attention" in result.stdout


def test_explain_as_json(classifier: str) -> None:
    told = json.loads(invoke("explain", classifier, "--json").stdout)
    assert told["axes"] == {"batch": 1, "sequence": 32}
    first, last = told["layers"]
    assert last["feed-forward"]["flop"] * 32 == first["feed-forward"]["flop"]
    assert told["passes"][0]["refusals"] == []


def test_export_explains_when_asked(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForSequenceClassification", num_labels=3))
    drawn = invoke("--model", model, "-o", str(tmp_path / "one"), "--explain")
    assert drawn.exit_code == 0, drawn.output
    assert "fuse_attention" in drawn.stdout
    assert "cost at batch 1, sequence 32" in drawn.stdout
    told = json.loads(
        invoke("--model", model, "-o", str(tmp_path / "two"), "--json", "--explain").stdout
    )
    assert told["explanation"] == json.loads(
        invoke("explain", str(tmp_path / "two"), "--json").stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape", "8by16"], "shape '8by16' is malformed"),
        (["--shape", "8x16x2"], "expected batch x sequence"),
        (["--shape", "1x4000"], "a sequence of at most 32"),
    ],
)
def test_a_bad_shape_is_one_line(arguments: list[str], message: str, classifier: str) -> None:
    result = invoke("explain", classifier, *arguments)
    assert result.exit_code == (2 if "8by16" in arguments else 1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""


def test_no_bundle_is_one_line() -> None:
    result = invoke("explain", "/no/such/bundle")
    assert result.exit_code == 1
    assert "/no/such/bundle" in result.stderr
