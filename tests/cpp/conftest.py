"""The builds of the C++ runtime that its tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import bert_export
from tests.cpp.building import SANITIZERS, build, missing_tool


@pytest.fixture(scope="session")
def builds(run_folder: Path) -> Path:
    """Where builds are kept: for one run, or where the variable says for all of them."""
    tool = missing_tool()
    if tool is not None:
        pytest.skip(f"the C++ runtime is not tested: {tool} is not installed")
    return Path(os.environ.get("BERT_EXPORT_CPP_BUILDS", run_folder))


@pytest.fixture(scope="session")
def plain(builds: Path) -> Path:
    """The build that users have, with warnings as errors."""
    return build(builds)


@pytest.fixture(scope="session")
def sanitized(builds: Path) -> Path:
    """A build that stops at the first fault of memory or undefined behaviour."""
    return build(builds, SANITIZERS)


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose prompts are not pooled, exported."""
    pytest.importorskip("sentence_transformers")
    from tests.runtime.pipelines.test_sentence_embedding import save_sentence_model

    folder = tmp_path_factory.mktemp("embedding")
    save_sentence_model(
        folder,
        include_prompt=False,
        prompts={"query": "find: ", "plain": "the "},
        default_prompt_name="plain",
    )
    bundle = folder / "bundle"
    bert_export.export(
        task="sentence-embedding", model=str(folder / "whole"), output=bundle, precision="fp32"
    )
    return bundle
