"""The builds of the C++ runtime that its tests share."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bert_export
from bert_export.runtime import native
from bert_export.runtime.cpp_build import module_path
from bert_export.runtime.native import MODULE, SWITCH
from tests.cpp.building import SANITIZERS, build, missing_tool

NAME = f"bert_export.runtime.{MODULE}"


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


def forget() -> None:
    native._built_module.cache_clear()
    native._log_once.cache_clear()


@pytest.fixture
def module(plain: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the build, in the place where the command puts it."""
    pytest.importorskip("pybind11")
    spec = importlib.util.spec_from_file_location(NAME, plain / "library" / module_path().name)
    assert spec is not None
    assert spec.loader is not None
    loaded = sys.modules.get(f"test {NAME}")
    if loaded is None:
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        sys.modules[f"test {NAME}"] = loaded
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setitem(sys.modules, NAME, loaded)
    forget()
    yield loaded
    forget()


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setitem(sys.modules, NAME, None)
    forget()
    yield
    forget()


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
