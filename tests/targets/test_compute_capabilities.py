from __future__ import annotations

import pytest

from bert_export.errors import InputError
from bert_export.targets.compute_capabilities import GPUS, find_capabilities

NAMEABLE = ("SM75", "SM80", "SM86", "SM89", "SM120", "SM121")


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
