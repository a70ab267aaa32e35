from __future__ import annotations

import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError
from bert_export.targets.compute_capabilities import GPUS, find_capabilities
from bert_export.targets.engine_cache import (
    CACHE_VARIABLE,
    BuildFacts,
    EngineCache,
    default_cache_folder,
)
from bert_export.targets.engines import EngineOptions, check_engines, find_profiles
from bert_export.targets.profiles import make_profiles, profiles_from_lengths, read_lengths

NAMEABLE = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


def _ranges(profiles, axis="sequence"):
    return [(p.axes[axis].least, p.axes[axis].usual, p.axes[axis].most) for p in profiles]


def test_every_length_ends_a_bucket():
    profiles = make_profiles(max_length=512, batch_sizes=(64, 1, 8), lengths=(128, 16, 512))
    assert _ranges(profiles) == [(1, 16, 16), (17, 128, 128), (129, 512, 512)]
    assert _ranges(profiles, "batch") == [(1, 8, 64)] * 3


def test_one_profile_serves_all_where_nothing_is_named():
    assert _ranges(make_profiles(max_length=512)) == [(1, 128, 512)]
    assert _ranges(make_profiles(max_length=32)) == [(1, 32, 32)]


def test_shapes_follow_the_inputs_axes():
    (profile,) = make_profiles(max_length=32, batch_sizes=(1, 2, 4))
    spec = TensorSpec(name="input_ids", dtype="int64", shape=("batch", "choices", "sequence"))
    assert profile.shapes(spec) == ((1, 1, 1), (2, 4, 32), (4, 16, 32))
    other = TensorSpec(name="x", dtype="int64", shape=("planes",))
    with pytest.raises(InputError, match="profile has no axis planes of input x"):
        profile.shapes(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": (513,)}, "length 513 is too long: expected at most 512"),
        ({"lengths": (0, 16)}, "lengths hold a size that is too small: expected 1, got 0"),
        ({"batch_sizes": (0,)}, "batch sizes hold a size that is too small"),
        (
            {"batch_sizes": (1, 8, 10**20)},
            f"batch sizes hold a size that is too large: expected at most 1048576, got {10**20}",
        ),
    ],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make_profiles(max_length=512, **options)


def _padded(histogram, ends):
    return sum(
        count * next(end for end in ends if length <= end) for length, count in histogram.items()
    )


@given(st.dictionaries(st.integers(1, 14), st.integers(1, 9), min_size=1, max_size=9))
def test_buckets_pad_least(histogram):
    """Against every choice of at most three ends."""
    profiles = profiles_from_lengths(histogram, max_length=14)
    ends = [most for _, _, most in _ranges(profiles)]
    assert ends[-1] == 14
    chosen = [*ends[:-1], max(histogram)]
    best = min(
        _padded(histogram, [*some, max(histogram)])
        for size in range(3)
        for some in itertools.combinations(sorted(histogram), size)
    )
    assert _padded(histogram, chosen) == best
    starts = [least for least, _, _ in _ranges(profiles)]
    assert starts == [1, *(end + 1 for end in ends[:-1])]


def test_longer_texts_are_cut_and_the_median_is_usual():
    (profile,) = profiles_from_lengths({5: 10, 7: 1, 900: 2}, max_length=8, buckets=1)
    assert _ranges([profile]) == [(1, 5, 8)]


@pytest.mark.parametrize(
    ("histogram", "message"),
    [({}, "histogram of lengths is empty"), ({0: 1}, "not valid"), ({3: 0}, "not valid")],
)
def test_a_histogram_is_checked(histogram, message):
    with pytest.raises(InputError, match=message):
        profiles_from_lengths(histogram, max_length=16)


def test_lengths_are_read_with_and_without_counts(tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text("# tokens\n12\n12\n30,4\n7\t2\n 9 1\n\n", encoding="utf-8")
    assert read_lengths(path) == {12: 2, 30: 4, 7: 2, 9: 1}


@pytest.mark.parametrize(
    "line", ["twelve", "1 2 3", "-4", "1.5", "²", ",", " ,\t,", "1" * 10, "7" * 200_000]
)
def test_a_malformed_line_is_named(line, tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text(f"3\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lengths\.txt, line 2, is malformed"):
        read_lengths(path)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_lengths(tmp_path / "absent.txt")


def test_options_name_lengths_once(tmp_path):
    options = EngineOptions(lengths=(16,), profile_from=str(tmp_path / "lengths.txt"))
    with pytest.raises(InputError, match="lengths are given twice"):
        check_engines(["tensorrt-rtx"], options)


def test_options_give_profiles(tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text("4 100\n20 3\n", encoding="utf-8")
    named = find_profiles(EngineOptions(batch_sizes=(1, 2, 4), lengths=(8, 16)), 32)
    assert named == make_profiles(max_length=32, batch_sizes=(1, 2, 4), lengths=(8, 16))
    of_file = find_profiles(EngineOptions(profile_from=str(path)), 32)
    assert of_file == profiles_from_lengths({4: 100, 20: 3}, max_length=32)


# GPUs


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("a10", "SM86"),
        ("NVIDIA GeForce RTX 3090", "SM86"),
        ("L4", "SM89"),
        ("rtx-4090", "SM89"),
        ("RTX 5090", "SM120"),
        ("Tesla T4", "SM75"),
        ("86", "SM86"),
        ("sm_89", "SM89"),
        ("12.0", "SM120"),
    ],
)
def test_gpus_are_found_by_name_and_number(name, capability):
    assert find_capabilities([name], NAMEABLE) == (capability,)


def test_capabilities_come_once_and_in_order():
    found = find_capabilities(["rtx5090", "a10", "l4", "a10g"], NAMEABLE)
    assert found == ("SM86", "SM89", "SM120")


@pytest.mark.parametrize("name", ["h100", "H200", "sm90", "9.0", "b200", "orin"])
def test_what_the_builder_cannot_name_is_refused(name):
    with pytest.raises(InputError, match=r"cannot be named to this builder: expected one of SM75"):
        find_capabilities([name], NAMEABLE)


@pytest.mark.parametrize("name", ["", "a", "radeon 7900", "sm9", "4090"])
def test_unknown_gpus_are_refused(name):
    with pytest.raises(InputError):
        find_capabilities([name], NAMEABLE)


def test_no_gpu_stands_twice():
    names = [name for row in GPUS.values() for name in row]
    assert len(names) == len(set(names))
    assert all(name == name.lower() and name.isalnum() for name in names)


# The cache


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
