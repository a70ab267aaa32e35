"""Which processor this is, and the warning where a bundle was made for another."""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import pytest

from bert_export import load
from bert_export.bundle import read_manifest, write_manifest
from bert_export.exporter import Export
from bert_export.runtime import processor
from bert_export.runtime.processor import PROCESSORS, detect_processor, warn_if_unsuited


@pytest.fixture(autouse=True)
def fresh() -> None:
    detect_processor.cache_clear()


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "expected"),
    [
        ("aarch64", "", "arm64"),
        ("arm64", "", "arm64"),
        ("x86_64", "flags\t\t: fpu avx2 avx512_vnni\n", "x86-64-vnni"),
        ("x86_64", "flags\t\t: fpu avx_vnni\n", "x86-64-vnni"),
        ("x86_64", "flags\t\t: fpu avx2 avx512f\n", "x86-64"),
        ("AMD64", None, "x86-64"),
    ],
)
def test_processor_is_read_off_machine_and_flags(
    machine: str,
    cpuinfo: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(f"processor\t: 0\n{cpuinfo}", encoding="utf-8")
    monkeypatch.setattr(processor, "_CPUINFO", path)
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    assert detect_processor() == expected
    detect_processor.cache_clear()


@pytest.mark.parametrize("made_for", PROCESSORS)
@pytest.mark.parametrize("here", PROCESSORS)
def test_every_unsuited_pair_warns_and_no_other(made_for: str, here: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_unsuited(made_for, here)
    # 7-bit weights with unsigned activations are right and fast on every x86-64.
    suited = made_for == here or (made_for, here) == ("x86-64", "x86-64-vnni")
    assert len(caught) == (0 if suited else 1)
    if caught:
        assert f"--cpu {here}" in str(caught[0].message)


def test_loading_a_bundle_made_for_another_processor_warns(
    embedding_int8: Export, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for path in embedding_int8.path.iterdir():
        (copy / path.name).symlink_to(path)
    manifest = read_manifest(copy)
    engine = manifest.engine()
    assert engine.quantization is not None
    (copy / "manifest.json").unlink()
    plan = msgspec.structs.replace(engine.quantization, processor="arm64")
    engine = msgspec.structs.replace(engine, quantization=plan)
    write_manifest(copy, msgspec.structs.replace(manifest, engines=(engine,)))
    with pytest.warns(RuntimeWarning, match="made for arm64"), load(copy) as pipeline:
        assert pipeline("hello").shape == (384,)
