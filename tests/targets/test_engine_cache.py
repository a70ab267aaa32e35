from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from bert_export.errors import InputError
from bert_export.targets.engine_cache import (
    CACHE_VARIABLE,
    BuildFacts,
    EngineCache,
    default_cache_folder,
)

FACTS = BuildFacts(attention_layers=2, device_memory=None, seconds=1.5, warnings=("a",))


def test_the_cache_gives_back_what_it_was_given(tmp_path):
    cache = EngineCache(tmp_path / "new" / "folder")
    assert cache.read("key") is None
    cache.write("key", b"plan", FACTS)
    assert cache.read("key") == (b"plan", FACTS)
    assert cache.read("other") is None
    assert not list(cache.folder.glob("*.part"))


@pytest.mark.parametrize(
    ("file", "content"),
    [("key.engine", b"pla"), ("key.json", b"{"), ("key.json", b"[]"), ("key.json", b"{}")],
)
def test_a_damaged_entry_is_no_entry(file, content, tmp_path):
    cache = EngineCache(tmp_path)
    cache.write("key", b"plan", FACTS)
    (tmp_path / file).write_bytes(content)
    assert cache.read("key") is None


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_cache_folder() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "bert-export" / "engines"


@pytest.mark.parametrize("missing", BuildFacts.__struct_fields__)
def test_an_entry_that_lacks_a_field_is_no_entry(missing, tmp_path):
    cache = EngineCache(tmp_path)
    cache.write("key", b"plan", FACTS)
    path = tmp_path / "key.json"
    entry = json.loads(path.read_bytes())
    del entry["facts"][missing]
    path.write_text(json.dumps(entry), encoding="utf-8")
    assert cache.read("key") is None


def test_an_engine_that_cannot_be_kept_is_no_failure(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    cache = EngineCache(tmp_path / "file" / "folder")
    with pytest.warns(RuntimeWarning, match="engine cache .* cannot be written: got .*Not a dir"):
        cache.write("key", b"plan", FACTS)
    assert cache.read("key") is None

    def full(*_):
        raise OSError(28, "No space left on device")

    cache = EngineCache(tmp_path / "full")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        cache.write("key", b"plan", FACTS)
    assert list(cache.folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_where_the_user_named_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    named = tmp_path / "file" / "folder"
    with pytest.raises(InputError, match=rf"engine cache {named} cannot be made: .*engine-cache"):
        EngineCache(named).prepare()
    monkeypatch.setenv(CACHE_VARIABLE, str(named))
    with pytest.raises(InputError, match="cannot be made"):
        EngineCache(default_cache_folder()).prepare()
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(named))
    EngineCache(default_cache_folder()).prepare()


def test_a_user_without_a_home_has_a_cache(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in (CACHE_VARIABLE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = default_cache_folder()
    assert folder == tmp_path / f"cache-{os.getuid()}" / "bert-export" / "engines"
