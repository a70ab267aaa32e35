"""What a served worker answers, in this process."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from bert_export.measuring.serving import Service, load_worker, peak_bytes, probe_calls, take_turn

WORKER = """
import dataclasses

class WordedError(Exception):
    pass

EXPECTED_ERRORS = (WordedError,)

@dataclasses.dataclass
class Contender:
    log: list

    def calls(self, request):
        if request["count"] < 1:
            raise WordedError("there is nothing to call")
        return [lambda index=index: self.log.append(index) for index in range(request["count"])]

    def tell(self, request):
        return {"log": self.log, "asked": request}

def open_contender(request):
    return Contender(list(request["log"]))

def double(request):
    return {"number": 2 * request["number"]}

def fail(request):
    raise ZeroDivisionError("of course")
"""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    file = tmp_path / "numpy.py"  # named after a library, which it does not hide
    file.write_text(WORKER, encoding="utf-8")
    return Service(str(file))


def test_turns_go_round_and_round() -> None:
    order: list[int] = []
    calls = [lambda: order.append(0), lambda: order.append(1), lambda: order.append(2)]
    assert len(take_turn(calls, start=0, count=2, warm_ups=2)) == 2
    assert order == [0, 0, 0, 1]
    order.clear()
    assert len(take_turn(calls, start=5, count=4, warm_ups=0)) == 4
    assert order == [2, 0, 1, 2]


def test_a_probe_warms_every_call_up_and_clocks_some() -> None:
    order: list[int] = []
    clock = itertools.count(0.0, 0.01).__next__  # every call takes a hundredth of a second
    assert probe_calls([lambda: order.append(0)], clock) == pytest.approx(0.01)
    assert order == [0] * 4
    order.clear()
    calls = [lambda index=index: order.append(index) for index in range(5)]  # type: ignore[misc]
    assert probe_calls(calls, clock) == pytest.approx(0.01)
    assert order == [0, 1, 2, 3, 4] * 2
    order.clear()
    slow = itertools.count(0.0, 0.15).__next__
    assert probe_calls(calls, slow) == pytest.approx(0.15)
    assert order == [0, 1, 2, 3, 4, 0, 1]  # two of them are enough to know


def test_a_contender_is_opened_prepared_timed_and_asked(service: Service) -> None:
    opened = service.answer({"do": "open", "request": {"log": [9]}})
    assert opened["peak_bytes"] > 1e6
    prepared = {"do": "prepare", "workload": "two", "request": {"count": 2}}
    ready = service.answer(prepared)
    assert ready["calls"] == 2
    assert ready["seconds"] > 0
    turn = {"do": "turn", "workload": "two", "start": 1, "count": 3, "warm_ups": 1}
    taken = service.answer(turn)["seconds"]
    assert len(taken) == 3
    assert min(taken) > 0
    told = service.answer({"do": "ask", "method": "tell", "request": {"why": "so"}})
    assert told["reply"]["log"][-4:] == [1, 1, 0, 1]
    assert told["reply"]["asked"] == {"why": "so"}
    assert sys.modules["numpy"].__file__ != str(service._worker.__file__)


def test_a_job_is_called(service: Service) -> None:
    reply = service.answer({"do": "call", "function": "double", "request": {"number": 4}})
    assert reply["reply"] == {"number": 8}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"do": "call", "function": "fail", "request": {}}, "ZeroDivisionError: of course"),
        ({"do": "dance"}, "KeyError: 'dance'"),
        (
            {"do": "prepare", "workload": "none", "request": {"count": 0}},
            "there is nothing to call",
        ),
        ({"do": "turn", "workload": "unknown"}, "KeyError: 'unknown'"),
    ],
)
def test_what_fails_is_a_reason(service: Service, request_: dict[str, object], reason: str) -> None:
    service.answer({"do": "open", "request": {"log": []}})
    assert service.answer(request_) == {"error": reason}


def test_a_worker_that_cannot_be_imported_is_a_reason(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import no_such_library\n", encoding="utf-8")
    reply = Service(str(file)).answer({"do": "open", "request": {}})
    assert reply == {"error": "ModuleNotFoundError: No module named 'no_such_library'"}
    assert "No module named" in Service("no.such.module").answer({"do": "open"})["error"]


def test_a_worker_is_a_module_or_a_file() -> None:
    assert load_worker("json").__name__ == "json"
    assert peak_bytes() > 1e6
