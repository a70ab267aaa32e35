"""The table of the native target's operations."""

from __future__ import annotations

import pytest

from scripts.benchmarks.native import (
    ATTENTION,
    LAYER,
    LINEAR,
    layer_section,
    operations_section,
    read_operations,
)


def test_operations_stand_in_a_table() -> None:
    output = f"avx2|{LINEAR}|9.00|0.250\navx2|{ATTENTION}|9.00|0.100\n"
    output += f"amx|{LINEAR}|9.00|5.500\namx|{ATTENTION}|9.00|2.000\n"
    output += "avx2|norm 128x384|20.50|0.000\navx2|queries|250.00|0.150\n"
    output += "amx|norm 128x384|10.25|0.000\namx|queries|17.00|2.200\n"
    output += "avx2|attention, a head|9.00|0.050\namx|attention, a head|2.00|0.500\n"
    operations = read_operations(output)
    assert operations["amx"]["queries"] == (17.0, 2.2)
    section = operations_section(operations)
    assert section.header[:4] == ["operation", "avx2, us", "TOP/s", "% of the peak"]
    assert section.rows == [
        [LINEAR, None, 0.25, 100.0, None, 5.5, 100.0],
        [ATTENTION, None, 0.1, 100.0, None, 2.0, 100.0],
        ["norm 128x384", 20.5, None, None, 10.25, None, None],
        ["queries", 250.0, 0.15, 60.0, 17.0, 2.2, pytest.approx(40.0)],
        ["attention, a head", 9.0, 0.05, 50.0, 2.0, 0.5, 25.0],
    ]


def test_a_layers_time_is_shared_out() -> None:
    own = {LINEAR: (1.0, 4.0), ATTENTION: (1.0, 2.0)} | dict.fromkeys(LAYER, (10.0, 1.0))
    section = layer_section({"amx": own})
    shares = {row[0]: row[1:] for row in section.rows}
    assert shares["attention, a head of 128x32"] == [12.0, 120.0, 60.0, 60.0, 60.0]
    assert shares["attention output 128x384x384"] == [1.0, 10.0, 5.0, 2.5, 7.5]
    assert shares["the layer"] == [None, 200.0, 100.0, 80.0, 120.0]
