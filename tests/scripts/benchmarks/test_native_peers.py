"""Native beside the fastest of everything else: the table and its bounds, from figures."""

from __future__ import annotations

from scripts.benchmarks.common.report import cell_text
from scripts.benchmarks.native_peers import LEAST, NATIVE, bounds, section
from tests.scripts.benchmarks.support import compared


def test_native_is_over_the_fastest_of_each_shape() -> None:
    comparison = compared(
        {
            NATIVE: {"1x16": 2.0, "1x128": 10.0, "8x128": 80.0},
            "openvino INT8": {"1x16": 4.0, "1x128": 16.0, "8x128": 160.0},
            "OpenVINO, NNCF INT8": {"1x16": 3.0, "1x128": 20.0, "8x128": 160.8},
        }
    )
    table = section("bert-base", 2, comparison)
    assert table.part == "bert-base, 2 threads"
    assert len(table.header) == 1 + 2 * len(LEAST["bert-base"][0])
    assert list(map(cell_text, table.rows[0][:3])) == [NATIVE, "2", "-"]
    assert list(map(cell_text, table.rows[2][:3])) == [
        "OpenVINO, NNCF INT8",
        "3",
        "1.50 (1.50 to 1.50)",
    ]
    beside = {row[0]: row[2] for row in table.rows}
    assert cell_text(beside["openvino INT8 over OpenVINO, NNCF INT8"]) == "0.75 (0.75 to 0.75)"
    assert table.rows[-1][1::2] == ["OpenVINO, NNCF INT8", "openvino INT8", "openvino INT8"]
    found = bounds("bert-base", comparison, "AMX")
    assert [bound.verdict for bound in found] == ["MISS", "MISS", "PASS"]
    assert bounds("bert-base", comparison, "AVX2") == []
