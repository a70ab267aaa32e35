from __future__ import annotations

import pytest

from bert_export.errors import InputError
from bert_export.targets.engines import EngineOptions, check_engines, find_profiles
from bert_export.targets.profiles import make_profiles, profiles_from_lengths


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
