"""The table of the native target's operations."""

from __future__ import annotations

from scripts.benchmarks.native import operations_section, read_operations


def test_operations_stand_in_a_table() -> None:
    output = "avx2|norm 128x384|20.50|0.000\navx2|queries|250.00|0.150\n"
    output += "amx|norm 128x384|10.25|0.000\namx|queries|17.00|2.200\n"
    operations = read_operations(output)
    assert operations["amx"]["queries"] == (17.0, 2.2)
    section = operations_section(operations)
    assert section.header == ["operation", "avx2, us", "TOP/s", "amx, us", "TOP/s"]
    assert section.rows == [
        ["norm 128x384", 20.5, None, 10.25, None],
        ["queries", 250.0, 0.15, 17.0, 2.2],
    ]
