"""A bundle's page on the hub: metadata that the hub reads, and nothing that the manifest lacks."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bert_export.bundle import Manifest
from bert_export.demonstration_table import BASE, demonstration_names
from bert_export.exporter import Export
from bert_export.exporter.model_card import find_licence, model_card
from bert_export.exporter.recipe_file import recipe_text


@pytest.fixture
def manifest(tiny_export: Callable[..., Export]) -> Manifest:
    head = "BertForSequenceClassification"
    return tiny_export("text-classification", head, precision="int8", num_labels=3).manifest


def of_source(manifest: Manifest, source: str) -> Manifest:
    return msgspec.structs.replace(
        manifest, model=msgspec.structs.replace(manifest.model, source=source)
    )


def metadata(card: str) -> dict[str, object]:
    """The lines between the marks; values are JSON or bare words."""
    start, lines, _ = card.split("---\n", 2)
    assert start == ""
    pairs = (line.split(": ", 1) for line in lines.splitlines())
    return {key: json.loads(value) if value[0] in '"[' else value for key, value in pairs}


def test_the_metadata_that_the_hub_reads(manifest: Manifest) -> None:
    found = metadata(model_card(of_source(manifest, "owner/base"), hub_id="me/x", licence="mit"))
    assert found == {
        "library_name": "bert-export",
        "pipeline_tag": "text-classification",
        "license": "mit",
        "base_model": "owner/base",
        "tags": ["bert", "bert-export", "onnx", "int8"],
    }


def test_what_is_not_known_is_not_said(manifest: Manifest) -> None:
    found = metadata(model_card(of_source(manifest, "/models/base"), hub_id="me/x"))
    assert not {"license", "base_model"} & found.keys()


def test_a_licence_that_the_hub_has_no_name_for(manifest: Manifest) -> None:
    found = metadata(model_card(manifest, hub_id="me/x", licence='CC BY "4.0"'))
    assert (found["license"], found["license_name"]) == ("other", 'CC BY "4.0"')


@pytest.mark.parametrize(
    ("task", "tag"),
    [("sentence-embedding", "sentence-similarity"), ("pretraining", None)],
)
def test_tasks_that_the_hub_calls_otherwise(manifest: Manifest, task: str, tag: str | None) -> None:
    card = model_card(msgspec.structs.replace(manifest, task=task), hub_id="me/x")
    assert metadata(card).get("pipeline_tag") == tag


def test_the_page_holds_what_was_proved_and_how_it_was_made(manifest: Manifest) -> None:
    card = model_card(manifest, hub_id="me/tiny")
    engine = manifest.engine()
    assert engine.parity is not None
    assert "\n# tiny\n" in card
    assert f"| onnxruntime | int8 | {100 * engine.parity.agreement:.2f} % (label) |" in card
    assert 'load("me/tiny")' in card
    assert "linear layers compute in 8 bits, static." in card
    assert all(f"`{label}`" in card for label in manifest.labels)
    assert manifest.request is not None
    recipe = card.split("```toml\n")[1].split("```")[0]
    assert recipe == recipe_text(manifest.request)
    assert tomllib.loads(recipe)["precision"] == "int8"


def test_warnings_of_the_check_are_quoted(manifest: Manifest) -> None:
    (engine,) = manifest.engines
    assert engine.parity is not None
    warned = msgspec.structs.replace(engine.parity, warnings=("the head gave one label",))
    engines = (msgspec.structs.replace(engine, parity=warned),)
    card = model_card(msgspec.structs.replace(manifest, engines=engines), hub_id="me/x")
    assert "\n> the head gave one label\n" in card


def test_many_labels_are_counted(manifest: Manifest) -> None:
    labels = tuple(f"label {index}" for index in range(50))
    card = model_card(msgspec.structs.replace(manifest, labels=labels), hub_id="me/x")
    assert "`label 39` and 10 more" in card
    assert "`label 40`" not in card


class TestLicence:
    def test_demonstrations_have_theirs(self, manifest: Manifest) -> None:
        for name in demonstration_names():
            licence = find_licence(of_source(manifest, f"demo:{name}"))
            assert licence, name
            assert licence == "apache-2.0" or name != BASE

    @pytest.mark.parametrize(
        ("page", "licence"),
        [
            ("---\nlicense: mit\n---\n# x\n", "mit"),
            ('---\ntags: [a]\nlicense: "cc-by-4.0"\n---\n', "cc-by-4.0"),
            ("---\ntags: [a]\n---\nlicense: mit\n", None),
            ("license: mit\n", None),
            ("---\nlicense:\n---\n", None),
            ("", None),
        ],
    )
    def test_a_checkpoints_own_page(
        self, page: str, licence: str | None, manifest: Manifest, tmp_path: Path
    ) -> None:
        (tmp_path / "README.md").write_text(page)
        assert find_licence(of_source(manifest, str(tmp_path))) == licence

    def test_a_source_that_is_not_here(self, manifest: Manifest) -> None:
        assert find_licence(of_source(manifest, "owner/base")) is None
